//! What a run recorded: facts observed at nodes, in one shape for both worlds. `judge` makes the
//! report of it, so that real and simulated runs are judged by the same code.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Backend, ClockStep, Resources};
use crate::crypto::{Digest, PublicKey};
use crate::protocol::CountsAs;
use crate::scenario::{Expect, Verdict};
use crate::wire::BatchId;

/// A whole run. Times are microseconds since the run's zero; nodes, posts and batches are named by
/// their index.
#[derive(Clone, Debug)]
pub struct Recording {
    /// What it is called.
    pub name: String,
    /// What ran the nodes.
    pub backend: Backend,
    /// The seed of a simulated run, or of the choice of whom faults strike.
    pub seed: Option<u64>,
    /// The digest of a simulated run.
    pub digest: Option<String>,
    /// The command line that runs it again.
    pub reproduce: String,
    /// Liars that the network tolerates.
    pub f: usize,
    /// Every node, in the order of names.
    pub nodes: Vec<NodeRecord>,
    /// Every message that was handed to a publisher.
    pub posts: Vec<Post>,
    /// Every batch that arrived somewhere.
    pub batches: Vec<BatchRecord>,
    /// Nodes and batches that nobody can expect there: every honest node had pruned the payload, or
    /// lost it, before they met.
    pub skipped: Vec<(u32, u32)>,
    /// First deliveries of batches at nodes, in the order of time; liars' too, as far as known.
    pub arrivals: Vec<Arrival>,
    /// Links that nodes had chosen when the run ended: from, to.
    pub links: Vec<(u32, u32)>,
    /// What the oracle of a simulated run saw; empty in a real one.
    pub violations: Vec<Violation>,
    /// What a simulated run counted of things that must really have happened for it to prove
    /// anything: `lost_unsynced`, `impairments`, `retransmissions`, ….
    pub counted: BTreeMap<String, u64>,
    /// Faults, in words.
    pub faults: Vec<FaultRecord>,
    /// What cannot be modelled in this world, in words: shown with the verdict.
    pub not_modelled: Vec<String>,
    /// Limits that the scenario sets.
    pub expects: Vec<Expect>,
    /// The verdict that the scenario expects.
    pub expected_verdict: Verdict,
    /// The bound of the liveness phase, if one was stated.
    pub settle_us: Option<u64>,
    /// Whether signatures were real.
    pub real_crypto: bool,
    /// What it cost.
    pub resources: Resources,
    /// When the wall clock was set, or the machine slept, while it went on.
    pub clock_steps: Vec<ClockStep>,
    /// It was stopped before its end.
    pub interrupted: bool,
}

impl Recording {
    /// Whether there is such a node and it does not lie.
    pub fn is_honest(&self, node: u32) -> bool {
        self.nodes.get(node as usize).is_some_and(NodeRecord::honest)
    }

    /// The name of a node; `?` of one that is not there.
    pub fn node_name(&self, node: u32) -> &str {
        self.nodes.get(node as usize).map_or("?", |node| &node.name)
    }
}

impl NodeRecord {
    /// Whether it does not lie.
    pub fn honest(&self) -> bool {
        self.spec.is_none()
    }
}

/// A node and what it did.
#[derive(Clone, Debug)]
pub struct NodeRecord {
    /// Its name.
    pub name: String,
    /// Its key.
    pub key: PublicKey,
    /// Its SPEC, if it is a liar.
    pub spec: Option<String>,
    /// The behaviours in it.
    pub kinds: Vec<String>,
    /// It was dead when the run ended: nothing is expected of it.
    pub dead: bool,
    /// Copies of batches that reached it beyond the first.
    pub duplicates: u64,
    /// Bytes that it received on links since the load began.
    pub bytes_received: u64,
    /// Bans that it imposed.
    pub bans: Vec<BanRecord>,
    /// Its rejection log, folded rows as they are; honest nodes only.
    pub rejections: Vec<Refused>,
    /// What it tried; liars only.
    pub attempts: Option<Tried>,
}

/// A ban that a node imposed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BanRecord {
    /// Whom, by index.
    pub peer: u32,
    /// When.
    pub at: u64,
    /// What for.
    pub reason: String,
}

/// A row of a rejection log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Its number in the node's store; `None` where the run kept none.
    pub row: Option<i64>,
    /// When, of the first if several are folded.
    pub at: u64,
    /// The reason's name.
    pub reason: String,
    /// The neighbour that sent it, by index; `None` for the node's own API.
    pub link: Option<u32>,
    /// The author that it names: a claim, unless it is proven.
    pub author: Option<PublicKey>,
    /// Whether that author's own signature over what is refused was checked and is good.
    pub proven: bool,
    /// The slot that it names.
    pub seq: Option<u64>,
    /// The id that it would have.
    pub id: Option<BatchId>,
    /// The hops that it claims.
    pub hops: Option<u8>,
    /// Bytes of the frame.
    pub size: u64,
    /// What was wrong, in words.
    pub detail: String,
    /// SHA-256 of the frame.
    pub frame: Digest,
    /// What is kept of the frame, from its beginning.
    pub bytes: Option<Arc<[u8]>>,
    /// How it counts.
    pub counts_as: CountsAs,
    /// Equal rejections that it stands for.
    pub count: u64,
}

/// What a liar tried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tried {
    /// By behaviour: attempted, and honest frames or links affected.
    pub totals: BTreeMap<String, (u64, u64)>,
    /// The newest attempts.
    pub newest: Vec<TriedOne>,
}

/// One attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TriedOne {
    /// The behaviour.
    pub kind: String,
    /// To whom, by index.
    pub link: Option<u32>,
    /// SHA-256 of the frame.
    pub frame: Option<Digest>,
    /// The batch that it is about.
    pub id: Option<BatchId>,
}

/// A message that was handed to a publisher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Post {
    /// The publisher, by index.
    pub author: u32,
    /// When the POST was sent.
    pub at: u64,
    /// Bytes of its payload.
    pub size: u32,
    /// Its batch, by index, and its place there; `None` if it was refused or never acknowledged.
    pub taken: Option<(u32, u32)>,
    /// Its publisher died before it answered: neither refused nor expected, though it may arrive.
    pub excused: bool,
}

/// A batch that arrived somewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchRecord {
    /// Its id.
    pub id: BatchId,
    /// Its author, by index; `None` for an author that runs no node.
    pub author: Option<u32>,
    /// Its slot.
    pub seq: u64,
    /// The posts in it, whether they were acknowledged or not. A batch in an honest author's name
    /// without any is a forgery.
    pub posts: Vec<u32>,
}

/// The first delivery of a batch at a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Where, by index.
    pub node: u32,
    /// What, by index.
    pub batch: u32,
    /// When.
    pub at: u64,
    /// Links that it crossed, as the last sender claims; 0 at its author.
    pub hops: u8,
    /// The neighbour that it came from, by index; `None` at its author.
    pub from: Option<u32>,
}

/// An invariant that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Its name in the list of invariants, as in `I1`.
    pub invariant: String,
    /// Whether it is one of liveness; all others are of safety.
    pub liveness: bool,
    /// When.
    pub at: u64,
    /// At which node.
    pub node: Option<u32>,
    /// What was seen.
    pub what: String,
}

/// A fault that was injected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultRecord {
    /// Kind and parameters, as in `partition of 4 nodes`.
    pub what: String,
    /// From when.
    pub at: u64,
    /// Until when, if it ended.
    pub until: Option<u64>,
    /// Whom it struck, by index.
    pub nodes: Vec<u32>,
}
