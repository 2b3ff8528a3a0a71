//! A run as data: the mesh, the network under it, liars, faults, load and the expected result.
//!
//! Real processes and the simulator are driven by the same value. Times count from the run's zero:
//! the moment when every honest node is linked (or, with [`Start::Cold`], when the first node
//! starts).

use std::time::Duration;

use super::Verdict;
use crate::adversary::Spec;

/// A share or a probability in millionths, at most [`Ppm::ONE`]. An integer, so that a simulated
/// run does not depend on a platform's floating point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ppm(pub u32);

impl Ppm {
    /// The whole; as a probability, certainty.
    pub const ONE: Self = Self(1_000_000);

    /// Returns this share of `whole`, rounded down.
    pub fn of(self, whole: u64) -> u64 {
        u64::try_from(u128::from(whole) * u128::from(self.0) / u128::from(Self::ONE.0))
            .unwrap_or(u64::MAX)
    }
}

/// How signatures are checked. Signatures are always made with the real algorithm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cryptography {
    /// Each distinct statement is verified once per run.
    #[default]
    Real,
    /// A check looks up whether the statement was signed in this run. Simulated only, for the
    /// largest runs.
    Modelled,
}

/// Where a run's zero lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// When every honest node is linked.
    #[default]
    Linked,
    /// When the first node is started: load and faults may strike while nodes are still linking.
    Cold,
}

/// A complete run, as read from a scenario file.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// The scenario's name: 1 to 64 characters of `a-z`, `0-9`, `-`.
    pub name: String,
    /// A description for people: one line of at most 200 characters, possibly empty.
    pub about: String,
    /// The default seed. It chooses the nodes that faults strike and the latency of each pair, in
    /// both worlds; in the simulator also everything else that is random.
    pub seed: u64,
    /// The minimum time before the liveness phase; at most one day.
    pub duration: Duration,
    /// The bound of the liveness phase: every message must be everywhere this long after the last
    /// message, the last fault and the end of `duration`. From 1 ms to one day.
    pub settle: Duration,
    /// The verdict that the run must end with.
    pub verdict: Verdict,
    /// Whether signatures are really made and checked.
    pub crypto: Cryptography,
    /// Number of nodes, their links and the run's zero.
    pub mesh: MeshShape,
    /// The network under the links.
    pub net: Net,
    /// Limits on the nodes' stores.
    pub store: StoreShape,
    /// The cost of signature checks on the nodes' processors.
    pub cpu: CpuShape,
    /// Groups of liars and their behaviours.
    pub malicious: Vec<Group>,
    /// Faults, in the order of the file.
    pub faults: Vec<Fault>,
    /// Loads, in the order of the file.
    pub loads: Vec<Load>,
    /// Limits on numbers of the report.
    pub expects: Vec<Expect>,
}

/// The nodes of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeshShape {
    /// Number of nodes, liars included: 1 to 1,048,576.
    pub nodes: usize,
    /// Links that each node chooses for itself, 1 to 64; the node's own default if `None`.
    pub links: Option<usize>,
    /// Where the run's zero lies.
    pub start: Start,
}

/// The nodes' stores. Simulated only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreShape {
    /// Bytes of payload that each node keeps, shared among the authors as in a real store; at least
    /// 4096. No limit if `None`.
    pub max_bytes: Option<u64>,
}

/// The nodes' processors. Simulated only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuShape {
    /// Time that a signature check occupies one of a node's two workers; from 1 µs to 1 s. If set,
    /// every input also costs its node a few microseconds plus a nanosecond per byte, and input
    /// that arrives meanwhile waits in bounded queues. If `None`, nothing costs any time.
    pub check: Option<Duration>,
}

/// The network under the links. A link is an ordered, reliable stream, like TLS over TCP: only the
/// segments below it are lost, duplicated or reordered, which shows as delay and extra bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Net {
    /// One-way latency, drawn once for each pair of nodes.
    pub latency: Latency,
    /// Extra delay of each frame, uniform from 0 up to this.
    pub jitter: Duration,
    /// Probability that a segment is lost and must be sent again.
    pub loss: Ppm,
    /// Probability that a segment arrives twice.
    pub duplicate: Ppm,
    /// Probability that a segment is overtaken by later ones.
    pub reorder: Ppm,
    /// Bytes per second in each direction of a link; no limit if `None`.
    pub bandwidth: Option<u64>,
}

impl Default for Net {
    /// A good local network: 1 ms one-way latency, no jitter, no loss, no bandwidth limit.
    fn default() -> Self {
        Self {
            latency: Latency::Constant(Duration::from_millis(1)),
            jitter: Duration::ZERO,
            loss: Default::default(),
            duplicate: Default::default(),
            reorder: Default::default(),
            bandwidth: None,
        }
    }
}

/// One-way latency between two nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Latency {
    /// The same for all pairs.
    Constant(Duration),
    /// Uniform between two bounds, both inclusive.
    Uniform {
        /// Least value.
        min: Duration,
        /// Greatest value.
        max: Duration,
    },
    /// Normal, cut off below 0.
    Normal {
        /// Mean of the values, before negative ones become 0.
        mean: Duration,
        /// Standard deviation of the values.
        sd: Duration,
    },
    /// Half of the pairs are below the median. Above it, each doubling is half as likely as the one
    /// before, up to `max`: a Pareto tail of exponent 1, truncated.
    LongTailed {
        /// Half of the values are below.
        median: Duration,
        /// Greatest value.
        max: Duration,
    },
    /// Nodes are assigned to regions in turn: node `i` belongs to region `i mod regions`.
    Regions {
        /// Names of the regions, for people only.
        names: Vec<String>,
        /// One-way latency from each region (row) to each region (column): square, not necessarily
        /// symmetric.
        matrix: Vec<Vec<Duration>>,
    },
}

/// A group of nodes that lie in the same way.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// The nodes of the group.
    pub who: Who,
    /// The behaviours of each of them.
    pub behave: Spec,
}

/// Nodes, given by their count, as a share, or by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// This many nodes: for faults drawn from the seed, for liars the last ones.
    Count(usize),
    /// This share of the nodes, rounded down.
    Fraction(Ppm),
    /// The nodes with these numbers.
    Nodes(Vec<usize>),
}

/// The set of nodes that a fault may strike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Among {
    All,
    Honest,
    Malicious,
}

/// The nodes that a fault strikes: chosen by the seed unless they are named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Select {
    /// How many nodes, or which.
    pub who: Who,
    /// The set to choose from. A fraction is a share of this set.
    pub of: Among,
}

/// A fault: something that goes wrong at some nodes for some time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What goes wrong, with its parameters.
    pub kind: FaultKind,
    /// When the fault begins, counted from the run's zero.
    pub at: Duration,
    /// When the fault ends. `None` for `Restart` and `Rot`, which have no end of their own, for a
    /// `Kill` that is for good, and for a `Churn` until the scenario's duration is over.
    pub until: Option<Duration>,
    /// The nodes that the fault strikes.
    pub select: Select,
}

/// What a fault does to the nodes that it strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// Nothing passes between the selected nodes and the others.
    Partition,
    /// Nothing passes between a selected node and any other node.
    Isolate,
    /// Segments to and from selected nodes are lost with this probability. Simulated only.
    Loss(Ppm),
    /// Frames to and from selected nodes are delayed by this much more.
    Delay(Duration),
    /// Links of selected nodes carry at most this many bytes per second.
    Cap(u64),
    /// The process is killed. It is started again at `until`, or never if that is `None`.
    Kill,
    /// The process is killed and started again after this time.
    Restart(Duration),
    /// The process is paused until the fault ends.
    Pause,
    /// One selected node after another is killed and started again.
    Churn {
        /// The time between two kills.
        every: Duration,
        /// How long each node is down.
        down: Duration,
    },
    /// Every write to the disk fails. Simulated only.
    DiskFull,
    /// One bit flips in each of this many rows of the store. Simulated only.
    Rot(u32),
    /// The process is killed and its disk is lost. It is started again at `until`.
    Wipe,
}

/// Messages at a fixed rate, posted to the publishers in turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Load {
    /// Time between two messages of this load, over all publishers.
    pub every: Duration,
    /// Number of messages; `None` if only `until` ends the load.
    pub count: Option<u64>,
    /// When the first message is due.
    pub from: Duration,
    /// When the load ends; the scenario's duration if `count` is `None` too.
    pub until: Option<Duration>,
    /// Bytes of each payload, at most 1 MiB.
    pub size: usize,
    /// Which nodes publish, in turn.
    pub publishers: Publishers,
}

/// The nodes that publish a load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Publishers {
    /// Every honest node, in the order of their numbers.
    Honest,
    /// The first honest nodes, this many.
    Count(usize),
    /// The nodes with these numbers.
    Nodes(Vec<usize>),
}

/// A limit on one number of the report.
#[derive(Clone, Debug, PartialEq)]
pub struct Expect {
    /// The number's path in `report.json`, such as `delivery.latency_ms.p99`.
    pub metric: String,
    /// The bound that the number must meet.
    pub limit: Limit,
}

/// A bound on a number.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Limit {
    AtLeast(f64),
    AtMost(f64),
    Equals(f64),
}

impl Fault {
    /// The fault with its parameters and the number of nodes struck: `partition of 4 nodes`.
    pub fn words(&self, struck: usize) -> String {
        let plural = if struck == 1 { "" } else { "s" };
        format!("{} of {struck} node{plural}", self.kind.words())
    }
}

impl FaultKind {
    /// The kind in words, with its parameters.
    pub fn words(self) -> String {
        match self {
            Self::Partition => "partition".into(),
            Self::Isolate => "isolation".into(),
            Self::Loss(p) => format!("loss of {} %", f64::from(p.0) / 10_000.0),
            Self::Delay(by) => format!("delay by {} ms", by.as_millis()),
            Self::Cap(rate) => format!("cap at {rate} bytes a second"),
            Self::Kill => "kill".into(),
            Self::Restart(down) => format!("restart after {} ms", down.as_millis()),
            Self::Pause => "pause".into(),
            Self::DiskFull => "full disk".into(),
            Self::Rot(rows) => format!("rot of {rows} rows"),
            Self::Wipe => "loss of the disk".into(),
            Self::Churn { every, down } => {
                format!("churn every {} ms for {} ms", every.as_millis(), down.as_millis())
            }
        }
    }
}
