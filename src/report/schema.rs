//! `report.json`, schema 1. Keys may be added, but never removed or renamed. Every key is always
//! present; its value is `null` if the run did not measure it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::EpidemicModel;
use crate::scenario::Verdict;

/// The version of the report's format.
pub const SCHEMA: u32 = 1;

/// Whether real processes or the simulator ran the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// Real processes on this machine.
    Processes,
    /// Nodes in virtual time, in this process.
    Simulated,
}

/// The result of a run, as stored in `report.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Version of the format: [`SCHEMA`].
    pub schema: u32,
    /// Name of the scenario; `mesh up` for a run without one.
    pub name: String,
    /// `processes` or `simulated`.
    pub backend: Backend,
    /// The seed of the run; `null` for a run without a scenario.
    pub seed: Option<u64>,
    /// The run digest of a simulated run, in hex; else `null`.
    pub digest: Option<String>,
    /// Number of members, each with a node.
    pub nodes: usize,
    /// The number of liars that a network of this size tolerates.
    pub f: usize,
    /// Size of a quorum, `nodes - f`.
    pub quorum: usize,
    /// Whether the run had at most `f` liars. Beyond that bound nothing is promised.
    pub within_bound: bool,
    /// How many of `nodes` are honest.
    pub honest: usize,
    /// Names of the nodes that were dead when the run ended.
    #[serde(default)]
    pub dead: Vec<String>,
    /// The liars, and what each of them tried.
    pub malicious: Vec<Malicious>,
    /// Messages that an honest node's API acknowledged.
    pub published: u64,
    /// Messages that an honest node's API refused or never acknowledged. Posts to a node that was
    /// killed before it answered are left out.
    pub refused_posts: u64,
    /// Deliveries at honest nodes, their latency and hops.
    pub delivery: Delivery,
    /// Deliveries with a certificate; not measured yet.
    pub certified: Certified,
    /// Attacks of all liars, by behaviour.
    pub attacks: BTreeMap<String, Attack>,
    /// What honest nodes refused.
    pub rejections: Rejections,
    /// Proofs of equivocation; not measured yet.
    pub evidence: Evidence,
    /// Members that honest nodes banned.
    pub bans: Bans,
    /// The injected faults, in words.
    pub faults: Vec<String>,
    /// What the run cost in time and memory.
    pub resources: Resources,
    /// The limits that the scenario sets, and whether each was met.
    pub expectations: Vec<Expectation>,
    /// Behaviours that reached no honest node.
    pub not_exercised: Vec<String>,
    /// Liars none of whose behaviours reached an honest node: the run proves nothing about them.
    #[serde(default)]
    pub idle_liars: Vec<String>,
    /// Invariants that did not hold, as seen by the oracle of a simulated run; at most 1000.
    #[serde(default)]
    pub violations: Vec<Breach>,
    /// Counts of events that must really have happened for a simulated run to prove anything, such
    /// as `retransmissions`.
    #[serde(default)]
    pub counted: BTreeMap<String, u64>,
    /// What this world could not model, in words.
    #[serde(default)]
    pub not_modelled: Vec<String>,
    /// Whether signatures were checked for real.
    #[serde(default = "yes")]
    pub real_crypto: bool,
    /// The bound of the liveness phase, in seconds.
    #[serde(default)]
    pub settle_s: Option<f64>,
    /// The verdict on the run.
    pub verdict: Verdict,
    /// The verdict that the scenario expects.
    #[serde(default = "pass")]
    pub expected_verdict: Verdict,
    /// Times at which the wall clock was set, or the machine slept, during the run.
    #[serde(default)]
    pub clock_steps: Vec<ClockStep>,
    /// A command line that repeats the run.
    pub reproduce: String,
}

fn yes() -> bool {
    true
}

fn pass() -> Verdict {
    Verdict::Pass
}

/// A step of the wall clock relative to the monotonic clock that measures the run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClockStep {
    /// When the step was noticed, in milliseconds since the run's zero.
    pub at_ms: f64,
    /// The size of the step in milliseconds; negative if the clock went backwards.
    pub by_ms: f64,
    /// The part of `by_ms` during which the machine was asleep, in milliseconds.
    pub slept_ms: f64,
}

/// A liar and what it tried.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Malicious {
    /// The node's name.
    pub node: String,
    /// What it lies about, as for `--malicious`.
    pub behave: String,
    /// Its attacks, by behaviour.
    pub attacks: BTreeMap<String, Attack>,
}

/// What honest nodes delivered, and how fast.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Delivery {
    /// Published messages times honest nodes that were alive at the end, authors included. Left out
    /// are messages that died with their publisher before any living node had them, and those that
    /// every other honest node had pruned or lost before it met the node that lacks them.
    pub expected: u64,
    /// How many of the expected deliveries happened.
    pub delivered: u64,
    /// `delivered / expected`; `null` if nothing was expected.
    pub ratio: Option<f64>,
    /// Second deliveries of a slot at an honest node.
    pub duplicates: u64,
    /// Deliveries of batches in the name of an honest author that did not publish them.
    pub unpublished: u64,
    /// From the time a message is due to be posted until its delivery, over all nodes.
    pub latency_ms: Option<Latency>,
    /// Links crossed, as the last sender claims; deliveries at the author are left out.
    pub hops: Option<Hops>,
    /// Links really crossed, traced back from node to node; deliveries at the author are left out.
    #[serde(default)]
    pub true_hops: Option<Hops>,
    /// Relayed deliveries whose path is unknown, because a node on it did not report its delivery.
    #[serde(default)]
    pub untraced: u64,
    /// What an epidemic model predicts for push alone in a mesh of this size.
    #[serde(default)]
    pub theory: Option<EpidemicModel>,
    /// Copies of a batch that reached a node, the first included; authors are left out.
    pub copies_per_delivery: Option<f64>,
    /// Bytes that honest nodes received on links per byte of payload that they delivered.
    pub bytes_per_payload_byte: Option<f64>,
}

/// Latencies in milliseconds. Percentiles by nearest rank.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Latency {
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub max: f64,
}

/// Hops of relayed deliveries. Percentiles by nearest rank.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Hops {
    pub mean: f64,
    pub p50: u64,
    pub p99: u64,
    pub max: u64,
    /// Number of deliveries by hop count.
    pub histogram: BTreeMap<u64, u64>,
}

/// Certified delivery; all fields are `null` if the run has none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Certified {
    pub expected: Option<u64>,
    pub delivered: Option<u64>,
    pub ratio: Option<f64>,
    pub latency_ms: Option<Latency>,
}

/// Attempts of one behaviour, and what came of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attack {
    /// Attempts, as counted by the liars themselves.
    pub attempted: u64,
    /// Attempts that honest nodes logged; for behaviours that send nothing, what they affected.
    pub reached_honest: u64,
    /// Forgeries that honest nodes accepted although they must refuse them.
    pub accepted: u64,
}

impl std::ops::AddAssign for Attack {
    fn add_assign(&mut self, other: Self) {
        self.attempted = self.attempted.saturating_add(other.attempted);
        self.reached_honest = self.reached_honest.saturating_add(other.reached_honest);
        self.accepted = self.accepted.saturating_add(other.accepted);
    }
}

/// Rejections at honest nodes. A folded row counts as often as it was folded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejections {
    /// All rejections except plain copies and knocks.
    pub total: u64,
    /// How many of `total` prove a lie.
    #[serde(default)]
    pub lies: u64,
    /// Plain copies of batches that were held already; in no other number here.
    #[serde(default)]
    pub copies: u64,
    /// Dials by banned peers; in no other number here.
    #[serde(default)]
    pub knocks: u64,
    /// How many of `total` have this reason, by its name.
    pub by_reason: BTreeMap<String, u64>,
    /// Rejections by the behaviour that they are attributed to; `honest` for those sent by honest
    /// neighbours.
    pub by_behaviour: BTreeMap<String, u64>,
}

/// Proofs of equivocation; all fields are `null` if the run has none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Evidence {
    pub equivocations: Option<u64>,
    pub proofs: Option<u64>,
    pub detection_ms: Option<Latency>,
}

/// Members that at least one honest node banned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bans {
    /// Liars that an honest node banned.
    pub malicious: u64,
    /// Banned honest nodes; must be 0.
    pub honest: u64,
}

/// What a run cost in time and memory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Resources {
    /// CPU time, summed over all nodes, in seconds.
    pub cpu_s: Option<f64>,
    /// The peak resident memory: of the largest honest node, or of the whole simulation; in MiB.
    pub peak_rss_mb: Option<f64>,
    /// Elapsed real time, in seconds.
    pub wall_s: Option<f64>,
    /// Virtual time at the end of a simulated run, in seconds.
    pub sim_s: Option<f64>,
    /// Events of a simulated run, all nodes together.
    pub events: Option<u64>,
    /// Events per second of the simulation proper: making keys and judging are left out.
    pub events_per_s: Option<f64>,
    /// From the start of the first process until all honest nodes are linked, in seconds.
    pub start_s: Option<f64>,
}

/// A limit that a scenario sets, and the number that it applies to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Expectation {
    /// The number's path in `report.json`.
    pub name: String,
    /// The measured number; `None` if the run did not measure it.
    pub actual: Option<f64>,
    /// How `actual` must relate to `limit`: `at_least`, `at_most` or `equals`.
    #[serde(default)]
    pub relation: String,
    /// The number that the scenario gives.
    pub limit: f64,
    /// Whether the bound is met.
    pub pass: bool,
}

/// An invariant that did not hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Breach {
    /// The invariant's name in the list of invariants, such as `I1`.
    pub invariant: String,
    /// Whether the invariant is one of liveness; all others are safety invariants.
    pub liveness: bool,
    /// When it was violated, in milliseconds since the run's zero.
    pub at_ms: f64,
    /// The name of the node; `None` if the violation concerns no single node.
    pub node: Option<String>,
    /// What was observed, in words.
    pub what: String,
}

impl Report {
    /// Returns the contents of `report.json`: indented, with a trailing newline.
    ///
    /// # Errors
    /// None in practice: every value has a JSON form.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self).map(|text| text + "\n")
    }
}
