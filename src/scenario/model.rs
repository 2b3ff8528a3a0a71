//! A run as data: the mesh, the network under it, liars, faults, load, and what is expected.
//!
//! The same value drives real processes and the simulator. Times count from the run's zero: the
//! moment at which every honest node is linked (or, with [`Start::Cold`], the first start).

use std::time::Duration;

use super::Verdict;
use crate::adversary::Spec;

/// A share or a probability in millionths, at most [`Ppm::ONE`]. Integers, so that no platform's
/// floating point changes a simulated run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ppm(pub u32);

impl Ppm {
    /// All, or always.
    pub const ONE: Self = Self(1_000_000);

    /// So much of a number, rounded down.
    pub fn of(self, whole: u64) -> u64 {
        u64::try_from(u128::from(whole) * u128::from(self.0) / u128::from(Self::ONE.0))
            .unwrap_or(u64::MAX)
    }
}

/// How signatures are checked; they are always made for real.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cryptography {
    /// Each distinct statement is signed and checked for real, once a run.
    #[default]
    Real,
    /// A check compares with what was signed in the run; for the largest runs, simulated only.
    Modelled,
}

/// Where a run's zero lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// When every honest node is linked.
    #[default]
    Linked,
    /// When the first node is started: load and faults fall into the linking.
    Cold,
}

/// A whole run.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// Its name: 1 to 64 of `a-z`, `0-9`, `-`.
    pub name: String,
    /// One line for people.
    pub about: String,
    /// The seed of a simulated run, unless another is asked for; chooses whom faults strike, in
    /// both worlds.
    pub seed: u64,
    /// How long it lasts at the least, before the liveness phase; at most a day.
    pub duration: Duration,
    /// The bound of the liveness phase: so long after the last message, fault and the end of
    /// `duration`, everything must be everywhere.
    pub settle: Duration,
    /// The verdict that is expected.
    pub verdict: Verdict,
    /// Whether signatures are real.
    pub crypto: Cryptography,
    /// The nodes.
    pub mesh: MeshShape,
    /// The network under the links.
    pub net: Net,
    /// The nodes' stores.
    pub store: StoreShape,
    /// The nodes' processors.
    pub cpu: CpuShape,
    /// Who lies, and how.
    pub malicious: Vec<Group>,
    /// What goes wrong, and when.
    pub faults: Vec<Fault>,
    /// What is published.
    pub loads: Vec<Load>,
    /// Limits on the report's numbers.
    pub expects: Vec<Expect>,
}

/// The nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeshShape {
    /// How many, liars included: 1 to 1,048,576.
    pub nodes: usize,
    /// Links that each chooses for itself; the node's own default if `None`.
    pub links: Option<usize>,
    /// Where the run's zero lies.
    pub start: Start,
}

/// The nodes' stores; simulated only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreShape {
    /// Bytes of payloads that each keeps, shared among the authors as in a real store, at least
    /// 4096; no limit if `None`.
    pub max_bytes: Option<u64>,
}

/// The nodes' processors; simulated only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuShape {
    /// What a signature check takes one of two workers, up to a second. With it, every input costs
    /// its node a few microseconds and a nanosecond a byte, and what comes meanwhile waits in
    /// bounded boxes. Nothing costs anything if `None`.
    pub check: Option<Duration>,
}

/// The network under the links. A link is an ordered, reliable stream, as TLS over TCP is: what is
/// lost, doubled or reordered are the segments below it, and it shows as delay and as bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Net {
    /// One way, drawn once for each pair of nodes.
    pub latency: Latency,
    /// Added to each frame, uniform from nothing up to this.
    pub jitter: Duration,
    /// Chance that a segment is lost and must be sent again.
    pub loss: Ppm,
    /// Chance that a segment comes twice.
    pub duplicate: Ppm,
    /// Chance that a segment is overtaken by later ones.
    pub reorder: Ppm,
    /// Bytes a second that each direction of a link takes; no limit if `None`.
    pub bandwidth: Option<u64>,
}

/// One-way latency between two nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Latency {
    /// The same for all.
    Constant(Duration),
    /// Uniform between two bounds, both included.
    Uniform {
        /// The least.
        min: Duration,
        /// The most.
        max: Duration,
    },
    /// Bell-shaped, never below 0.
    Normal {
        /// The mean.
        mean: Duration,
        /// The standard deviation.
        sd: Duration,
    },
    /// Half below the median; above it each doubling is half as likely as the one before, up to
    /// `max`: a Pareto tail of exponent 1, cut off.
    LongTailed {
        /// The median.
        median: Duration,
        /// The most.
        max: Duration,
    },
    /// Nodes belong to regions in turn (node `i` to region `i mod regions`).
    Regions {
        /// Names, for people.
        names: Vec<String>,
        /// One way from each region to each: square, symmetric or not.
        matrix: Vec<Vec<Duration>>,
    },
}

/// Some of the nodes that lie.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Which.
    pub who: Who,
    /// What each of them does.
    pub behave: Spec,
}

/// Which nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// So many.
    Count(usize),
    /// So large a share of all nodes, rounded down.
    Fraction(Ppm),
    /// These, by number.
    Nodes(Vec<usize>),
}

/// Whom a fault may strike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Among {
    All,
    Honest,
    Malicious,
}

/// Whom a fault strikes: chosen by the seed, except where they are named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Select {
    /// How many, or which.
    pub who: Who,
    /// Out of whom; a fraction is one of these.
    pub of: Among,
}

/// Something that goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What.
    pub kind: FaultKind,
    /// From when.
    pub at: Duration,
    /// Until when; never mended if `None`, which only `Kill` may be.
    pub until: Option<Duration>,
    /// Whom it strikes.
    pub select: Select,
}

/// Kinds of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// Nothing passes between those selected and the others.
    Partition,
    /// Nothing passes between a selected node and anybody.
    Isolate,
    /// Segments to and from selected nodes are lost with this chance; simulated only.
    Loss(Ppm),
    /// Frames to and from selected nodes take so much longer.
    Delay(Duration),
    /// Links of selected nodes take no more than so many bytes a second.
    Cap(u64),
    /// The process dies; it starts again at `until`, and without it never.
    Kill,
    /// The process dies and starts again after so long.
    Restart(Duration),
    /// The process stands still.
    Pause,
    /// Every so often, one of those selected dies and starts again after a while.
    Churn {
        /// How often.
        every: Duration,
        /// For how long each is down.
        down: Duration,
    },
    /// Nothing more can be written to the disk; simulated only.
    DiskFull,
    /// One bit flips in each of so many rows of the store; simulated only.
    Rot(u32),
    /// The process dies and its disk is lost; it starts again at `until`.
    Wipe,
}

/// Messages that are published, in turn by the publishers, at a fixed rate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Load {
    /// Time between two messages, all publishers together.
    pub every: Duration,
    /// How many; until `until` if `None`.
    pub count: Option<u64>,
    /// From when.
    pub from: Duration,
    /// Until when; the scenario's duration if there is no count either.
    pub until: Option<Duration>,
    /// Bytes of each payload, at most 1 MiB.
    pub size: usize,
    /// Who publishes.
    pub publishers: Publishers,
}

/// Who publishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Publishers {
    /// Every honest node.
    Honest,
    /// So many of the honest nodes: the first ones.
    Count(usize),
    /// These, by number.
    Nodes(Vec<usize>),
}

/// A limit on one number of the report.
#[derive(Clone, Debug, PartialEq)]
pub struct Expect {
    /// The number's path in `report.json`, as in `delivery.latency_ms.p99`.
    pub metric: String,
    /// The limit.
    pub limit: Limit,
}

/// A limit.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Limit {
    AtLeast(f64),
    AtMost(f64),
    Equals(f64),
}
