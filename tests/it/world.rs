//! A world of state machines: virtual time, links with latency, and disks that lose what was not
//! answered.
//!
//! Nodes run exactly as in a process, with this event loop in place of sockets, threads and SQLite.
//! A seed fixes the order of events. Tests are written in the language of `language.rs`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use loyal::adversary::{Actor, Adversary, Effect, Spec};
use loyal::crypto::{Digest, PublicKey, check};
use loyal::protocol::{
    Config, Down, Input, LinkId, Member, Network, Node, Output, Refusal, Rejection, Restored, Role,
    Ticket, Time,
};
use loyal::wire::{Batch, BatchId, Entry, Frame, MessageId, limits::MAX_FRAME};

use crate::disk::Disk;
use crate::support::{hello, identity, wide_identity};

/// The virtual time at which a world starts.
pub(crate) const START: Time = Time(1_000_000_000);

/// What runs as a member.
pub(crate) enum Machine {
    /// An honest node or a liar.
    Runs(Actor),
    /// The test itself: it collects what is sent to it, and says what it is told to say.
    Raw,
    /// Nothing runs: the member is down.
    Down,
}

/// A member, and what it did so far.
pub(crate) struct Peer {
    /// What runs as this member now.
    pub machine: Machine,
    /// The member's key.
    pub key: PublicKey,
    /// What the member wrote.
    pub disk: Disk,
    /// What it delivered, in order, over all of its starts: author, slot and id.
    pub delivered: Vec<(PublicKey, u64, BatchId)>,
    /// Messages that it published, which are synced.
    pub published: Vec<MessageId>,
    /// Results of submissions, in order.
    pub submitted: Vec<(Ticket, Result<BatchId, Refusal>)>,
    /// Frames that came to a raw peer, in order.
    pub heard: Vec<(LinkId, Frame)>,
    starts: u64,
}

struct End {
    owner: usize,
    other: LinkId,
    up: bool,
    reading: bool,
    held: VecDeque<Arc<[u8]>>,
    buffer: Vec<u8>,
    broken: bool,
    busy_until: Time,
    bytes_per_s: Option<u64>,
    waiting: u32,
}

enum Event {
    Input { node: usize, start: u64, input: Input },
    Bytes { to: LinkId, bytes: Arc<[u8]> },
    Written { from: LinkId },
    Gone { end: LinkId, cause: Down },
    Dialled { from: usize, start: u64, to: PublicKey },
}

/// How the world treats its nodes.
#[derive(Clone)]
pub(crate) struct Rules {
    /// One-way latency of links, in microseconds.
    pub latency: u64,
    /// How long a signature check takes, in microseconds.
    pub check: u64,
    /// How long a write takes, in microseconds.
    pub write: u64,
    /// Bandwidth of a link, in bytes a second.
    pub bandwidth: u64,
    /// The configuration of every node.
    pub config: Config,
}

impl Default for Rules {
    fn default() -> Self {
        let config = Config::default();
        Self { latency: 2_000, check: 100, write: 1_000, bandwidth: 20_000_000, config }
    }
}

/// Members, their links, and the events to come.
pub(crate) struct World {
    /// The present virtual time.
    pub now: Time,
    /// Members in the order of their numbers, from 0; their identities are 1, 2, 3…
    pub peers: Vec<Peer>,
    /// The network that all members share.
    pub network: Arc<Network>,
    rules: Rules,
    seed: u8,
    events: BTreeMap<(Time, u64), Event>,
    ends: BTreeMap<LinkId, End>,
    next: u64,
    cut: BTreeSet<(usize, usize)>,
    trace: Vec<u8>,
}

impl World {
    /// A world of `n` members, none of which runs yet.
    pub(crate) fn new(n: u8, seed: u8, rules: Rules) -> Self {
        let peer = |i: u8| Peer {
            machine: Machine::Down,
            key: identity(i + 1).public(),
            disk: Disk::default(),
            delivered: vec![],
            published: vec![],
            submitted: vec![],
            heard: vec![],
            starts: 0,
        };
        Self {
            now: START,
            peers: (0..n).map(peer).collect(),
            network: Arc::new(crate::support::network(n)),
            rules,
            seed,
            events: BTreeMap::new(),
            ends: BTreeMap::new(),
            next: 0,
            cut: BTreeSet::new(),
            trace: vec![],
        }
    }

    /// A world of four members, none of which runs yet, with so many authors.
    pub(crate) fn wide(authors: u16) -> Self {
        let mut world = Self::new(4, 1, Rules::default());
        let mut keys = world.network.keys().to_vec();
        keys.extend((0..authors).map(|i| Member {
            key: wide_identity(i).public(),
            name: format!("a{i}"),
            role: Role::Author,
            gossip: None,
        }));
        world.network = Arc::new(Network::new([6; 32], keys).expect("sound"));
        world
    }

    fn node(&mut self, number: usize) -> Node {
        let peer = &mut self.peers[number];
        peer.starts += 1;
        let restored: Restored = peer.disk.restored();
        let mut seed = [self.seed; 32];
        (seed[0], seed[1]) = (number as u8, peer.starts as u8);
        let identity = identity(number as u8 + 1);
        let config = self.rules.config.clone();
        Node::new(identity, self.network.clone(), config, restored, seed, self.now)
    }

    /// Starts an honest node with what its disk holds.
    pub(crate) fn start(&mut self, number: usize) {
        let node = self.node(number);
        self.peers[number].machine = Machine::Runs(Actor::Honest(Box::new(node)));
        self.settle(number);
    }

    /// Starts a liar with what its disk holds.
    pub(crate) fn start_liar(&mut self, number: usize, spec: &str) {
        let node = self.node(number);
        let spec: Spec = spec.parse().unwrap_or_else(|why| panic!("{spec}: {why}"));
        let elsewhere = Digest([77; 32]);
        let decoys = (1..=self.peers.len() as u8)
            .filter(|i| usize::from(*i) != number + 1)
            .map(|i| crate::support::batch(&identity(i), elsewhere, 1, Digest::ZERO, "decoy"))
            .collect();
        let (key, seed) = (identity(number as u8 + 1), [self.seed ^ 0x5a; 32]);
        let network = self.network.clone();
        let liar = Adversary::new(node, key, network, spec, decoys, seed, self.now);
        self.peers[number].machine = Machine::Runs(Actor::Liar(Box::new(liar)));
        self.settle(number);
    }

    /// Makes the test itself a member, as a raw peer.
    pub(crate) fn start_raw(&mut self, number: usize) {
        self.peers[number].starts += 1;
        self.peers[number].machine = Machine::Raw;
    }

    /// Kills a node at once: writes that were not answered are lost, and its links break.
    pub(crate) fn kill(&mut self, number: usize) {
        self.peers[number].machine = Machine::Down;
        self.peers[number].starts += 1;
        let own: Vec<LinkId> = self
            .ends
            .iter()
            .filter(|(_, e)| e.owner == number && e.up)
            .map(|(id, _)| *id)
            .collect();
        for end in own {
            let other = self.ends[&end].other;
            self.ends.get_mut(&end).expect("an end").up = false;
            self.after(self.rules.latency, Event::Gone { end: other, cause: Down::Lost });
        }
    }

    /// Cuts every link between two groups. None comes up between them until [`World::heal`].
    pub(crate) fn part(&mut self, left: &[usize], right: &[usize]) {
        for (l, r) in left.iter().flat_map(|l| right.iter().map(move |r| (*l, *r))) {
            self.cut.extend([(l, r), (r, l)]);
        }
        let crossing = |e: &End, ends: &BTreeMap<LinkId, End>, cut: &BTreeSet<_>| {
            e.up && cut.contains(&(e.owner, ends[&e.other].owner))
        };
        let lost: Vec<LinkId> = self
            .ends
            .iter()
            .filter(|(_, end)| crossing(end, &self.ends, &self.cut))
            .map(|(id, _)| *id)
            .collect();
        for end in lost {
            self.after(0, Event::Gone { end, cause: Down::Lost });
        }
    }

    /// Lets links come up again between all members.
    pub(crate) fn heal(&mut self) {
        self.cut.clear();
    }

    /// Hands a message to a node. Returns whether the node accepts it now.
    pub(crate) fn publish(&mut self, number: usize, entry: Entry) -> bool {
        let now = self.now;
        let taken = match &mut self.peers[number].machine {
            Machine::Runs(actor) => actor.publish(now, entry).is_ok(),
            Machine::Raw | Machine::Down => false,
        };
        self.settle(number);
        taken
    }

    /// Hands a batch that was signed elsewhere to a node. Returns the ticket, if the node accepts
    /// it.
    pub(crate) fn submit(&mut self, number: usize, batch: Batch) -> Option<Ticket> {
        let now = self.now;
        let Machine::Runs(actor) = &mut self.peers[number].machine else { return None };
        let ticket = actor.submit(now, batch).ok();
        self.settle(number);
        ticket
    }

    /// Links a raw peer to another member. Returns the raw peer's end.
    pub(crate) fn connect(&mut self, raw: usize, to: usize) -> LinkId {
        let end = self.link(raw, to);
        self.settle(to);
        end
    }

    /// Links a raw peer to another member and says hello. Returns the raw peer's end.
    pub(crate) fn join(&mut self, raw: usize, to: usize) -> LinkId {
        let end = self.connect(raw, to);
        let frame = hello(&self.network, raw as u8);
        self.say(end, &frame.encode());
        self.run(Duration::from_millis(50));
        end
    }

    /// Sends a frame from a raw peer, with its length prefix.
    pub(crate) fn say(&mut self, end: LinkId, frame: &[u8]) {
        self.send(end, prefixed(frame));
    }

    /// Sends raw bytes from a raw peer.
    pub(crate) fn raw(&mut self, end: LinkId, bytes: &[u8]) {
        self.send(end, bytes.into());
    }

    /// Whether a link is up.
    pub(crate) fn is_up(&self, end: LinkId) -> bool {
        self.ends.get(&end).is_some_and(|end| end.up)
    }

    /// The rejections that a node wrote down, in order.
    pub(crate) fn rejections(&self, number: usize) -> &[Rejection] {
        &self.peers[number].disk.rejections
    }

    /// A digest of everything that was sent and done.
    pub(crate) fn digest(&self) -> Digest {
        Digest::of(&[&self.trace])
    }

    /// Lets virtual time pass.
    pub(crate) fn run(&mut self, by: Duration) {
        let end = self.now.after(by);
        let mut still = 0;
        while let Some(at) = self.next_time().filter(|at| *at <= end) {
            still = if at > self.now { 0 } else { still + 1 };
            assert!(still < 200_000, "time stands still at {:?}", self.now);
            self.now = self.now.max(at);
            self.step();
        }
        self.now = end;
    }

    fn next_time(&self) -> Option<Time> {
        let event = self.events.first_key_value().map(|((at, _), _)| *at);
        let timers = self.peers.iter().filter_map(|peer| deadline(&peer.machine));
        timers.chain(event).min()
    }

    fn step(&mut self) {
        if let Some(entry) = self.events.first_entry().filter(|entry| entry.key().0 <= self.now) {
            let event = entry.remove();
            self.happen(event);
            return;
        }
        let now = self.now;
        let due = |peer: &Peer| deadline(&peer.machine).is_some_and(|at| at <= now);
        for number in 0..self.peers.len() {
            if due(&self.peers[number]) {
                self.give(number, Input::Wake);
            }
        }
    }

    fn after(&mut self, micros: u64, event: Event) {
        let at = self.now.after(Duration::from_micros(micros));
        self.at(at, event);
    }

    fn at(&mut self, at: Time, event: Event) {
        self.next += 1;
        self.events.insert((at, self.next), event);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Input { node, start, input } if self.peers[node].starts == start => {
                if let (Input::Written { token }, peer) = (&input, &mut self.peers[node]) {
                    peer.disk.commit(*token);
                }
                self.give(node, input);
            }
            Event::Input { .. } => {}
            Event::Bytes { to, bytes } => self.receive(to, bytes),
            Event::Written { from } => self.written(from),
            Event::Gone { end, cause } => self.gone(end, cause),
            Event::Dialled { from, start, to } if self.peers[from].starts == start => {
                self.dialled(from, to);
            }
            Event::Dialled { .. } => {}
        }
    }

    fn give(&mut self, number: usize, input: Input) {
        let now = self.now;
        match &mut self.peers[number].machine {
            Machine::Runs(actor) => actor.handle(now, input),
            Machine::Raw => {
                if let Input::Frame { link, bytes } = input
                    && let Ok(frame) = Frame::decode(&bytes)
                {
                    self.peers[number].heard.push((link, frame));
                }
            }
            Machine::Down => {}
        }
        self.settle(number);
    }

    /// Carries out what a machine asks for, until it asks for nothing more.
    fn settle(&mut self, number: usize) {
        loop {
            let act = match &mut self.peers[number].machine {
                Machine::Runs(actor) => actor.poll(),
                Machine::Raw | Machine::Down => None,
            };
            match act {
                None => return,
                Some(Effect::Node(output)) => self.carry_out(number, output),
                Some(Effect::Raw { link, bytes }) => self.send(link, bytes),
                Some(Effect::Pause { link, reading }) => self.pause(link, reading),
                Some(Effect::Pace { link, bytes_per_s }) => {
                    if let Some(end) = self.ends.get_mut(&link) {
                        end.bytes_per_s = bytes_per_s;
                    }
                }
            }
        }
    }

    fn carry_out(&mut self, number: usize, output: Output) {
        let start = self.peers[number].starts;
        let answer = |input| Event::Input { node: number, start, input };
        match output {
            Output::Dial { peer } => {
                let dialled = Event::Dialled { from: number, start, to: peer };
                self.after(2 * self.rules.latency, dialled);
            }
            Output::Send { link, frame, .. } => self.send(link, prefixed(&frame)),
            Output::Close { link, .. } => self.close(link),
            Output::Check { token, key, statement, signature } => {
                let verdict = check(&key, &statement[..], &signature);
                self.after(self.rules.check, answer(Input::Checked { token, verdict }));
            }
            Output::Write { token, record, .. } => {
                self.peers[number].disk.hand_in(token, record);
                self.after(self.rules.write, answer(Input::Written { token }));
            }
            Output::Read { token, author, seq, id } => {
                let batch = self.peers[number].disk.read(&author, seq, id).map(Box::new);
                self.after(self.rules.write, answer(Input::Read { token, batch }));
            }
            Output::Doubt { .. } => {} // this world's disks do not rot
            Output::Deliver(stored) => {
                let header = &stored.batch.header;
                let slot = (header.author, header.seq, stored.id);
                self.trace.extend(self.now.0.to_be_bytes());
                self.trace.extend([number as u8]);
                self.trace.extend(slot.2.0);
                self.peers[number].delivered.push(slot);
            }
            Output::Published { id, .. } => self.peers[number].published.push(id),
            Output::PublishFailed { .. } => {}
            Output::Submitted { ticket, result } => {
                self.peers[number].submitted.push((ticket, result));
            }
        }
    }

    fn link(&mut self, from: usize, to: usize) -> LinkId {
        let (near, far) = (LinkId(2 * self.next + 2), LinkId(2 * self.next + 3));
        self.next += 1;
        for (own, other, owner) in [(near, far, from), (far, near, to)] {
            let end = End {
                owner,
                other,
                up: true,
                reading: true,
                held: VecDeque::new(),
                buffer: vec![],
                broken: false,
                busy_until: self.now,
                bytes_per_s: None,
                waiting: 0,
            };
            self.ends.insert(own, end);
        }
        let (from_key, to_key) = (self.peers[from].key, self.peers[to].key);
        self.input_now(from, Input::LinkUp { link: near, peer: to_key, dialled: true });
        self.input_now(to, Input::LinkUp { link: far, peer: from_key, dialled: false });
        near
    }

    fn input_now(&mut self, node: usize, input: Input) {
        let start = self.peers[node].starts;
        self.after(0, Event::Input { node, start, input });
    }

    fn dialled(&mut self, from: usize, to: PublicKey) {
        let target = self.peers.iter().position(|peer| peer.key == to);
        let open = target.filter(|target| {
            let runs = matches!(self.peers[*target].machine, Machine::Runs(_));
            runs && !self.cut.contains(&(from, *target))
        });
        match open {
            Some(target) => drop(self.link(from, target)),
            None => self.give(from, Input::DialFailed { peer: to }),
        }
    }

    fn send(&mut self, from: LinkId, bytes: Arc<[u8]>) {
        let Some(end) = self.ends.get_mut(&from).filter(|end| end.up) else { return };
        let pace = end.bytes_per_s.unwrap_or(self.rules.bandwidth).max(1);
        let takes = Duration::from_micros(1 + bytes.len() as u64 * 1_000_000 / pace);
        end.busy_until = end.busy_until.max(self.now).after(takes);
        end.waiting += 1;
        let (to, done) = (end.other, end.busy_until);
        self.at(done, Event::Written { from });
        let arrives = done.after(Duration::from_micros(self.rules.latency));
        self.at(arrives, Event::Bytes { to, bytes });
    }

    fn written(&mut self, from: LinkId) {
        let Some(end) = self.ends.get_mut(&from).filter(|end| end.up) else { return };
        end.waiting -= 1;
        if end.waiting == 0 {
            let (owner, now) = (end.owner, self.now);
            if let Machine::Runs(actor) = &mut self.peers[owner].machine {
                actor.drained(now, from);
                self.settle(owner);
            }
        }
    }

    fn close(&mut self, link: LinkId) {
        let Some(end) = self.ends.get_mut(&link).filter(|end| end.up) else { return };
        end.up = false;
        let (owner, other, done) = (end.owner, end.other, end.busy_until.max(self.now));
        self.input_now(owner, Input::LinkDown { link, cause: Down::Closed });
        let arrives = done.after(Duration::from_micros(self.rules.latency));
        self.at(arrives, Event::Gone { end: other, cause: Down::Lost });
    }

    fn gone(&mut self, end: LinkId, cause: Down) {
        let Some(found) = self.ends.get_mut(&end).filter(|end| end.up) else { return };
        found.up = false;
        let owner = found.owner;
        self.give(owner, Input::LinkDown { link: end, cause });
    }

    fn pause(&mut self, link: LinkId, reading: bool) {
        let Some(end) = self.ends.get_mut(&link) else { return };
        end.reading = reading;
        if reading {
            for bytes in std::mem::take(&mut end.held) {
                self.after(0, Event::Bytes { to: link, bytes });
            }
        }
    }

    /// Takes bytes that arrive at an end of a link, and hands whole frames to the machine.
    fn receive(&mut self, to: LinkId, bytes: Arc<[u8]>) {
        let Some(end) = self.ends.get_mut(&to).filter(|end| end.up && !end.broken) else { return };
        if !end.reading {
            end.held.push_back(bytes);
            return;
        }
        end.buffer.extend_from_slice(&bytes);
        let owner = end.owner;
        loop {
            let Some(end) = self.ends.get_mut(&to).filter(|end| end.up) else { return };
            let Some((length, rest)) = end.buffer.split_first_chunk() else { return };
            let length = u32::from_be_bytes(*length);
            if !(2..=MAX_FRAME).contains(&(length as usize)) {
                end.broken = true;
                self.give(owner, Input::Oversize { link: to, length });
                return;
            }
            let Some(frame) = rest.get(..length as usize) else { return };
            let frame: Arc<[u8]> = frame.into();
            end.buffer.drain(..4 + length as usize);
            self.give(owner, Input::Frame { link: to, bytes: frame });
        }
    }
}

fn deadline(machine: &Machine) -> Option<Time> {
    match machine {
        Machine::Runs(actor) => actor.deadline(),
        Machine::Raw | Machine::Down => None,
    }
}

fn prefixed(frame: &[u8]) -> Arc<[u8]> {
    let length = u32::try_from(frame.len()).expect("a frame is small").to_be_bytes();
    [&length[..], frame].concat().into()
}
