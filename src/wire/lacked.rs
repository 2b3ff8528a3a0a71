//! A bitmap of the slots above a base slot that an answerer lacks.

use bincode::{Decode, Encode};

/// Which of the [`Lacked::SLOTS`] slots above a base slot are lacked: bit `i % 8` (0 is the lowest)
/// of byte `i / 8` stands for the slot `i + 1` above the base.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Lacked(pub [u8; 32]);

impl Lacked {
    /// How many slots above the base are covered.
    pub const SLOTS: u64 = 256;

    /// Marks the slot at distance `above` from the base, from 1, as lacked. Distances out of range
    /// are ignored.
    pub fn mark(&mut self, above: u64) {
        self.set(above, true);
    }

    /// Sets or clears the mark of the slot at distance `above`.
    pub fn set(&mut self, above: u64, lacked: bool) {
        let at = above.checked_sub(1).and_then(|at| usize::try_from(at).ok());
        if let Some((byte, bit)) = at.and_then(|at| Some((self.0.get_mut(at / 8)?, at % 8))) {
            *byte = *byte & !(1 << bit) | u8::from(lacked) << bit;
        }
    }

    /// Whether no slot is marked as lacked.
    pub fn is_empty(&self) -> bool {
        self.0 == [0; 32]
    }

    /// Whether the slot at distance `above` is marked as lacked; `false` out of range.
    pub fn contains(&self, above: u64) -> bool {
        let at = above.checked_sub(1).and_then(|at| usize::try_from(at).ok());
        let byte = at.and_then(|at| Some((self.0.get(at / 8)?, at % 8)));
        byte.is_some_and(|(byte, bit)| byte >> bit & 1 == 1)
    }

    /// The lowest distance at or above `from` that is not marked; `None` if there is none in range.
    pub fn first_held(&self, from: u64) -> Option<u64> {
        let first = from.checked_sub(1).filter(|at| *at < Self::SLOTS)?;
        let bytes = self.0.iter().zip((0..Self::SLOTS).step_by(8));
        let mut rest = bytes.skip(usize::try_from(first / 8).ok()?);
        rest.find_map(|(byte, at)| {
            let before = (1_u8 << first.saturating_sub(at).min(7)) - 1; // bits below the first
            let held = at + u64::from((byte | before).trailing_ones());
            (held < at + 8).then_some(held + 1)
        })
    }

    /// The highest distance that is marked.
    pub fn last(&self) -> Option<u64> {
        (1..=Self::SLOTS).rev().find(|above| self.contains(*above))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_out_of_range_is_left_out() {
        let mut lacked = Lacked::default();
        [0, Lacked::SLOTS + 1, u64::MAX].into_iter().for_each(|above| lacked.mark(above));
        assert!(lacked.is_empty() && lacked.last().is_none());
        assert!(![0, 1, Lacked::SLOTS + 1, u64::MAX].iter().any(|above| lacked.contains(*above)));
        [1, 2, 9, Lacked::SLOTS].into_iter().for_each(|above| lacked.mark(above));
        assert_eq!((lacked.0[0], lacked.0[1], lacked.0[31]), (0b11, 1, 0x80));
        assert_eq!(lacked.last(), Some(Lacked::SLOTS));
    }

    proptest! {
        #[test]
        fn it_is_a_set(marked in prop::collection::btree_set(1..=Lacked::SLOTS, 0..99)) {
            let mut lacked = Lacked::default();
            marked.iter().for_each(|above| lacked.mark(*above));
            let found: Vec<u64> = (0..300).filter(|above| lacked.contains(*above)).collect();
            prop_assert_eq!(lacked.last(), found.last().copied());
            for from in 0..300 {
                let held = (from..=Lacked::SLOTS).find(|above| !marked.contains(above));
                prop_assert_eq!(lacked.first_held(from), held.filter(|_| from > 0));
            }
            prop_assert_eq!(found, marked.into_iter().collect::<Vec<_>>());
        }
    }
}
