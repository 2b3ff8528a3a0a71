//! `report.json`, schema 1. Keys may be added, never removed or renamed. Every key is always
//! present; what a run did not measure is `null`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

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
    /// The verdict.
    pub verdict: Verdict,
    /// A command line that runs it again.
    pub reproduce: String,
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
    /// Published messages times honest nodes, their authors included.
    pub expected: u64,
    /// How many of them were delivered.
    pub delivered: u64,
    /// `delivered / expected`.
    pub ratio: Option<f64>,
    /// Messages that a node delivered more than once.
    pub duplicates: u64,
    /// Deliveries in an honest author's name that it did not publish.
    pub unpublished: u64,
    /// From the POST being sent to the delivery, at each node.
    pub latency_ms: Option<Latency>,
    /// Links crossed, as claimed; authors left out.
    pub hops: Option<Hops>,
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
    /// All.
    pub total: u64,
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
    /// Events a second.
    pub events_per_s: Option<f64>,
    /// From the first process being started to all honest nodes being linked, in seconds.
    pub start_s: Option<f64>,
}

/// A limit that a scenario sets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Expectation {
    pub name: String,
    pub actual: Option<f64>,
    pub limit: f64,
    pub pass: bool,
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
