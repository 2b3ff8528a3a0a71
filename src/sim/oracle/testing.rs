//! Runs for the oracle's own tests: nodes, members that the test plays, and one deliberate defect
//! at a time.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Oracle;
use crate::adversary::Actor;
use crate::crypto::{Digest, Identity, Signature, Validity, check};
use crate::protocol::{LinkId, Member, Network, Node, Role, StoredBatch, Time};
use crate::scenario::Scenario;
use crate::sim::Sim;
use crate::sim::defects::Defects;
use crate::sim::link::other;
use crate::wire::limits::VERSION;
use crate::wire::{Batch, Entry, Frame, Hello, Instance, Push};

pub(super) fn identity(i: usize) -> Identity {
    Identity::from_seed(&[u8::try_from(i).expect("few") + 1; 32])
}

pub(super) struct World {
    pub sim: Sim,
    members: usize,
}

impl World {
    /// Creates `n` members. The last `raw` of them are played by the test.
    pub(super) fn new(n: usize, raw: usize) -> Self {
        let mut text = format!(
            "name = 'test'\nduration = '24h'\nmesh = {{ nodes = {n}, start = 'cold' }}\n\
             net = {{ latency = '2ms' }}\n"
        );
        if raw > 0 {
            text.push_str(&format!("[[malicious]]\ncount = {raw}\nbehave = 'drop'\n"));
        }
        let scenario = Scenario::parse(&text, &[]).expect("a scenario");
        let identities: Vec<Identity> = (0..n).map(identity).collect();
        let members = identities.iter().enumerate().map(|(i, identity)| Member {
            key: identity.public(),
            name: format!("n{i}"),
            role: Role::Member,
            gossip: Some(([127, 0, 0, 1], 1).into()),
        });
        let network = Network::new([1; 32], members.collect()).expect("sound");
        let mut sim = Sim::of_network(&scenario, 1, network, identities);
        (n - raw..n).for_each(|raw| sim.play(raw));
        Self { sim, members: n }
    }

    /// Lets simulated time pass.
    pub(super) fn run(&mut self, ms: u64) {
        self.sim.run(Duration::from_millis(ms));
    }

    pub(super) fn now(&self) -> Time {
        self.sim.world.now
    }

    /// What is wrong with this run.
    pub(super) fn defects(&mut self) -> &mut Defects {
        &mut self.sim.world.defects
    }

    pub(super) fn oracle(&mut self) -> &mut Oracle {
        &mut self.sim.world.oracle
    }

    /// A node that is up, and the oracle, which is to hear what no run does.
    pub(super) fn node_and_oracle(&mut self, i: usize) -> (&mut Node, &mut Oracle) {
        match &mut self.sim.world.hosts[i].actor {
            Some(Actor::Honest(node)) => (node, &mut self.sim.world.oracle),
            _ => panic!("node {i} is not up"),
        }
    }

    /// Loses rows that were synced, without telling the oracle.
    pub(super) fn forget_rows(&mut self, i: usize) {
        self.sim.world.hosts[i].disk.wipe();
    }

    /// Kills a node and loses its disk.
    pub(super) fn wipe(&mut self, i: usize) {
        self.sim.kill(i);
        self.sim.world.wipe(i);
    }

    /// The batch of a slot on a node's disk.
    pub(super) fn kept(&self, i: usize, author: usize, seq: u64) -> StoredBatch {
        let row = self.sim.world.hosts[i].disk.read(identity(author).public(), seq, None);
        row.expect("kept").clone()
    }

    /// Node `i`'s end of its link to another member. A member that is played links to it first, if
    /// it has not, and says hello.
    pub(super) fn end(&mut self, i: usize, peer: usize) -> LinkId {
        let (hosts, links) = (&self.sim.world.hosts, &self.sim.world.links);
        let of =
            |id: &&LinkId| links.get(other(**id)).is_some_and(|end| end.owner as usize == peer);
        if let Some(end) = hosts[i].links.iter().find(of) {
            return *end;
        }
        let end = self.sim.connect(peer, i).expect("it is up");
        let (version, network) = (u16::from(VERSION), self.sim.network().id());
        let hello = Hello { version, network, instance: Instance([7; 16]) };
        self.sim.say(end, &Frame::Hello(hello).encode());
        other(end)
    }

    /// Sends a frame from a member that is played.
    pub(super) fn say(&mut self, raw: usize, to: usize, frame: &Frame) {
        let end = self.end(to, raw);
        self.sim.say(other(end), &frame.encode());
    }

    /// Pushes a batch from a member that is played.
    pub(super) fn push(&mut self, raw: usize, to: usize, batch: &Batch) {
        let push = Push { hops: 1, batch: batch.clone() };
        self.say(raw, to, &Frame::Push(Box::new(push)));
    }

    /// Publishes at a node that is up.
    pub(super) fn publish(&mut self, i: usize, text: &str) {
        self.sim.publish(i, entry(text)).expect("up").expect("room");
    }

    /// Publishes at every node that is up.
    pub(super) fn talk(&mut self) {
        for i in 0..self.members {
            if self.sim.actor(i).is_some() {
                self.publish(i, &format!("from {i} at {}", self.now().0));
            }
        }
    }

    /// The oracle's checks at the end of a run, though this one may go on.
    pub(super) fn end_run(&mut self) {
        self.sim.world.finish_watching();
    }

    /// The names of the invariants that were violated.
    pub(super) fn broken(&self) -> BTreeSet<String> {
        self.sim.violations().iter().map(|violation| violation.invariant.clone()).collect()
    }

    pub(super) fn counted(&self, name: &str) -> u64 {
        self.sim.world.oracle.counted()[name]
    }

    /// A batch by `author` for its first slot. With `forged`, its signature is invalid.
    pub(super) fn batch(&self, author: usize, text: &str, forged: bool) -> Batch {
        let network = self.sim.network().id();
        let signed = Batch::sign(&identity(author), network, 1, Digest::ZERO, 7, &[entry(text)]);
        let mut batch = signed.expect("signs");
        if forged {
            batch.signature = Signature([9; 64]);
        }
        batch
    }
}

fn entry(text: &str) -> Entry {
    Entry { topic: "t".into(), payload: text.as_bytes().to_vec() }
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
