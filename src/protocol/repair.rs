//! Repair: two nodes find where their lanes differ, at a cost proportional to the difference.
//!
//! A comparison names ranges of keys, with a hash over the tips, holes and slots above of their
//! lanes. The answer splits differing ranges until they hold few enough lanes to list. Similar to
//! the range-based set reconciliation of Meyer (2023), over a key space known to both sides.

use super::tree::level_of;
use crate::crypto::{Digest, PublicKey};
use crate::wire::{Differ, RangeHash};

/// A differing range with at most this many lanes is answered with their tips.
pub(super) const LIST_LANES: usize = 16;

/// The authors of all tips and slots in an answer.
pub(super) fn authors(answer: &Differ) -> impl Iterator<Item = &PublicKey> {
    let tips = answer.tips.iter().map(|tip| &tip.slot.author);
    tips.chain(answer.above.iter().map(|slot| &slot.author))
}

/// Whether every range, tip and slot of an answer lies within the ranges asked about, and every
/// range is a narrower block. This makes a comparison end whatever the peer says.
pub(super) fn narrows(
    keys: u32,
    asked: &[RangeHash],
    answer: &Differ,
    number_of: impl Fn(&PublicKey) -> Option<u32>,
) -> bool {
    let within = |start: u32, end: u32, narrower: bool| {
        asked.iter().any(|range| {
            range.start <= start
                && end <= range.end
                && (!narrower || end - start < range.end - range.start)
        })
    };
    let block = |range: &RangeHash| level_of(keys, range.start, range.end).is_some();
    answer.ranges.iter().all(|range| block(range) && within(range.start, range.end, true))
        && authors(answer).all(|author| {
            number_of(author).is_some_and(|key| within(key, key.saturating_add(1), false))
        })
}

/// The ranges of an answer whose hash differs from ours.
pub(super) fn differing(answer: &[RangeHash], ours: impl Fn(u32, u32) -> Digest) -> Vec<RangeHash> {
    let differ = answer.iter().filter(|range| ours(range.start, range.end) != range.hash);
    differ.map(|range| RangeHash { hash: ours(range.start, range.end), ..*range }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{List, SlotId};

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
        let fits = |ranges| narrows(100, &asked, &answer(ranges), |_| None);
        assert!(fits(vec![]) && fits(vec![range(0, 16), range(16, 17), range(96, 100)]));
        assert!(!fits(vec![range(0, 100)]), "as wide as what was asked");
        assert!(!fits(vec![range(96, 101)]) && !fits(vec![range(200, u32::MAX)]));
        assert!(!fits(vec![range(0, 50)]) && !fits(vec![range(8, 24)]), "no blocks");
        let author = PublicKey([7; 32]);
        let slot = SlotId { author, seq: 1, id: Digest::ZERO };
        let above = Differ { above: List::new(vec![slot]).expect("one"), ..answer(vec![]) };
        for (number, fits) in [(Some(99), true), (Some(100), false), (None, false)] {
            assert_eq!(narrows(101, &asked, &above, |_| number), fits, "{number:?}");
        }
        assert!(authors(&above).eq([&author]));
    }
}
