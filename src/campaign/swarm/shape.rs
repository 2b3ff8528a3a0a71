//! What kind of a run it is, beside the usual: most are, as the others cost many times as much.

use std::time::Duration;

use super::dice::Dice;
use crate::scenario::{
    Among, CpuShape, Fault, FaultKind, Load, Publishers, Select, StoreShape, Who,
};

/// What a signature check takes: as measured.
pub(super) const CHECK: Duration = Duration::from_micros(45);
/// Messages a second of an author near its quota of 100.
const NEAR_QUOTA: u64 = 95;

/// Kinds of runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// A few seconds, a few messages.
    Usual,
    /// Authors near their quota all the while.
    Busy,
    /// A node is away for tens of seconds.
    Away,
    /// Minutes with a few messages.
    Idle,
    /// Messages of up to a megabyte.
    Large,
}

impl Shape {
    /// One in eight is not the usual.
    pub fn draw(dice: &mut Dice) -> Self {
        match dice.range(0..=31) {
            0 => Self::Busy,
            1 => Self::Away,
            2 => Self::Idle,
            3 => Self::Large,
            _ => Self::Usual,
        }
    }

    /// How many nodes.
    pub fn nodes(self, dice: &mut Dice) -> usize {
        dice.count(4..=if self == Self::Usual { 31 } else { 10 })
    }

    /// How long it lasts.
    pub fn duration(self, dice: &mut Dice) -> Duration {
        dice.ms(match self {
            Self::Usual => 2000..=6000,
            Self::Busy | Self::Large => 4000..=8000,
            Self::Away => 15_000..=50_000,
            Self::Idle => 60_000..=180_000,
        })
    }
}

/// None in three quarters of the seeds; else so little for each author that much is pruned, or
/// little.
pub(super) fn store(dice: &mut Dice, nodes: usize) -> StoreShape {
    let share = dice.one_in(4).then(|| dice.range(4..=256) * 1024);
    StoreShape { max_bytes: share.map(|share| share * nodes as u64) }
}

/// In a quarter of the seeds processors are as slow as ours.
pub(super) fn cpu(dice: &mut Dice) -> CpuShape {
    CpuShape { check: dice.one_in(4).then_some(CHECK) }
}

/// Some authors near their quota, from the beginning to the end.
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

/// A node cannot be reached for long, and is back before the end.
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
