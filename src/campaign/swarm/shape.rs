//! The shapes of runs, and their networks, stores and processors. Most shapes are usual, as the
//! others cost many times as much.

use std::time::Duration;

use super::dice::Dice;
use crate::scenario::{
    Among, CpuShape, Fault, FaultKind, Latency, Load, Net, Ppm, Publishers, Select, StoreShape, Who,
};

/// Time of a signature check, as measured.
pub(super) const CHECK: Duration = Duration::from_micros(45);
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
    pub(super) fn draw(dice: &mut Dice) -> Self {
        match dice.range(0..=31) {
            0 => Self::Busy,
            1 => Self::Away,
            2 => Self::Idle,
            3 => Self::Large,
            _ => Self::Usual,
        }
    }

    /// Draws the number of nodes.
    pub(super) fn nodes(self, dice: &mut Dice) -> usize {
        dice.count(4..=if self == Self::Usual { 31 } else { 10 })
    }

    /// Draws the duration.
    pub(super) fn duration(self, dice: &mut Dice) -> Duration {
        dice.ms(match self {
            Self::Usual => 2000..=6000,
            Self::Busy | Self::Large => 4000..=8000,
            Self::Away => 15_000..=50_000,
            Self::Idle => 60_000..=180_000,
        })
    }
}

/// Draws any latency model; loss, duplication and reordering in a third of the seeds each.
pub(super) fn net(dice: &mut Dice) -> Net {
    let latency = latency(dice);
    let jitter = if dice.one_in(2) { dice.ms(1..=20) } else { Duration::ZERO };
    let mut trouble = |most| if dice.one_in(3) { dice.share(1..=most) } else { Ppm::default() };
    let (loss, duplicate, reorder) = (trouble(50), trouble(50), trouble(100));
    // Never so thin that a whole load takes longer than the bound of the liveness phase.
    let bandwidth = dice.one_in(3).then(|| dice.range(128..=4096) * 1024);
    Net { latency, jitter, loss, duplicate, reorder, bandwidth }
}

fn latency(dice: &mut Dice) -> Latency {
    match dice.range(0..=4) {
        0 => Latency::Constant(dice.ms(0..=100)),
        1 => {
            let min = dice.ms(0..=50);
            Latency::Uniform { min, max: min + dice.ms(1..=150) }
        }
        2 => {
            let mean = dice.range(2..=80);
            let sd = dice.range(1..=mean.div_ceil(2));
            Latency::Normal { mean: Duration::from_millis(mean), sd: Duration::from_millis(sd) }
        }
        3 => {
            let median = dice.ms(1..=30);
            Latency::LongTailed { median, max: median + dice.ms(10..=500) }
        }
        _ => {
            let count = dice.count(2..=4);
            let names = (0..count).map(|region| format!("r{region}")).collect();
            let mut row = || (0..count).map(|_| dice.ms(1..=150)).collect();
            Latency::Regions { names, matrix: (0..count).map(|_| row()).collect() }
        }
    }
}

/// Unbounded in three quarters of the seeds; otherwise 4 to 256 KiB per author, so that some or
/// most payloads are pruned.
pub(super) fn store(dice: &mut Dice, nodes: usize) -> StoreShape {
    let share = dice.one_in(4).then(|| dice.range(4..=256) * 1024);
    StoreShape { max_bytes: share.map(|share| share * nodes as u64) }
}

/// In a quarter of the seeds, processors are simulated and as slow as the measured one.
pub(super) fn cpu(dice: &mut Dice) -> CpuShape {
    CpuShape { check: dice.one_in(4).then_some(CHECK) }
}

/// One or two authors near their quota, from the beginning to `until`.
pub(super) fn busy(dice: &mut Dice, authors: &[usize], until: Duration) -> Load {
    let wanted = dice.count(1..=2);
    let authors = dice.some(authors, wanted);
    let rate = NEAR_QUOTA * authors.len().max(1) as u64;
    Load {
        every: Duration::from_nanos(1_000_000_000 / rate),
        count: None,
        from: Duration::ZERO,
        until: Some(until),
        size: dice.count(0..=300),
        publishers: Publishers::Nodes(authors),
    }
}

/// A fault that makes a node unreachable between two times.
pub(super) fn away(dice: &mut Dice, node: usize, (from, until): (Duration, Duration)) -> Fault {
    let kind = match dice.range(0..=5) {
        0 => FaultKind::Isolate,
        1 => FaultKind::Pause,
        2 => FaultKind::Wipe,
        _ => FaultKind::Kill,
    };
    let select = Select { who: Who::Nodes(vec![node]), of: Among::All };
    Fault { kind, at: from, until: Some(until), select }
}
