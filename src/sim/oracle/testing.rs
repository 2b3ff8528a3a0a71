//! A small world for the oracle's own tests: nodes, raw peers, links, disks that sync late, and one
//! deliberate defect at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Held, Oracle};
use crate::crypto::{Digest, Identity, PublicKey, Signature, Validity, check};
use crate::protocol::{
    CloseWhy, Config, Down, Durability, Input, LinkId, Member, Network, Node, Output, Record,
    Restored, RestoredLane, RestoredSlot, Role, StoredBatch, Time, Token, Verified,
};
use crate::wire::limits::VERSION;
use crate::wire::{Batch, Blob, Entry, Frame, Hello, Instance, Push};

pub(super) const MS: u64 = 1000;
const LATENCY: u64 = 2 * MS;
const SYNC: u64 = MS;
/// Lazy writes are synced together after this delay, in microseconds.
const GROUP: u64 = 50 * MS;

pub(super) fn identity(i: usize) -> Identity {
    Identity::from_seed(&[u8::try_from(i).expect("few") + 1; 32])
}

pub(super) fn entry(text: &str) -> Entry {
    Entry { topic: "t".into(), payload: text.as_bytes().to_vec() }
}

/// Maps an output to what the oracle hears instead; the world still carries out the output itself.
pub(super) type Bend = Box<dyn FnMut(Time, usize, &Output) -> Vec<Output>>;

enum Event {
    Input { node: usize, start: u64, input: Input },
    Synced { node: usize, start: u64, token: Token },
    Link { from: usize, to: usize },
}

#[derive(Default)]
struct Disk {
    rows: Vec<StoredBatch>,
    waiting: BTreeMap<Token, Record>,
}

impl Disk {
    fn holds(&self, author: &PublicKey, seq: u64) -> bool {
        let waiting = self.waiting.values().filter_map(|record| match record {
            Record::Batch(stored) => Some(stored),
            _ => None,
        });
        let is = |row: &StoredBatch| {
            let header = &row.batch.header;
            (header.author, header.seq, row.first) == (*author, seq, true)
        };
        self.rows.iter().chain(waiting).any(is)
    }

    fn restored(&self) -> Restored {
        let mut lanes: BTreeMap<PublicKey, Vec<RestoredSlot>> = BTreeMap::new();
        for row in &self.rows {
            let header = &row.batch.header;
            lanes.entry(header.author).or_default().push(RestoredSlot {
                seq: header.seq,
                base: header.base,
                id: row.id,
                rest: header.rest(),
                signature: row.batch.signature,
                first: row.first,
            });
        }
        let lane = |(author, mut slots): (PublicKey, Vec<RestoredSlot>)| {
            slots.sort_by_key(|slot| (slot.seq, !slot.first));
            RestoredLane { slots, ..RestoredLane::new(author) }
        };
        Restored { lanes: lanes.into_iter().map(lane).collect(), bans: vec![] }
    }
}

pub(super) struct World {
    pub now: u64,
    pub network: Arc<Network>,
    pub oracle: Oracle,
    /// `None` for raw peers and nodes that are down.
    pub nodes: Vec<Option<Node>>,
    pub honest: Vec<bool>,
    /// Pairs of nodes that cannot be linked, until they are removed from the set.
    pub cut: BTreeSet<(usize, usize)>,
    /// Nodes that hear nothing but hellos, credit and pings.
    pub deaf: BTreeSet<usize>,
    /// Whether the world ignores that a node closes a link because of an exchange.
    pub sticky: bool,
    /// Whether no payload is left on any disk.
    pub pruned: bool,
    /// Rewrites the outputs that the oracle hears.
    pub bend: Option<Bend>,
    /// A verdict that nodes receive instead of the true one.
    pub verdict: Option<Validity>,
    /// For each end of a link, its owner and the node at the other end.
    pub ends: BTreeMap<LinkId, (usize, usize)>,
    queue: BTreeMap<(u64, u64), Event>,
    disks: Vec<Disk>,
    starts: Vec<u64>,
    names: u64,
    next_checkpoint: u64,
}

impl World {
    /// Creates `n` members without links. The last `raw` of them are peers played by the test.
    pub(super) fn new(n: usize, raw: usize) -> Self {
        let members = (0..n).map(|i| Member {
            key: identity(i).public(),
            name: format!("n{i}"),
            role: Role::Member,
            gossip: Some(([127, 0, 0, 1], 1).into()),
        });
        let network = Arc::new(Network::new([1; 32], members.collect()).expect("sound"));
        let honest: Vec<bool> = (0..n).map(|i| i < n - raw).collect();
        let keys = (0..n).map(|i| identity(i).public()).collect();
        let mut world = Self {
            now: 0,
            oracle: Oracle::new(&network, honest.clone(), keys),
            network,
            nodes: (0..n).map(|_| None).collect(),
            honest,
            cut: BTreeSet::new(),
            deaf: BTreeSet::new(),
            sticky: false,
            pruned: false,
            bend: None,
            verdict: None,
            ends: BTreeMap::new(),
            queue: BTreeMap::new(),
            disks: (0..n).map(|_| Disk::default()).collect(),
            starts: vec![0; n],
            names: 0,
            next_checkpoint: 1000 * MS,
        };
        for i in 0..n - raw {
            world.start(i);
        }
        world
    }

    pub(super) fn start(&mut self, i: usize) {
        self.starts[i] += 1;
        let mut seed = [u8::try_from(i).expect("few"); 32];
        seed[1] = u8::try_from(self.starts[i]).expect("few");
        let (restored, now) = (self.disks[i].restored(), Time(self.now));
        let config = Config::default();
        let node = Node::new(identity(i), self.network.clone(), config, restored, seed, now);
        if self.starts[i] > 1 {
            self.oracle.restarted(now, i);
        }
        self.nodes[i] = Some(node);
        self.drain(i);
    }

    /// Kills a node; its unsynced writes are lost.
    pub(super) fn crash(&mut self, i: usize) {
        self.nodes[i] = None;
        self.starts[i] += 1;
        let lost: Vec<Record> = std::mem::take(&mut self.disks[i].waiting).into_values().collect();
        self.oracle.crashed(Time(self.now), i, &lost);
        let own: Vec<LinkId> =
            self.ends.iter().filter(|(_, (owner, _))| *owner == i).map(|(end, _)| *end).collect();
        for end in own {
            self.oracle.link_down(end);
            self.ends.remove(&end);
            self.lose(LinkId(end.0 ^ 1));
        }
    }

    /// The row for a slot of the node's own on its disk.
    pub(super) fn row(&self, i: usize, seq: u64) -> Option<StoredBatch> {
        let own = identity(i).public();
        let of = |row: &&StoredBatch| (row.batch.header.author, row.batch.header.seq) == (own, seq);
        self.disks[i].rows.iter().find(of).cloned()
    }

    /// Loses rows that were synced, without telling the oracle.
    pub(super) fn forget_rows(&mut self, i: usize) {
        self.disks[i].rows.clear();
    }

    /// Kills a node and loses its disk.
    pub(super) fn wipe(&mut self, i: usize) {
        self.crash(i);
        self.disks[i].rows.clear();
        self.oracle.wiped(i);
    }

    /// Flips a bit in the body of each row of a disk. This disk does not verify rows.
    pub(super) fn rot(&mut self, i: usize) {
        for row in &mut self.disks[i].rows {
            let mut batch: Batch = (**row.batch).clone();
            let mut body = batch.body.to_vec();
            *body.last_mut().expect("some") ^= 1;
            batch.body = Blob::new(body).expect("as long");
            row.batch = Arc::new(Verified::trusted(batch));
        }
    }

    /// A batch from a node's disk.
    pub(super) fn kept(&self, i: usize, author: usize, seq: u64) -> Batch {
        let is = |row: &&StoredBatch| {
            let header = &row.batch.header;
            (header.author, header.seq) == (identity(author).public(), seq)
        };
        (**self.disks[i].rows.iter().find(is).expect("kept").batch).clone()
    }

    fn lose(&mut self, end: LinkId) {
        if let Some((node, _)) = self.ends.get(&end).copied() {
            let input = Input::LinkDown { link: end, cause: Down::Lost };
            self.input(LATENCY, node, input);
        }
    }

    pub(super) fn input(&mut self, by: u64, node: usize, input: Input) {
        let start = self.starts[node];
        self.later(by, Event::Input { node, start, input });
    }

    fn later(&mut self, by: u64, event: Event) {
        self.names += 1;
        self.queue.insert((self.now + by, self.names), event);
    }

    /// Links two peers, of which the first one dials. Returns the ends of both.
    pub(super) fn link(&mut self, from: usize, to: usize) -> (LinkId, LinkId) {
        self.names += 2;
        let (near, far) = (LinkId(self.names & !1), LinkId(self.names | 1));
        for (end, owner, other) in [(near, from, to), (far, to, from)] {
            self.ends.insert(end, (owner, other));
            if self.honest[owner] {
                self.oracle.link_up(end, owner, other);
                let (link, dialled) = (end, owner == from);
                let peer = identity(other).public();
                self.input(0, owner, Input::LinkUp { link, peer, dialled });
            } else {
                let instance = Instance([7; 16]);
                let (version, network) = (u16::from(VERSION), self.network.id());
                self.say(LinkId(end.0 ^ 1), &Frame::Hello(Hello { version, network, instance }));
            }
        }
        (near, far)
    }

    /// Sends a frame to the owner of an end of a link.
    pub(super) fn say(&mut self, to: LinkId, frame: &Frame) {
        self.send(to, frame.encode().into());
    }

    fn send(&mut self, to: LinkId, bytes: Arc<[u8]>) {
        let Some((owner, _)) = self.ends.get(&to).copied() else { return };
        if self.honest[owner] && !(self.deaf.contains(&owner) && bytes[1] > 2) {
            self.input(LATENCY, owner, Input::Frame { link: to, bytes });
        }
    }

    pub(super) fn publish(&mut self, i: usize, text: &str) {
        let now = Time(self.now);
        self.nodes[i].as_mut().expect("up").publish(now, entry(text)).expect("room");
        self.drain(i);
        self.oracle.after(now, i, self.nodes[i].as_ref().expect("up"));
    }

    fn give(&mut self, i: usize, input: Input) {
        let now = Time(self.now);
        match &input {
            Input::Frame { link, .. } if !self.ends.contains_key(link) => return,
            Input::LinkDown { link, .. } => {
                self.oracle.link_down(*link);
                self.ends.remove(link);
            }
            _ => {}
        }
        let Some(node) = self.nodes[i].as_mut() else { return };
        self.oracle.before(now, i, &input, node);
        node.handle(now, input);
        self.drain(i);
        self.oracle.after(now, i, self.nodes[i].as_ref().expect("up"));
    }

    /// Carries out a node's outputs and reports them to the oracle.
    pub(super) fn drain(&mut self, i: usize) {
        while let Some(output) = self.nodes[i].as_mut().and_then(Node::poll) {
            if self.sticky && matches!(output, Output::Close { why: CloseWhy::Rotated, .. }) {
                continue;
            }
            let now = Time(self.now);
            match self.bend.as_mut() {
                Some(bend) => {
                    for heard in bend(now, i, &output) {
                        self.hear(now, i, &heard);
                    }
                }
                None => self.hear(now, i, &output),
            }
            self.act(i, output);
        }
    }

    fn hear(&mut self, now: Time, i: usize, output: &Output) {
        let told = match output {
            Output::Published { id, .. } => Some(id.batch),
            Output::Submitted { result: Ok(id), .. } => Some(*id),
            _ => None,
        };
        if let Some(id) = told.filter(|id| self.disks[i].rows.iter().all(|row| row.id != *id)) {
            self.oracle.acknowledged_unsafe(now, i, &id);
        }
        self.oracle.output(now, i, output);
    }

    fn act(&mut self, i: usize, output: Output) {
        match output {
            Output::Dial { peer } => {
                let to = (0..self.honest.len()).find(|j| identity(*j).public() == peer);
                self.later(LATENCY, Event::Link { from: i, to: to.expect("a member") });
            }
            Output::Send { link, frame, .. } => self.send(LinkId(link.0 ^ 1), frame),
            Output::Close { link, .. } => {
                self.oracle.link_down(link);
                self.ends.remove(&link);
                self.lose(LinkId(link.0 ^ 1));
                self.input(0, i, Input::LinkDown { link, cause: Down::Closed });
            }
            Output::Check { token, key, statement, signature } => {
                let truth = check(&key, &statement[..], &signature);
                let now = Time(self.now);
                self.oracle.checked(now, &key, &statement, &signature, truth.is_good());
                let verdict = self.verdict.unwrap_or(truth);
                self.input(50, i, Input::Checked { token, verdict });
            }
            Output::Write { token, record, durability } => {
                self.disks[i].waiting.insert(token, record);
                let by = if durability == Durability::Synced { SYNC } else { GROUP };
                self.later(by, Event::Synced { node: i, start: self.starts[i], token });
            }
            Output::Read { token, author, seq, id } => {
                let disk = &self.disks[i];
                let waiting = disk.waiting.values().filter_map(|record| match record {
                    Record::Batch(stored) => Some(stored),
                    _ => None,
                });
                let fits = |s: &&StoredBatch| {
                    let header = &s.batch.header;
                    (header.author, header.seq) == (author, seq) && id.is_none_or(|id| id == s.id)
                };
                let batch = disk.rows.iter().chain(waiting).find(fits).cloned().map(Box::new);
                self.input(SYNC, i, Input::Read { token, batch });
            }
            _ => {}
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Input { node, start, input } if self.starts[node] == start => {
                self.give(node, input);
            }
            Event::Synced { node, start, token } if self.starts[node] == start => {
                if let Some(Record::Batch(row)) = self.disks[node].waiting.remove(&token) {
                    self.disks[node].rows.push(row);
                }
                self.give(node, Input::Written { token });
            }
            Event::Link { from, to } => {
                let there = self.nodes[to].is_some() || !self.honest[to];
                if there && !self.cut.contains(&(from.min(to), from.max(to))) {
                    self.link(from, to);
                } else if self.nodes[from].is_some() {
                    self.input(0, from, Input::DialFailed { peer: identity(to).public() });
                }
            }
            _ => {}
        }
    }

    /// Lets time pass, with a checkpoint every second.
    pub(super) fn run(&mut self, ms: u64) {
        let end = self.now + ms * MS;
        loop {
            let wake = (0..self.nodes.len())
                .filter_map(|i| Some((self.nodes[i].as_ref()?.deadline()?.0.0.max(self.now), i)))
                .min();
            let event = self.queue.first_key_value().map(|((at, _), _)| *at);
            let next = event.into_iter().chain(wake.map(|(at, _)| at)).min().unwrap_or(u64::MAX);
            while self.next_checkpoint <= next.min(end) {
                self.checkpoint();
            }
            if next > end {
                break;
            }
            self.now = next;
            match wake {
                Some((at, i)) if event.is_none_or(|event| at < event) => self.give(i, Input::Wake),
                _ => {
                    let (_, event) = self.queue.pop_first().expect("there is one");
                    self.happen(event);
                }
            }
        }
        self.now = end;
    }

    fn checkpoint(&mut self) {
        let up = self.nodes.iter().enumerate().filter_map(|(i, node)| Some((i, node.as_ref()?)));
        let disks = &self.disks;
        let pruned = self.pruned;
        let holds = |node: usize, author: &PublicKey, seq| {
            if !pruned && disks[node].holds(author, seq) { Held::Readable } else { Held::Nothing }
        };
        self.oracle.checkpoint(Time(self.next_checkpoint), up, &holds);
        self.next_checkpoint += 1000 * MS;
    }

    pub(super) fn end(&mut self) {
        let up: Vec<bool> = self.nodes.iter().map(Option::is_some).collect();
        let disks = &self.disks;
        let pruned = self.pruned;
        let holds = |node: usize, author: &PublicKey, seq| {
            if !pruned && disks[node].holds(author, seq) { Held::Readable } else { Held::Nothing }
        };
        self.oracle.end(Time(self.now), &up, &holds);
    }

    /// The names of the invariants that were violated.
    pub(super) fn broken(&self) -> BTreeSet<String> {
        self.oracle.violations().iter().map(|violation| violation.invariant.clone()).collect()
    }

    pub(super) fn counted(&self, name: &str) -> u64 {
        self.oracle.counted()[name]
    }

    /// A batch by `author` for its first slot. With `forged`, its signature is invalid.
    pub(super) fn batch(&self, author: usize, text: &str, forged: bool) -> Batch {
        let network = self.network.id();
        let signed = Batch::sign(&identity(author), network, 1, Digest::ZERO, 7, &[entry(text)]);
        let mut batch = signed.expect("signs");
        if forged {
            batch.signature = Signature([9; 64]);
        }
        batch
    }

    /// Makes a raw peer push a batch on all of its links to a node.
    pub(super) fn push(&mut self, raw: usize, to: usize, batch: &Batch) {
        let push = Frame::Push(Box::new(Push { hops: 1, batch: batch.clone() }));
        let of = |(_, ends): &(&LinkId, &(usize, usize))| **ends == (to, raw);
        let end = *self.ends.iter().find(of).expect("a link").0;
        self.say(end, &push);
    }
}

/// A verdict of a valid signature.
pub(super) fn good() -> Validity {
    let signer = identity(0);
    check(&signer.public(), b"anything", &signer.sign(b"anything"))
}

/// A verdict of an invalid signature.
pub(super) fn bad() -> Validity {
    check(&identity(0).public(), b"anything", &Signature([9; 64]))
}
