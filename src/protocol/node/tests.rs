//! Nodes in a small world of their own: links take one millisecond, checks and writes are answered
//! at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::Node;
use crate::crypto::{Identity, PublicKey, check};
use crate::protocol::{
    Config, Down, Input, LinkId, Member, Network, Output, Reason, Record, Restored, Role,
    StoredBatch, Time,
};
use crate::wire::{Batch, BatchId, Entry, Frame, Kind, Push};

struct World {
    network: Arc<Network>,
    nodes: Vec<Node>,
    keys: Vec<PublicKey>,
    queue: BTreeMap<(u64, u64), (usize, Input)>,
    names: u64,
    now: u64,
    /// The nodes at the two ends of each link.
    ends: BTreeMap<LinkId, (usize, usize)>,
    stores: Vec<BTreeMap<BatchId, StoredBatch>>,
    delivered: Vec<BTreeSet<BatchId>>,
    reasons: Vec<BTreeMap<Reason, u64>>,
    bans: Vec<BTreeSet<PublicKey>>,
    mute: BTreeSet<usize>,
}

fn identity(i: usize) -> Identity {
    Identity::from_seed(&[u8::try_from(i).expect("few") + 1; 32])
}

fn entry(text: &str) -> Entry {
    Entry { topic: "t".into(), payload: text.as_bytes().to_vec() }
}

impl World {
    fn new(n: usize) -> Self {
        let members = (0..n).map(|i| Member {
            key: identity(i).public(),
            name: format!("n{i}"),
            role: Role::Member,
            gossip: Some(([127, 0, 0, 1], 1).into()),
        });
        let network = Arc::new(Network::new([1; 32], members.collect()).expect("sound"));
        let node = |i: usize| {
            let seed = [u8::try_from(i).expect("few"); 32];
            Node::new(
                identity(i),
                network.clone(),
                Config::default(),
                Restored::default(),
                seed,
                Time(0),
            )
        };
        let mut world = Self {
            nodes: (0..n).map(node).collect(),
            keys: (0..n).map(|i| identity(i).public()).collect(),
            network: network.clone(),
            queue: BTreeMap::new(),
            names: 0,
            now: 0,
            ends: BTreeMap::new(),
            stores: vec![BTreeMap::new(); n],
            delivered: vec![BTreeSet::new(); n],
            reasons: vec![BTreeMap::new(); n],
            bans: vec![BTreeSet::new(); n],
            mute: BTreeSet::new(),
        };
        (0..n).for_each(|i| world.drain(i));
        world
    }

    fn later(&mut self, by: u64, node: usize, input: Input) {
        self.names += 1;
        self.queue.insert((self.now + by, self.names), (node, input));
    }

    fn drain(&mut self, i: usize) {
        while let Some(output) = self.nodes[i].poll() {
            self.act(i, output);
        }
    }

    fn act(&mut self, i: usize, output: Output) {
        match output {
            Output::Dial { peer } => {
                let j = self.keys.iter().position(|key| *key == peer).expect("a member");
                self.names += 1;
                let link = LinkId(self.names);
                self.ends.insert(link, (i, j));
                self.later(500, i, Input::LinkUp { link, peer, dialled: true });
                let peer = self.keys[i];
                self.later(500, j, Input::LinkUp { link, peer, dialled: false });
            }
            Output::Send { link, frame, kind, .. } => {
                if self.mute.contains(&i)
                    && matches!(kind, Kind::Push | Kind::Reply | Kind::Announce)
                {
                    return;
                }
                if let Some((a, b)) = self.ends.get(&link) {
                    let to = if *a == i { *b } else { *a };
                    self.later(1000, to, Input::Frame { link, bytes: frame });
                }
            }
            Output::Close { link, .. } => {
                if let Some((a, b)) = self.ends.remove(&link) {
                    for end in [a, b] {
                        self.later(1000, end, Input::LinkDown { link, cause: Down::Lost });
                    }
                }
            }
            Output::Check { token, key, statement, signature } => {
                let verdict = check(&key, &statement[..], &signature);
                self.later(50, i, Input::Checked { token, verdict });
            }
            Output::Write { token, record, .. } => {
                match record {
                    Record::Batch(stored) => drop(self.stores[i].insert(stored.id, stored)),
                    Record::Ban(ban) => drop(self.bans[i].insert(ban.peer)),
                    Record::Holes { .. } => {}
                    Record::Rejection(row) => {
                        *self.reasons[i].entry(row.reason).or_default() += row.count
                    }
                }
                self.later(300, i, Input::Written { token });
            }
            Output::Read { token, author, seq, .. } => {
                let found = self.stores[i]
                    .values()
                    .find(|s| s.batch.header.author == author && s.batch.header.seq == seq);
                let batch = found.cloned().map(Box::new);
                self.later(300, i, Input::Read { token, batch });
            }
            Output::Doubt { .. } => {}
            Output::Deliver(stored) => {
                assert!(self.delivered[i].insert(stored.id), "delivered twice");
            }
            Output::Published { .. } | Output::Submitted { .. } => {}
            Output::PublishFailed { .. } => panic!("every write works here"),
        }
    }

    fn run(&mut self, ms: u64) {
        let end = self.now + ms * 1000;
        loop {
            let next_wake = (0..self.nodes.len())
                .filter_map(|i| Some((self.nodes[i].deadline()?.0.0.max(self.now), i)))
                .min();
            let next_event = self.queue.first_key_value().map(|((time, _), _)| *time);
            match (next_event, next_wake) {
                (Some(time), wake) if wake.is_none_or(|(w, _)| time <= w) && time <= end => {
                    let ((time, _), (i, input)) = self.queue.pop_first().expect("there is one");
                    self.now = time;
                    self.nodes[i].handle(Time(time), input);
                    self.drain(i);
                }
                (_, Some((time, i))) if time <= end => {
                    self.now = time;
                    self.nodes[i].handle(Time(time), Input::Wake);
                    self.drain(i);
                }
                _ => break,
            }
        }
        self.now = end;
    }

    fn publish(&mut self, i: usize, text: &str) {
        self.nodes[i].publish(Time(self.now), entry(text)).expect("there is room");
        self.drain(i);
    }
}

#[test]
fn every_message_reaches_every_node_and_nothing_is_rejected() {
    let mut world = World::new(7);
    world.run(1000);
    for i in 0..70 {
        world.publish(i % 7, &format!("message {i}"));
        world.run(20);
    }
    world.run(200);
    for i in 0..7 {
        assert_eq!(world.delivered[i].len(), 70, "node {i}");
        assert!(world.bans[i].is_empty());
        assert!(world.reasons[i].keys().all(|r| *r == Reason::Replayed), "{:?}", world.reasons[i]);
        assert!(world.nodes[i].snapshot().ready_links() >= 3);
    }
}

#[test]
fn under_load_messages_share_batches_and_none_is_lost() {
    let mut world = World::new(4);
    world.run(1000);
    for i in 0..2000 {
        world.publish(0, &format!("message {i}"));
    }
    world.run(3000);
    for i in 0..4 {
        assert_eq!(world.nodes[i].snapshot().counters.delivered, 2000, "node {i}");
    }
    assert!(world.delivered[1].len() < 100, "{} batches", world.delivered[1].len());
}

#[test]
fn a_third_that_relays_nothing_stops_nothing() {
    let mut world = World::new(10);
    world.mute = [7, 8, 9].into();
    world.run(1000);
    for i in 0..60 {
        world.publish(i % 7, &format!("message {i}"));
        world.run(20);
    }
    world.run(2000);
    for i in 0..7 {
        assert_eq!(world.delivered[i].len(), 60, "node {i}");
        assert!(world.bans[i].is_empty(), "node {i}");
    }
}

#[test]
fn a_forgery_that_comes_first_never_shuts_out_the_genuine_batch() {
    let mut world = World::new(4);
    world.run(1000);
    // Nodes 1 and 2 get the batch from node 3, with a bad signature, before the author sends it.
    let network = world.network.id();
    let zero = crate::crypto::Digest::ZERO;
    let genuine = Batch::sign(&identity(0), network, 1, zero, 5, &[entry("x")]).expect("signs");
    let mut forged = genuine.clone();
    forged.signature.0[40] ^= 1;
    for (batch, from) in [(forged, 3), (genuine, 0)] {
        for to in [1, 2] {
            let link = *world
                .ends
                .iter()
                .find(|(_, ends)| [(from, to), (to, from)].contains(ends))
                .expect("four nodes are all linked")
                .0;
            let push = Frame::Push(Box::new(Push { hops: 1, batch: batch.clone() }));
            world.later(0, to, Input::Frame { link, bytes: push.encode().into() });
        }
    }
    world.run(500);
    for to in [1, 2] {
        assert_eq!(world.delivered[to].len(), 1, "the genuine one is delivered");
        assert_eq!(world.reasons[to].get(&Reason::BadSignature), Some(&1));
        assert_eq!(world.bans[to], [world.keys[3]].into(), "and the forger is banned");
    }
}

#[test]
fn a_node_that_was_away_catches_up() {
    let mut world = World::new(5);
    world.run(1000);
    let links: Vec<LinkId> =
        world.ends.iter().filter(|(_, (a, b))| *a == 4 || *b == 4).map(|(l, _)| *l).collect();
    for link in links {
        let (a, b) = world.ends.remove(&link).expect("there");
        for end in [a, b] {
            world.later(0, end, Input::LinkDown { link, cause: Down::Lost });
        }
    }
    let away = world.nodes.pop().expect("node 4");
    drop(away);
    let gone = world.keys.pop().expect("key 4");
    world.keys.push(PublicKey([0; 32]));
    for i in 0..400 {
        world.nodes[0].publish(Time(world.now), entry(&format!("{i}"))).expect("room");
        world.drain_dead(0);
        world.run_without(25);
    }
    world.keys[4] = gone;
    world.nodes.push(Node::new(
        identity(4),
        world.network.clone(),
        Config::default(),
        Restored::default(),
        [99; 32],
        Time(world.now),
    ));
    world.drain(4);
    world.run(8000);
    assert_eq!(world.nodes[4].snapshot().counters.delivered, 400);
    assert!(world.bans.iter().all(BTreeSet::is_empty));
}

impl World {
    /// Like `drain`, but dials to the absent node fail.
    fn drain_dead(&mut self, i: usize) {
        while let Some(output) = self.nodes[i].poll() {
            match output {
                Output::Dial { peer } if !self.keys.contains(&peer) => {
                    self.later(100, i, Input::DialFailed { peer });
                }
                output => self.act(i, output),
            }
        }
    }

    /// Like `run`, without the last node.
    fn run_without(&mut self, ms: u64) {
        let end = Time(self.now).after(Duration::from_millis(ms)).0;
        while self.now < end {
            self.now += 200;
            while let Some(((time, name), (i, input))) = self.queue.pop_first() {
                if time > self.now {
                    self.queue.insert((time, name), (i, input));
                    break;
                }
                if i < self.nodes.len() {
                    self.nodes[i].handle(Time(self.now), input);
                    self.drain_dead(i);
                }
            }
            for i in 0..self.nodes.len() {
                if self.nodes[i].deadline().is_some_and(|(due, _)| due.0 <= self.now) {
                    self.nodes[i].handle(Time(self.now), Input::Wake);
                    self.drain_dead(i);
                }
            }
        }
    }
}
