//! Holes: ranges of slots below a lane's tip that are not held.
//!
//! A hole is not yet a loss: its slots are asked for, oldest first, and accepted whenever a peer
//! offers them. It is *gone* (given up) once every reachable member was asked without success.

use std::sync::Arc;

use super::set_hash::SetHash;
use crate::crypto::Digest;
use crate::protocol::Hole;
use crate::wire::limits::{FILLED_HOLES, MAX_HOLES};

/// Ascending ranges that do not overlap but may adjoin, at most [`MAX_HOLES`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::protocol) struct Holes {
    /// Shared with the planners, which read them far more often than they change.
    ranges: Arc<Vec<Hole>>,
    /// Of the missing slots.
    hash: SetHash,
}

impl Holes {
    /// Restores the ranges found at start, in any order. Empty or overlapping parts are dropped.
    pub(crate) fn restore(found: &[Hole], floor: u64, tip: u64) -> Self {
        let mut holes = Self::default();
        let mut found: Vec<Hole> = found.to_vec();
        found.sort_unstable();
        for Hole { from, to, gone } in found {
            let from = from.max(floor.saturating_add(1));
            holes.push(Hole { from, to: to.min(tip), gone });
        }
        holes
    }

    /// Adds a range above all others.
    pub(crate) fn push(&mut self, hole: Hole) {
        let from =
            self.ranges.last().map_or(hole.from, |last| hole.from.max(last.to.saturating_add(1)));
        if from > hole.to || from == 0 {
            return;
        }
        self.hash.add(from, hole.to);
        self.append(Hole { from, ..hole });
    }

    /// Like [`Holes::push`], for slots that are in the hash already.
    fn append(&mut self, hole: Hole) {
        let ranges = Arc::make_mut(&mut self.ranges);
        match ranges.last_mut() {
            Some(last) if last.to.saturating_add(1) == hole.from && last.gone == hole.gone => {
                last.to = hole.to
            }
            _ => ranges.push(hole),
        }
    }

    /// A digest of the set of missing slots, however it is divided into ranges; zeros if nothing is
    /// missing.
    pub(crate) fn digest(&self) -> Digest {
        if self.is_empty() { Digest::ZERO } else { self.hash.digest() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.ranges.len()
    }

    pub(crate) fn ranges(&self) -> &[Hole] {
        &self.ranges
    }

    fn at(&self, seq: u64) -> Option<usize> {
        let after = self.ranges.partition_point(|hole| hole.to < seq);
        self.ranges.get(after).filter(|hole| hole.from <= seq).map(|_| after)
    }

    /// Whether a slot is missing, given up or not.
    pub(crate) fn contains(&self, seq: u64) -> bool {
        self.at(seq).is_some()
    }

    /// Whether a slot is missing and not given up.
    pub(crate) fn is_open(&self, seq: u64) -> bool {
        self.at(seq).is_some_and(|at| !self.ranges[at].gone)
    }

    /// The lowest slot at or above `seq` that is not missing.
    pub(crate) fn end_of(&self, seq: u64) -> u64 {
        let mut next = seq;
        for hole in self.ranges.iter().skip(self.ranges.partition_point(|hole| hole.to < seq)) {
            if hole.from > next {
                break;
            }
            next = hole.to.saturating_add(1); // the next range may begin where this one ends
        }
        next
    }

    /// The ranges that contain slots above `seq`, ascending.
    pub(crate) fn above(&self, seq: u64) -> impl Iterator<Item = &Hole> {
        self.ranges.iter().skip(self.ranges.partition_point(|hole| hole.to <= seq))
    }

    /// If the last range ends at `seq`, whether it is gone.
    pub(crate) fn ends(&self, seq: u64) -> Option<bool> {
        self.ranges.last().filter(|last| last.to == seq).map(|last| last.gone)
    }

    /// Forgets the lowest range if there is no room for another one. Returns whether it did.
    pub(crate) fn drop_lowest(&mut self) -> bool {
        if self.ranges.len() < MAX_HOLES {
            return false;
        }
        let lowest = Arc::make_mut(&mut self.ranges).remove(0);
        self.hash.remove(lowest.from, lowest.to);
        true
    }

    /// Reopens the last range, so that the next range can merge with it.
    pub(crate) fn reopen_last(&mut self) {
        if let Some(last) = Arc::make_mut(&mut self.ranges).last_mut() {
            last.gone = false;
        }
    }

    /// An upper bound on the number of ranges if every second slot of those not given up were
    /// found.
    pub(crate) fn may_become(&self) -> usize {
        let adjoins = |a: &Hole, b: &Hole| a.to.saturating_add(1) == b.from;
        let most = |run: &[Hole]| match (run.iter().all(|hole| hole.gone), run.first(), run.last())
        {
            (false, Some(first), Some(last)) => {
                usize::try_from((last.to - first.from) / 2 + 1).unwrap_or(usize::MAX)
            }
            _ => 1,
        };
        self.ranges.chunk_by(adjoins).map(most).fold(0, usize::saturating_add)
    }

    /// Whether a missing slot may be filled: it splits no range, or there is room for one more.
    pub(crate) fn may_fill(&self, seq: u64) -> bool {
        self.at(seq).is_some_and(|at| {
            let Hole { from, to, .. } = self.ranges[at];
            seq == from || seq == to || self.ranges.len() < FILLED_HOLES
        })
    }

    /// The range of a missing slot that may not be filled, because there is no room to split it.
    pub(crate) fn undivided(&self, seq: u64) -> Option<Hole> {
        self.at(seq).filter(|_| !self.may_fill(seq)).map(|at| self.ranges[at])
    }

    /// Removes a slot that is held now. The rest of its range is open again, even if it was gone:
    /// some member has part of it.
    pub(crate) fn fill(&mut self, seq: u64) {
        let Some(at) = self.at(seq) else { return };
        let Hole { from, to, .. } = self.ranges[at];
        let below = (from < seq).then(|| Hole { from, to: seq - 1, gone: false });
        let above = (seq < to).then(|| Hole { from: seq + 1, to, gone: false });
        self.hash.remove(seq, seq);
        Arc::make_mut(&mut self.ranges).splice(at..=at, below.into_iter().chain(above));
    }

    /// Adds a slot whose batch was lost. Returns `false` if there was no room to note it.
    pub(crate) fn lose(&mut self, seq: u64) -> bool {
        if self.contains(seq) || self.ranges.len() >= MAX_HOLES {
            return self.contains(seq);
        }
        let at = self.ranges.partition_point(|hole| hole.to < seq);
        self.hash.add(seq, seq);
        Arc::make_mut(&mut self.ranges).insert(at, Hole { from: seq, to: seq, gone: false });
        true
    }

    /// Drops every range up to a slot that is pruned.
    pub(crate) fn forget(&mut self, upto: u64) {
        if self.ranges.first().is_none_or(|lowest| lowest.from > upto) {
            return;
        }
        let hash = &mut self.hash;
        Arc::make_mut(&mut self.ranges).retain_mut(|hole| {
            if hole.from <= upto {
                hash.remove(hole.from, hole.to.min(upto));
                hole.from = upto.saturating_add(1);
            }
            hole.from <= hole.to
        });
    }

    /// The ranges that are not given up, ascending.
    pub(crate) fn open(&self) -> impl Iterator<Item = &Hole> {
        self.ranges.iter().filter(|hole| !hole.gone)
    }

    /// The lowest missing slot that is not given up.
    pub(crate) fn first_open(&self) -> Option<u64> {
        self.open().next().map(|hole| hole.from)
    }

    /// The lowest missing slot above `seq` that is not given up.
    pub(crate) fn next_open(&self, seq: u64) -> Option<u64> {
        let after = self.ranges.partition_point(|hole| hole.to <= seq);
        let hole = self.ranges.get(after..)?.iter().find(|hole| !hole.gone)?;
        Some(hole.from.max(seq.saturating_add(1)))
    }

    /// The ranges that are given up, ascending.
    #[cfg(test)]
    pub(crate) fn gone(&self) -> impl Iterator<Item = &Hole> {
        self.ranges.iter().filter(|hole| hole.gone)
    }

    /// The lowest slot at or above `seq` that was given up.
    pub(crate) fn next_gone(&self, seq: u64) -> Option<u64> {
        let from = self.ranges.partition_point(|hole| hole.to < seq);
        let hole = self.ranges.get(from..)?.iter().find(|hole| hole.gone)?;
        Some(hole.from.max(seq))
    }

    /// Gives up the missing slots in `from..=to`. A range that would have to be split without room
    /// stays open, as others may hold part of it. Returns the highest slot given up.
    pub(crate) fn give_up(&mut self, from: u64, to: u64) -> Option<u64> {
        let mut left = FILLED_HOLES.saturating_sub(self.ranges.len());
        let mut highest = None;
        for hole in std::mem::take(&mut self.ranges).iter().copied() {
            let (start, end) = (hole.from.max(from), hole.to.min(to));
            let parts = usize::from(hole.from < start) + usize::from(end < hole.to);
            if start > end || hole.gone || parts > left {
                self.append(hole);
                continue;
            }
            (left, highest) = (left - parts, Some(end));
            if hole.from < start {
                self.append(Hole { to: start - 1, ..hole });
            }
            self.append(Hole { from: start, to: end, gone: true });
            if end < hole.to {
                self.append(Hole { from: end + 1, ..hole });
            }
        }
        highest
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn hole(from: u64, to: u64, gone: bool) -> Hole {
        Hole { from, to, gone }
    }

    #[test]
    fn extreme_ranges_harm_nothing() {
        let holes = Holes::restore(&[hole(0, u64::MAX, false), hole(5, 3, true)], 0, u64::MAX - 1);
        assert_eq!(holes.ranges(), [hole(1, u64::MAX - 1, false)]);
        let mut holes = holes;
        holes.fill(7);
        holes.give_up(1, u64::MAX);
        assert_eq!(holes.ranges(), [hole(1, 6, true), hole(8, u64::MAX - 1, true)]);
        holes.fill(u64::MAX - 1);
        holes.forget(u64::MAX);
        assert!(holes.is_empty());
    }

    #[test]
    fn ranges_are_bounded() {
        let last = 3 * MAX_HOLES as u64;
        let mut holes = Holes::restore(&[hole(1, last, false)], 0, last);
        let mut filled = 0;
        for seq in (2..last).step_by(2) {
            if holes.may_fill(seq) {
                holes.fill(seq);
                filled += 1;
            }
        }
        assert_eq!((filled, holes.len()), (FILLED_HOLES - 1, FILLED_HOLES));
        // What is left is for the tip.
        for seq in (last + 2..).step_by(2).take(MAX_HOLES - FILLED_HOLES) {
            holes.push(hole(seq, seq, false));
        }
        assert_eq!(holes.len(), MAX_HOLES);
        assert!(holes.may_fill(1), "the ends of a range may always be filled");
        let before = holes.clone();
        holes.give_up(last - 2000, last - 1000);
        assert_eq!(holes.undivided(last - 9).map(|hole| hole.to), Some(last));
        assert_eq!([1, 2, last].map(|seq| holes.undivided(seq)), [None; 3]);
        assert_eq!(holes, before, "what others may hold is not given up with the rest");
        holes.give_up(1, 5);
        let gone: Vec<u64> = holes.gone().map(|hole| hole.from).collect();
        assert_eq!(gone, [1, 3, 5], "whole ranges take no room");
        assert_eq!(holes.may_become(), MAX_HOLES + MAX_HOLES / 2 + MAX_HOLES - FILLED_HOLES);
        for seq in (3..last).step_by(97) {
            holes.give_up(seq, seq);
        }
        assert!(holes.len() <= MAX_HOLES);
    }

    proptest! {
        #[test]
        fn they_are_a_set(steps in prop::collection::vec((0u8..21, 1u64..60, 0u64..9), 0..60)) {
            let mut holes = Holes::restore(&[hole(3, 50, false)], 0, 60);
            let mut set: BTreeSet<u64> = (3..=50).collect();
            let mut gone = BTreeSet::new();
            for (what, seq, more) in steps {
                match what {
                    20 => {
                        holes.forget(more);
                        set.retain(|s| *s > more);
                        gone.retain(|s| *s > more);
                    }
                    0..10 => {
                        let range = holes.ranges().iter().find(|h| h.from <= seq && seq <= h.to);
                        if let Some(range) = range {
                            gone.retain(|s| *s < range.from || *s > range.to);
                        }
                        holes.fill(seq);
                        set.remove(&seq);
                    }
                    10..15 if holes.lose(seq) => drop(set.insert(seq)),
                    15..20 => {
                        holes.give_up(seq, seq + more);
                        gone.extend((seq..=seq + more).filter(|s| set.contains(s)));
                    }
                    _ => {}
                }
                let ranges = holes.ranges().iter();
                let held: BTreeSet<u64> = ranges.flat_map(|h| h.from..=h.to).collect();
                prop_assert_eq!(&held, &set);
                let open: BTreeSet<u64> = holes.open().flat_map(|h| h.from..=h.to).collect();
                prop_assert!(open.is_disjoint(&gone));
                prop_assert!(holes.ranges().windows(2).all(|two| two[0].to < two[1].from));
                let mut hash = SetHash::default();
                set.iter().for_each(|seq| hash.add(*seq, *seq));
                prop_assert_eq!(&holes.hash, &hash);
            }
        }
    }
}
