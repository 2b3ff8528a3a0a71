//! The shapes of runs, and their networks, stores and processors. Most shapes are usual, as the
//! others cost many times as much.

use std::time::Duration;

use super::random::Random;
use crate::scenario::{
    Among, CpuShape, Cryptography, Fault, FaultKind, Latency, Load, MeshShape, Net, Ppm,
    Publishers, Scenario, Select, StoreShape, Verdict, Who,
};

/// Time of a signature check, as measured.
const CHECK: Duration = Duration::from_micros(45);
/// The bound of the liveness phase.
const SETTLE: Duration = Duration::from_secs(60);
/// Messages per second of an author near its quota of 100.
const NEAR_QUOTA: u64 = 95;

/// The shapes that a run can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// A few seconds, a few messages.
    Usual,
    /// Authors stay near their quota for the whole run.
    Busy,
    /// A node is away for up to tens of seconds.
    Away,
    /// One to three minutes with few messages.
    Idle,
    /// Messages of up to a megabyte.
    Large,
}

impl Shape {
    /// Draws a shape; one in eight is not the usual one.
    pub(super) fn draw(random: &mut Random) -> Self {
        match random.range(0..=31) {
            0 => Self::Busy,
            1 => Self::Away,
            2 => Self::Idle,
            3 => Self::Large,
            _ => Self::Usual,
        }
    }

    /// Draws the number of nodes.
    pub(super) fn nodes(self, random: &mut Random) -> usize {
        random.count(4..=if self == Self::Usual { 31 } else { 10 })
    }

    pub(super) fn duration(self, random: &mut Random) -> Duration {
        random.ms(match self {
            Self::Usual => 2000..=6000,
            Self::Busy | Self::Large => 4000..=8000,
            Self::Away => 15_000..=50_000,
            Self::Idle => 60_000..=180_000,
        })
    }
}

/// The scenario of a seed on hosts that are drawn, yet without liars, faults and load.
pub(super) fn blank(
    random: &mut Random,
    name: &str,
    seed: u64,
    duration: Duration,
    mesh: MeshShape,
    net: Net,
) -> Scenario {
    Scenario {
        name: name.into(),
        about: format!("drawn from seed {seed}"),
        seed,
        duration,
        settle: SETTLE,
        verdict: Verdict::Pass,
        crypto: Cryptography::Real,
        mesh,
        net,
        store: store(random, mesh.nodes),
        cpu: cpu(random),
        malicious: Vec::new(),
        faults: Vec::new(),
        loads: Vec::new(),
        expects: Vec::new(),
    }
}

/// Draws any latency model; loss, duplication and reordering in a third of the seeds each.
pub(super) fn net(random: &mut Random) -> Net {
    let latency = latency(random);
    let jitter = if random.one_in(2) { random.ms(1..=20) } else { Duration::ZERO };
    let mut trouble = |most| if random.one_in(3) { random.share(1..=most) } else { Ppm::default() };
    let (loss, duplicate, reorder) = (trouble(50), trouble(50), trouble(100));
    // Never so thin that a whole load takes longer than the bound of the liveness phase.
    let bandwidth = random.one_in(3).then(|| random.range(128..=4096) * 1024);
    Net { latency, jitter, loss, duplicate, reorder, bandwidth }
}

fn latency(random: &mut Random) -> Latency {
    match random.range(0..=4) {
        0 => Latency::Constant(random.ms(0..=100)),
        1 => {
            let min = random.ms(0..=50);
            Latency::Uniform { min, max: min + random.ms(1..=150) }
        }
        2 => {
            let mean = random.range(2..=80);
            let sd = random.range(1..=mean.div_ceil(2));
            Latency::Normal { mean: Duration::from_millis(mean), sd: Duration::from_millis(sd) }
        }
        3 => {
            let median = random.ms(1..=30);
            Latency::LongTailed { median, max: median + random.ms(10..=500) }
        }
        _ => {
            let count = random.count(2..=4);
            let names = (0..count).map(|region| format!("r{region}")).collect();
            let mut row = || (0..count).map(|_| random.ms(1..=150)).collect();
            Latency::Regions { names, matrix: (0..count).map(|_| row()).collect() }
        }
    }
}

/// Unbounded in three quarters of the seeds; otherwise 4 to 256 KiB per author, so that some or
/// most payloads are pruned.
fn store(random: &mut Random, nodes: usize) -> StoreShape {
    let share = random.one_in(4).then(|| random.range(4..=256) * 1024);
    StoreShape { max_bytes: share.map(|share| share * nodes as u64) }
}

/// In a quarter of the seeds, processors are simulated and as slow as the measured one.
fn cpu(random: &mut Random) -> CpuShape {
    CpuShape { check: random.one_in(4).then_some(CHECK) }
}

/// One or two authors near their quota, from the beginning to `until`.
pub(super) fn busy(random: &mut Random, authors: &[usize], until: Duration) -> Load {
    let wanted = random.count(1..=2);
    let authors = random.some(authors, wanted);
    let rate = NEAR_QUOTA * authors.len().max(1) as u64;
    Load {
        every: Duration::from_nanos(1_000_000_000 / rate),
        count: None,
        from: Duration::ZERO,
        until: Some(until),
        size: random.count(0..=300),
        publishers: Publishers::Nodes(authors),
    }
}

/// A fault that makes a node unreachable between two times.
pub(super) fn away(random: &mut Random, node: usize, (from, until): (Duration, Duration)) -> Fault {
    let kind = match random.range(0..=5) {
        0 => FaultKind::Isolate,
        1 => FaultKind::Pause,
        2 => FaultKind::Wipe,
        _ => FaultKind::Kill,
    };
    let select = Select { who: Who::Nodes(vec![node]), of: Among::All };
    Fault { kind, at: from, until: Some(until), select }
}
