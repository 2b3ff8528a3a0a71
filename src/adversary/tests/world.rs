//! A world of honest nodes and liars: links take one millisecond, checks and writes are answered at
//! once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::adversary::{Actor, Adversary, Effect, Spec};
use crate::crypto::{Digest, Identity, PublicKey, check};
use crate::protocol::{
    Config, Down, Input, LinkId, Member, Network, Node, Output, Reason, Record, Rejection,
    Restored, RestoredLane, RestoredSlot, Role, StoredBatch, Time, Verified,
};
use crate::wire::limits::{MAX_FRAME, VERSION};
use crate::wire::{Batch, Entry, Frame, Hello, Instance, Push};

pub(super) fn identity(i: usize) -> Identity {
    Identity::from_seed(&[u8::try_from(i).expect("few") + 1; 32])
}

pub(super) fn entry(text: &str) -> Entry {
    Entry { topic: "t".into(), payload: text.as_bytes().to_vec() }
}

pub(super) fn network(n: usize) -> Arc<Network> {
    let members = (0..n).map(|i| Member {
        key: identity(i).public(),
        name: format!("n{i}"),
        role: Role::Member,
        gossip: Some(([127, 0, 0, 1], 1).into()),
    });
    Arc::new(Network::new([1; 32], members.collect()).expect("sound"))
}

pub(super) fn node(i: usize, network: &Arc<Network>, restored: Restored) -> Node {
    let seed = [u8::try_from(i).expect("few"); 32];
    Node::new(identity(i), network.clone(), Config::default(), restored, seed, Time(0))
}

/// The lane of `author` as a start finds it, with `slots` slots, and its batches.
pub(super) fn lane(network: &Network, author: usize, slots: u64) -> (RestoredLane, Vec<Batch>) {
    let mut prev = Digest::ZERO;
    let mut lane = RestoredLane::new(identity(author).public());
    let mut batches = Vec::new();
    for seq in 1..=slots {
        let text = entry(&format!("old {seq}"));
        let batch = Batch::sign(&identity(author), network.id(), seq, prev, 1, &[text]);
        let batch = batch.expect("signs");
        let (id, rest, signature) = (batch.id(), batch.header.rest(), batch.signature);
        lane.slots.push(RestoredSlot { seq, base: seq - 1, id, rest, signature, first: true });
        prev = id;
        batches.push(batch);
    }
    (lane, batches)
}

/// A batch by each of `authors`, signed for another network.
pub(super) fn decoys(authors: &[usize]) -> Vec<Batch> {
    let sign = |i: &usize| {
        let elsewhere = Digest([77; 32]);
        Batch::sign(&identity(*i), elsewhere, 1, Digest::ZERO, 1, &[entry("decoy")]).expect("signs")
    };
    authors.iter().map(sign).collect()
}

pub(super) fn liar(i: usize, network: &Arc<Network>, spec: &str, decoys: Vec<Batch>) -> Adversary {
    let spec: Spec = spec.parse().expect("a good SPEC");
    let node = node(i, network, Restored::default());
    Adversary::new(node, identity(i), network.clone(), spec, decoys, [7; 32], Time(0))
}

enum Event {
    Input(Input),
    Drained(LinkId),
}

pub(super) struct World {
    pub peers: Vec<Actor>,
    pub now: u64,
    queue: BTreeMap<(u64, u64), (usize, Event)>,
    names: u64,
    pub ends: BTreeMap<LinkId, (usize, usize)>,
    pub stores: Vec<BTreeMap<Digest, StoredBatch>>,
    pub delivered: Vec<BTreeSet<Digest>>,
    pub rows: Vec<Vec<Rejection>>,
    pub bans: Vec<BTreeSet<PublicKey>>,
    pub paused: BTreeSet<LinkId>,
    pub paced: BTreeSet<LinkId>,
    /// Frames that liars sent, without length prefix, with the time and the link.
    pub lies: Vec<(u64, LinkId, Arc<[u8]>)>,
}

impl World {
    /// A world of `n` nodes. The last ones are liars with these SPECs.
    pub(super) fn new(n: usize, specs: &[&str]) -> Self {
        let network = network(n);
        let honest = n - specs.len();
        let node = |i| Actor::Honest(Box::new(node(i, &network, Restored::default())));
        let mut peers: Vec<Actor> = (0..honest).map(node).collect();
        for (i, spec) in (honest..n).zip(specs) {
            peers.push(Actor::Liar(Box::new(liar(i, &network, spec, decoys(&[0, 1])))));
        }
        let mut world = Self {
            peers,
            now: 0,
            queue: BTreeMap::new(),
            names: 0,
            ends: BTreeMap::new(),
            stores: vec![BTreeMap::new(); n],
            delivered: vec![BTreeSet::new(); n],
            rows: vec![Vec::new(); n],
            bans: vec![BTreeSet::new(); n],
            paused: BTreeSet::new(),
            paced: BTreeSet::new(),
            lies: Vec::new(),
        };
        (0..n).for_each(|i| world.drain(i));
        world
    }

    pub(super) fn liar(&self, i: usize) -> &Adversary {
        match &self.peers[i] {
            Actor::Liar(liar) => liar,
            Actor::Honest(_) => panic!("node {i} is honest"),
        }
    }

    fn later(&mut self, by: u64, peer: usize, event: Event) {
        self.names += 1;
        self.queue.insert((self.now + by, self.names), (peer, event));
    }

    fn drain(&mut self, i: usize) {
        let mut given = BTreeSet::new();
        loop {
            match self.peers[i].poll() {
                None => break,
                Some(Effect::Node(output)) => {
                    if let Output::Send { link, frame, .. } = &output {
                        given.insert(*link);
                        if self.peers[i].is_liar() {
                            self.lies.push((self.now, *link, frame.clone()));
                        }
                    }
                    self.act(i, output);
                }
                Some(Effect::Raw { link, bytes }) => {
                    given.insert(link);
                    self.raw(i, link, &bytes);
                }
                Some(Effect::Pause { link, reading: false }) => drop(self.paused.insert(link)),
                Some(Effect::Pause { link, reading: true }) => drop(self.paused.remove(&link)),
                Some(Effect::Pace { link, bytes_per_s: Some(_) }) => drop(self.paced.insert(link)),
                Some(Effect::Pace { link, bytes_per_s: None }) => drop(self.paced.remove(&link)),
            }
        }
        if self.peers[i].is_liar() {
            given.into_iter().for_each(|link| self.later(1000, i, Event::Drained(link)));
        }
    }

    fn raw(&mut self, i: usize, link: LinkId, bytes: &[u8]) {
        let (length, frame) = bytes.split_first_chunk::<4>().expect("a prefix");
        let length = u32::from_be_bytes(*length);
        let Some(to) = self.other(i, link) else { return };
        if length as usize > MAX_FRAME {
            return self.later(1000, to, Event::Input(Input::Oversize { link, length }));
        }
        assert_eq!(length as usize, frame.len(), "raw frames are complete");
        self.lies.push((self.now, link, frame.into()));
        self.later(1000, to, Event::Input(Input::Frame { link, bytes: frame.into() }));
    }

    fn other(&self, i: usize, link: LinkId) -> Option<usize> {
        self.ends.get(&link).map(|(a, b)| if *a == i { *b } else { *a })
    }

    fn act(&mut self, i: usize, output: Output) {
        match output {
            Output::Dial { peer } => {
                let j = (0..self.peers.len()).find(|j| identity(*j).public() == peer);
                let j = j.expect("a member");
                self.names += 1;
                let link = LinkId(self.names);
                self.ends.insert(link, (i, j));
                self.later(500, i, Event::Input(Input::LinkUp { link, peer, dialled: true }));
                let peer = identity(i).public();
                self.later(500, j, Event::Input(Input::LinkUp { link, peer, dialled: false }));
            }
            Output::Send { link, frame, .. } => {
                if let Some(to) = self.other(i, link) {
                    self.later(1000, to, Event::Input(Input::Frame { link, bytes: frame }));
                }
            }
            Output::Close { link, .. } => {
                if let Some((a, b)) = self.ends.remove(&link) {
                    for end in [a, b] {
                        let down = Input::LinkDown { link, cause: Down::Lost };
                        self.later(1000, end, Event::Input(down));
                    }
                }
            }
            Output::Check { token, key, statement, signature } => {
                let verdict = check(&key, &statement[..], &signature);
                self.later(50, i, Event::Input(Input::Checked { token, verdict }));
            }
            Output::Write { token, record, .. } => {
                match record {
                    Record::Batch(stored) => drop(self.stores[i].insert(stored.id, stored)),
                    Record::Ban(ban) => drop(self.bans[i].insert(ban.peer)),
                    Record::Rejection(row) => self.rows[i].push(*row),
                    Record::Holes { .. } => {}
                }
                self.later(300, i, Event::Input(Input::Written { token }));
            }
            Output::Read { token, author, seq, .. } => {
                let found = self.stores[i]
                    .values()
                    .find(|s| s.batch.header.author == author && s.batch.header.seq == seq);
                let batch = found.cloned().map(Box::new);
                self.later(300, i, Event::Input(Input::Read { token, batch }));
            }
            Output::Doubt { .. } => {}
            Output::Deliver(stored) => {
                assert!(self.delivered[i].insert(stored.id), "delivered twice");
            }
            Output::Published { .. } | Output::Submitted { .. } | Output::PublishFailed { .. } => {}
        }
    }

    fn hand(&mut self, i: usize, event: Event) {
        let now = Time(self.now);
        match event {
            Event::Input(input) => self.peers[i].handle(now, input),
            Event::Drained(link) => self.peers[i].drained(now, link),
        }
        self.drain(i);
    }

    pub(super) fn run(&mut self, ms: u64) {
        let end = self.now + ms * 1000;
        loop {
            let wake = |i: usize| self.peers[i].deadline();
            let next_wake =
                (0..self.peers.len()).filter_map(|i| Some((wake(i)?.0.max(self.now), i))).min();
            let next_event = self.queue.first_key_value().map(|((time, _), _)| *time);
            match (next_event, next_wake) {
                (Some(time), wake) if wake.is_none_or(|(w, _)| time <= w) && time <= end => {
                    let ((time, _), (i, event)) = self.queue.pop_first().expect("there is one");
                    self.now = time;
                    self.hand(i, event);
                }
                (_, Some((time, i))) if time <= end => {
                    self.now = time;
                    self.hand(i, Event::Input(Input::Wake));
                }
                _ => break,
            }
        }
        self.now = end;
    }

    pub(super) fn publish(&mut self, i: usize, text: &str) {
        let now = Time(self.now);
        self.peers[i].publish(now, entry(text)).expect("there is room");
        self.drain(i);
    }

    /// How often honest node `i` refused something for a reason.
    pub(super) fn refused(&self, i: usize, reason: Reason) -> u64 {
        self.rows[i].iter().filter(|row| row.reason == reason).map(|row| row.count).sum()
    }
}

/// The reason for which a fresh honest node, member 0, refuses a frame that member `from` sends it.
pub(super) fn judge(network: &Arc<Network>, from: usize, bytes: &[u8]) -> Option<Reason> {
    let (mut node, link) = (node(0, network, Restored::default()), LinkId(1));
    let mut found = None;
    let hello = Frame::Hello(Hello {
        version: u16::from(VERSION),
        network: network.id(),
        instance: Instance([9; 16]),
    });
    let peer = identity(from).public();
    while node.poll().is_some() {}
    let mut inputs = vec![
        Input::Frame { link, bytes: bytes.into() },
        Input::Frame { link, bytes: hello.encode().into() },
        Input::LinkUp { link, peer, dialled: false },
    ];
    while let Some(input) = inputs.pop() {
        node.handle(Time(1), input);
        while let Some(output) = node.poll() {
            match output {
                Output::Check { token, key, statement, signature } => {
                    let verdict = check(&key, &statement[..], &signature);
                    inputs.push(Input::Checked { token, verdict });
                }
                Output::Write { record: Record::Rejection(row), .. } => {
                    found = found.or(Some(row.reason));
                }
                _ => {}
            }
        }
    }
    found
}

/// A liar with one ready link to each of some peers, driven by hand.
pub(super) struct Stand {
    pub liar: Adversary,
    pub links: Vec<LinkId>,
    pub acts: Vec<Effect>,
    pub now: Time,
}

impl Stand {
    pub(super) fn new(mut liar: Adversary, network: &Arc<Network>, peers: &[usize]) -> Self {
        while liar.poll().is_some() {}
        let mut stand = Self { liar, links: Vec::new(), acts: Vec::new(), now: Time(1000) };
        // No other member can be reached, so the liar chooses exactly the links below.
        for absent in (0..network.n()).filter(|i| !peers.contains(i)) {
            stand.hand(Input::DialFailed { peer: identity(absent).public() });
        }
        for peer in peers {
            stand.link(network, *peer);
        }
        stand
    }

    pub(super) fn link(&mut self, network: &Arc<Network>, peer: usize) -> LinkId {
        let link = LinkId(100 + self.links.len() as u64);
        self.links.push(link);
        let key = identity(peer).public();
        self.hand(Input::LinkUp { link, peer: key, dialled: true });
        let instance = Instance([u8::try_from(peer).expect("few"); 16]);
        let (version, network) = (u16::from(VERSION), network.id());
        let hello = Frame::Hello(Hello { version, network, instance });
        self.hand(Input::Frame { link, bytes: hello.encode().into() });
        link
    }

    pub(super) fn hand(&mut self, input: Input) {
        self.liar.handle(self.now, input);
        self.drain();
    }

    /// Hands in a genuine batch from a peer, and answers its check.
    pub(super) fn push(&mut self, link: LinkId, batch: Batch) {
        let frame = Frame::Push(Box::new(Push { hops: 1, batch }));
        self.hand(Input::Frame { link, bytes: frame.encode().into() });
    }

    pub(super) fn wait(&mut self, ms: u64) {
        let end = self.now.0 + ms * 1000;
        while let Some(at) = self.liar.deadline().filter(|at| at.0 <= end) {
            self.now = Time(at.0.max(self.now.0));
            self.hand(Input::Wake);
        }
        self.now = Time(end);
    }

    pub(super) fn drained(&mut self, link: LinkId) {
        self.liar.drained(self.now, link);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(act) = self.liar.poll() {
            match &act {
                Effect::Node(Output::Check { token, key, statement, signature }) => {
                    let verdict = check(key, &statement[..], signature);
                    let token = *token;
                    let rest: Vec<Effect> = std::iter::from_fn(|| self.liar.poll()).collect();
                    self.acts.extend(rest);
                    self.hand(Input::Checked { token, verdict });
                }
                Effect::Node(Output::Write { token, .. }) => {
                    let token = *token;
                    let rest: Vec<Effect> = std::iter::from_fn(|| self.liar.poll()).collect();
                    self.acts.extend(rest);
                    self.hand(Input::Written { token });
                }
                _ => {}
            }
            self.acts.push(act);
        }
    }

    /// Takes the raw bytes written so far, with length prefixes.
    pub(super) fn raw(&mut self) -> Vec<(LinkId, Arc<[u8]>)> {
        let acts = std::mem::take(&mut self.acts);
        let raw =
            |act| if let Effect::Raw { link, bytes } = act { Some((link, bytes)) } else { None };
        acts.into_iter().filter_map(raw).collect()
    }

    /// Takes the frames that the liar's inner node has sent so far.
    pub(super) fn sent(&mut self) -> Vec<(LinkId, Frame)> {
        let acts = std::mem::take(&mut self.acts);
        let sent = |act| match act {
            Effect::Node(Output::Send { link, frame, .. }) => {
                Some((link, Frame::decode(&frame).expect("an honest frame")))
            }
            _ => None,
        };
        acts.into_iter().filter_map(sent).collect()
    }
}

pub(super) fn stored(batch: Batch) -> StoredBatch {
    StoredBatch {
        id: batch.id(),
        batch: Arc::new(Verified::trusted(batch)),
        hops: 0,
        from: None,
        delivered_at: Time(0),
        first: true,
    }
}
