//! What a run recorded: facts observed at nodes, in one form for both worlds. `judge` turns it into
//! the report, so that real and simulated runs are judged by the same code.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Backend, ClockStep, Resources};
use crate::crypto::{Digest, PublicKey};
use crate::protocol::CountsAs;
use crate::scenario::{Expect, Verdict};
use crate::wire::BatchId;

/// The recording of a run. Times are microseconds since the run's zero; nodes, posts and batches
/// are referred to by index.
#[derive(Clone, Debug)]
pub struct Recording {
    /// The scenario's name, or the command's for a run without a scenario.
    pub name: String,
    /// Whether processes or the simulator ran the nodes.
    pub backend: Backend,
    /// The seed of the run; `None` for a run without a scenario.
    pub seed: Option<u64>,
    /// The run digest of a simulated run, in hex.
    pub digest: Option<String>,
    /// A command line that repeats the run.
    pub reproduce: String,
    /// The number of liars that the network tolerates.
    pub f: usize,
    /// Every node. Other fields refer to nodes by their index here.
    pub nodes: Vec<NodeRecord>,
    /// Every message that was handed to a publisher.
    pub posts: Vec<Post>,
    /// Every batch that arrived somewhere or was acknowledged.
    pub batches: Vec<BatchRecord>,
    /// Pairs of node and batch where no delivery can be expected: every living honest node had
    /// pruned or lost the payload, or the author lost its disk and signed the slot anew. Simulated
    /// runs only.
    pub skipped: Vec<(u32, u32)>,
    /// Deliveries of batches at nodes, ordered by time; those at liars as far as known.
    pub arrivals: Vec<Arrival>,
    /// Links that nodes had chosen when the run ended: from, to.
    pub links: Vec<(u32, u32)>,
    /// Violations that the oracle of a simulated run saw; empty in a real run.
    pub violations: Vec<Violation>,
    /// Counts of events that must really have happened for a simulated run to prove anything:
    /// `lost_unsynced`, `impairments`, `retransmissions`, ….
    pub counted: BTreeMap<String, u64>,
    /// The faults that the run injected.
    pub faults: Vec<FaultRecord>,
    /// What cannot be modelled in this world, in words; shown with the verdict.
    pub not_modelled: Vec<String>,
    /// The limits that the scenario sets.
    pub expects: Vec<Expect>,
    /// The verdict that the scenario expects.
    pub expected_verdict: Verdict,
    /// The bound of the liveness phase; `None` for a run without a scenario.
    pub settle_us: Option<u64>,
    /// Whether signatures were checked for real.
    pub real_crypto: bool,
    /// What the run cost in time and memory.
    pub resources: Resources,
    /// Times at which the wall clock was set, or the machine slept, during the run.
    pub clock_steps: Vec<ClockStep>,
    /// Whether the run was stopped before its end.
    pub interrupted: bool,
}

impl Recording {
    /// Whether the node exists and does not lie.
    pub fn is_honest(&self, node: u32) -> bool {
        self.nodes.get(node as usize).is_some_and(NodeRecord::honest)
    }

    /// The name of a node; `?` if it does not exist.
    pub fn node_name(&self, node: u32) -> &str {
        self.nodes.get(node as usize).map_or("?", |node| &node.name)
    }
}

impl NodeRecord {
    /// Whether the node does not lie.
    pub fn honest(&self) -> bool {
        self.spec.is_none()
    }
}

/// A node and what it did.
#[derive(Clone, Debug)]
pub struct NodeRecord {
    /// Name in the network file: `n0`, `n1`, ….
    pub name: String,
    /// Key in the network file.
    pub key: PublicKey,
    /// The node's SPEC; `None` if it is honest.
    pub spec: Option<String>,
    /// The names of the behaviours in `spec`.
    pub kinds: Vec<String>,
    /// Whether the node was dead when the run ended; then no delivery is expected of it.
    pub dead: bool,
    /// Copies of batches beyond the first that reached the node.
    pub duplicates: u64,
    /// Bytes that the node received on links since the load began.
    pub bytes_received: u64,
    /// Bans that the node imposed.
    pub bans: Vec<BanRecord>,
    /// The node's rejection log, folded rows unexpanded; honest nodes only.
    pub rejections: Vec<Refused>,
    /// What the node tried; liars only.
    pub attempts: Option<Tried>,
}

/// A ban that a node imposed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BanRecord {
    /// The banned peer, by index.
    pub peer: u32,
    /// When the ban began; in a real run, the time of the first rejection that explains it.
    pub at: u64,
    /// The name of the reason.
    pub reason: String,
}

/// A row of a rejection log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The row's number in the node's store; `None` if the run kept no store.
    pub row: Option<i64>,
    /// When it was refused; the first time if several rejections are folded into the row.
    pub at: u64,
    /// The name of the reason.
    pub reason: String,
    /// The neighbour that sent the frame, by index; `None` for the node's own API.
    pub link: Option<u32>,
    /// The author that the frame names: only a claim unless `proven`.
    pub author: Option<PublicKey>,
    /// Whether that author's signature over the refused data was checked and is valid.
    pub proven: bool,
    /// The slot that the frame names.
    pub seq: Option<u64>,
    /// The id of the refused batch.
    pub id: Option<BatchId>,
    /// The hops that the frame claims.
    pub hops: Option<u8>,
    /// Length of the frame in bytes, without its length prefix.
    pub size: u64,
    /// What was wrong, in words.
    pub detail: String,
    /// SHA-256 of the frame; matches [`TriedOne::frame`] of the liar that sent it.
    pub frame: Digest,
    /// The kept prefix of the frame; `None` if nothing was kept.
    pub bytes: Option<Arc<[u8]>>,
    /// The class of the rejection.
    pub counts_as: CountsAs,
    /// The number of equal rejections folded into this row.
    pub count: u64,
}

/// The attempts of a liar, as its own node counted them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tried {
    /// By behaviour: the number of attempts, and of honest frames or links affected.
    pub totals: BTreeMap<String, (u64, u64)>,
    /// The newest attempts, oldest first.
    pub newest: Vec<TriedOne>,
}

/// One attempt of a liar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TriedOne {
    /// The name of the behaviour.
    pub kind: String,
    /// The peer that it was aimed at, by index.
    pub link: Option<u32>,
    /// SHA-256 of the frame that was sent; `None` if nothing was sent.
    pub frame: Option<Digest>,
    /// The batch that it concerns.
    pub id: Option<BatchId>,
}

/// A message that was handed to a publisher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Post {
    /// The publisher's node, by index.
    pub author: u32,
    /// When the POST was due.
    pub at: u64,
    /// Length of the payload in bytes.
    pub size: u32,
    /// The batch that holds the message, by index, and the message's index in the batch; `None` if
    /// the post was refused or never acknowledged.
    pub taken: Option<(u32, u32)>,
    /// The publisher died before it answered: the post counts as neither refused nor expected,
    /// though the message may arrive.
    pub excused: bool,
}

/// A batch that arrived somewhere or was acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchRecord {
    /// SHA-256 of the signed statement.
    pub id: BatchId,
    /// The author's node, by index; `None` for an author that runs no node.
    pub author: Option<u32>,
    /// The batch's slot in the author's lane.
    pub seq: u64,
    /// The posts in the batch, acknowledged or not. A batch in an honest author's name without any
    /// post is a forgery.
    pub posts: Vec<u32>,
}

/// A delivery of a batch at a node. A second one of the same slot at an honest node breaks safety.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The node that delivered it, by index.
    pub node: u32,
    /// The delivered batch, by index.
    pub batch: u32,
    /// When it was delivered, in microseconds since the run's zero.
    pub at: u64,
    /// Links that the batch crossed, as the last sender claims; 0 at the author.
    pub hops: u8,
    /// The neighbour that the batch came from, by index; `None` at the author.
    pub from: Option<u32>,
}

/// An invariant that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The invariant's name in the list of invariants, such as `I1`.
    pub invariant: String,
    /// Whether the invariant is one of liveness; all others are safety invariants.
    pub liveness: bool,
    /// When it was violated, in microseconds since the run's zero.
    pub at: u64,
    /// The node, by index; `None` if the violation concerns no single node.
    pub node: Option<u32>,
    /// What was observed, in words.
    pub what: String,
}

/// A fault that was injected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultRecord {
    /// Kind and parameters, such as `partition of 4 nodes`.
    pub what: String,
    /// When it began, in microseconds since the run's zero.
    pub at: u64,
    /// When it ended; `None` if it did not, or has no end of its own.
    pub until: Option<u64>,
    /// The struck nodes, by index.
    pub nodes: Vec<u32>,
}
