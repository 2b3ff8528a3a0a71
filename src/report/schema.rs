//! `report.json`, schema 1. Keys may be added, never removed or renamed. Every key is always
//! present; what a run did not measure is `null`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::EpidemicModel;
use crate::scenario::Verdict;

/// The version of this shape.
pub const SCHEMA: u32 = 1;

/// What ran the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// Real processes on this machine.
    Processes,
    /// The simulator.
    Simulated,
}

/// A run's result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The scenario's name.
    pub name: String,
    /// What ran the nodes.
    pub backend: Backend,
    /// Seed of a simulated run.
    pub seed: Option<u64>,
    /// Digest of a simulated run.
    pub digest: Option<String>,
    /// Members.
    pub nodes: usize,
    /// Liars that such a network tolerates.
    pub f: usize,
    /// `nodes - f`.
    pub quorum: usize,
    /// Whether the run had at most `f` liars. Beyond it nothing is promised.
    pub within_bound: bool,
    /// Honest nodes.
    pub honest: usize,
    /// Nodes that were dead when the run ended.
    #[serde(default)]
    pub dead: Vec<String>,
    /// The liars.
    pub malicious: Vec<Malicious>,
    /// Messages that an honest node's API acknowledged.
    pub published: u64,
    /// Messages that it refused or never acknowledged.
    pub refused_posts: u64,
    /// What arrived, and how.
    pub delivery: Delivery,
    /// Certified delivery.
    pub certified: Certified,
    /// What was tried, by behaviour.
    pub attacks: BTreeMap<String, Attack>,
    /// What honest nodes refused.
    pub rejections: Rejections,
    /// Proofs of equivocation.
    pub evidence: Evidence,
    /// Who was banned by honest nodes.
    pub bans: Bans,
    /// Faults that were injected.
    pub faults: Vec<String>,
    /// What it cost.
    pub resources: Resources,
    /// Limits that the scenario set.
    pub expectations: Vec<Expectation>,
    /// Behaviours that reached no honest node.
    pub not_exercised: Vec<String>,
    /// Liars none of whose behaviours reached an honest node: nothing is proven about them.
    #[serde(default)]
    pub idle_liars: Vec<String>,
    /// Invariants that did not hold, as the oracle of a simulated run saw them; the first
    /// thousand.
    #[serde(default)]
    pub violations: Vec<Breach>,
    /// What really happened of that without which a simulated run proves nothing.
    #[serde(default)]
    pub counted: BTreeMap<String, u64>,
    /// What this world could not model.
    #[serde(default)]
    pub not_modelled: Vec<String>,
    /// Whether signatures were made and checked for real.
    #[serde(default = "yes")]
    pub real_crypto: bool,
    /// The bound of the liveness phase, in seconds.
    #[serde(default)]
    pub settle_s: Option<f64>,
    /// The verdict.
    pub verdict: Verdict,
    /// The verdict that was expected.
    #[serde(default = "pass")]
    pub expected_verdict: Verdict,
    /// When the wall clock was set, or the machine slept, while the run went on.
    #[serde(default)]
    pub clock_steps: Vec<ClockStep>,
    /// A command line that runs it again.
    pub reproduce: String,
}

fn yes() -> bool {
    true
}

fn pass() -> Verdict {
    Verdict::Pass
}

/// A step of the wall clock against the clock by which a run is measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClockStep {
    /// When it was noticed, in milliseconds since the run's zero.
    pub at_ms: f64,
    /// How far, in milliseconds; below 0 backwards.
    pub by_ms: f64,
    /// How much of it the machine was asleep.
    pub slept_ms: f64,
}

/// A liar.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Malicious {
    /// Its name.
    pub node: String,
    /// Its SPEC.
    pub behave: String,
    /// What it tried, by behaviour.
    pub attacks: BTreeMap<String, Attack>,
}

/// Deliveries at honest nodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Delivery {
    /// Published messages times honest nodes that lived to the end, their authors included. A
    /// message that died with its publisher before another had it is not expected.
    pub expected: u64,
    /// How many of them were delivered.
    pub delivered: u64,
    /// `delivered / expected`.
    pub ratio: Option<f64>,
    /// Slots that a node delivered more than once.
    pub duplicates: u64,
    /// Deliveries in an honest author's name that it did not publish.
    pub unpublished: u64,
    /// From the POST being sent to the delivery, at each node.
    pub latency_ms: Option<Latency>,
    /// Links crossed, as claimed; authors left out.
    pub hops: Option<Hops>,
    /// Links really crossed, followed back from node to node; authors left out.
    #[serde(default)]
    pub true_hops: Option<Hops>,
    /// Relayed deliveries whose way is not known, as a node on it told nothing.
    #[serde(default)]
    pub untraced: u64,
    /// What epidemic arithmetic says of push alone in such a mesh.
    #[serde(default)]
    pub theory: Option<EpidemicModel>,
    /// Copies of a batch that reached a node, the first included; authors left out.
    pub copies_per_delivery: Option<f64>,
    /// Bytes that honest nodes received on links for each byte of payload that they delivered.
    pub bytes_per_payload_byte: Option<f64>,
}

/// Milliseconds, by nearest rank.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Latency {
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub max: f64,
}

/// Hops, by nearest rank.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Hops {
    pub mean: f64,
    pub p50: u64,
    pub p99: u64,
    pub max: u64,
    /// Deliveries by hops.
    pub histogram: BTreeMap<u64, u64>,
}

/// Certified delivery; all `null` where the run has none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Certified {
    pub expected: Option<u64>,
    pub delivered: Option<u64>,
    pub ratio: Option<f64>,
    pub latency_ms: Option<Latency>,
}

/// One behaviour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attack {
    /// What the liars say that they tried.
    pub attempted: u64,
    /// What honest nodes logged of it; for behaviours that send nothing, what they affected.
    pub reached_honest: u64,
    /// What honest nodes must refuse and did not.
    pub accepted: u64,
}

impl std::ops::AddAssign for Attack {
    fn add_assign(&mut self, other: Self) {
        self.attempted = self.attempted.saturating_add(other.attempted);
        self.reached_honest = self.reached_honest.saturating_add(other.reached_honest);
        self.accepted = self.accepted.saturating_add(other.accepted);
    }
}

/// Rejections at honest nodes, folded rows counted in full.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejections {
    /// All; plain copies and knocks apart.
    pub total: u64,
    /// How many of those prove a lie.
    #[serde(default)]
    pub lies: u64,
    /// Plain copies of what was held already, in no other number here.
    #[serde(default)]
    pub copies: u64,
    /// Links that were tried under a ban, in no other number here.
    #[serde(default)]
    pub knocks: u64,
    /// By reason.
    pub by_reason: BTreeMap<String, u64>,
    /// By the behaviour that they are put down to; `honest` for those of honest neighbours.
    pub by_behaviour: BTreeMap<String, u64>,
}

/// Proofs of equivocation; all `null` where the run has none.
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
    /// Liars.
    pub malicious: u64,
    /// Honest nodes: must be none.
    pub honest: u64,
}

/// What a run cost.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Resources {
    /// CPU time of all nodes, in seconds.
    pub cpu_s: Option<f64>,
    /// The largest resident memory of an honest node, in MiB.
    pub peak_rss_mb: Option<f64>,
    /// Time that passed, in seconds.
    pub wall_s: Option<f64>,
    /// Simulated time, in seconds.
    pub sim_s: Option<f64>,
    /// Events of a simulated run.
    pub events: Option<u64>,
    /// Events a second while events happened: making keys and judging are left out.
    pub events_per_s: Option<f64>,
    /// From the first process being started to all honest nodes being linked, in seconds.
    pub start_s: Option<f64>,
}

/// A limit that a scenario sets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Expectation {
    /// The number's path in `report.json`.
    pub name: String,
    /// The number; `None` where the run did not measure it.
    pub actual: Option<f64>,
    /// `at_least`, `at_most` or `equals`.
    #[serde(default)]
    pub relation: String,
    /// The limit.
    pub limit: f64,
    /// Whether it holds.
    pub pass: bool,
}

/// An invariant that did not hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Breach {
    /// Its name in the list of invariants, as in `I1`.
    pub invariant: String,
    /// Whether it is one of liveness; all others are of safety.
    pub liveness: bool,
    /// When, in milliseconds since the run's zero.
    pub at_ms: f64,
    /// At which node.
    pub node: Option<String>,
    /// What was seen.
    pub what: String,
}

impl Report {
    /// The bytes of `report.json`: indented, with a newline at the end.
    ///
    /// # Errors
    /// Never in practice: every value has a JSON form.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self).map(|text| text + "\n")
    }
}
