//! Repair: two nodes find where their lanes differ, at a cost that follows the difference.
//!
//! A comparison names ranges of keys with a hash over their tips. The answer splits what differs
//! until few enough lanes are left to list their signed tips. Like the range-based set
//! reconciliation of Meyer (2023), over a key space that both sides know.

use crate::crypto::Digest;
use crate::wire::limits::RANGE_FANOUT;
use crate::wire::{Differ, RangeHash};

/// A range with at most this many lanes that spoke is answered with their tips.
pub(super) const LIST_LANES: usize = 16;

/// Splits a range into at most [`RANGE_FANOUT`] parts that differ in length by at most one.
pub(super) fn split(start: u32, end: u32) -> Vec<(u32, u32)> {
    let width = end.saturating_sub(start);
    let parts = RANGE_FANOUT.min(width);
    let cut = |i: u32| {
        let offset = u64::from(width) * u64::from(i) / u64::from(parts.max(1));
        start + u32::try_from(offset).unwrap_or(width)
    };
    (0..parts).map(|i| (cut(i), cut(i + 1))).filter(|(a, b)| a < b).collect()
}

/// Whether every range and tip of an answer lies within the ranges that were asked about, and every
/// range is narrower: so that comparing ends whatever the other side says.
pub(super) fn narrows(
    asked: &[RangeHash],
    answer: &Differ,
    number_of: impl Fn(&crate::crypto::PublicKey) -> Option<u32>,
) -> bool {
    let within = |start: u32, end: u32, narrower: bool| {
        asked.iter().any(|range| {
            range.start <= start
                && end <= range.end
                && (!narrower || end - start < range.end - range.start)
        })
    };
    answer.ranges.iter().all(|range| within(range.start, range.end, true))
        && answer.tips.iter().all(|tip| {
            number_of(&tip.slot.author).is_some_and(|key| within(key, key.saturating_add(1), false))
        })
}

/// The ranges of an answer whose hash is not ours.
pub(super) fn differing(answer: &[RangeHash], ours: impl Fn(u32, u32) -> Digest) -> Vec<RangeHash> {
    let differ = answer.iter().filter(|range| ours(range.start, range.end) != range.hash);
    differ.map(|range| RangeHash { hash: ours(range.start, range.end), ..*range }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::List;

    #[test]
    fn ranges_split_without_gap_or_overlap() {
        for (start, end) in
            [(0, 1), (0, 2), (3, 20), (0, 16), (5, 10_005), (0, 1 << 20), (0, u32::MAX)]
        {
            let parts = split(start, end);
            assert!(parts.len() <= RANGE_FANOUT as usize);
            assert_eq!((parts[0].0, parts[parts.len() - 1].1), (start, end));
            assert!(parts.windows(2).all(|pair| pair[0].1 == pair[1].0));
        }
        assert!(split(4, 4).is_empty());
    }

    #[test]
    fn an_answer_that_does_not_narrow_is_refused() {
        let range = |start, end| RangeHash { start, end, hash: Digest::ZERO };
        let answer = |ranges: Vec<RangeHash>| Differ {
            ticket: 0,
            ranges: List::new(ranges).expect("few"),
            tips: List::new(vec![]).expect("none"),
            above: List::new(vec![]).expect("none"),
        };
        let asked = [range(0, 100)];
        let fits = |ranges| narrows(&asked, &answer(ranges), |_| None);
        assert!(fits(vec![]) && fits(vec![range(0, 50), range(50, 99)]));
        assert!(!fits(vec![range(0, 100)]), "as wide as what was asked");
        assert!(!fits(vec![range(90, 101)]) && !fits(vec![range(200, u32::MAX)]));
    }
}
