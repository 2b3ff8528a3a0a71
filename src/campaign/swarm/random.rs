//! Random choices, reproducible on every platform.

use std::ops::RangeInclusive;
use std::time::Duration;

use rand::rngs::ChaCha8Rng;
use rand::{RngExt as _, SeedableRng as _};

use crate::scenario::Ppm;

/// Separates the choices of a swarm from those that a run makes with the same seed.
const STREAM: u64 = 0x73_7761_726d;

/// A seeded source of choices.
pub(super) struct Random(ChaCha8Rng);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(STREAM);
        Self(rng)
    }

    /// A number of the range, both ends inclusive.
    pub(super) fn range(&mut self, range: RangeInclusive<u64>) -> u64 {
        self.0.random_range(range)
    }

    /// A count within the range, both ends inclusive.
    pub(super) fn count(&mut self, range: RangeInclusive<usize>) -> usize {
        let (least, most) = (*range.start() as u64, *range.end() as u64);
        usize::try_from(self.range(least..=most)).unwrap_or(*range.end())
    }

    /// Returns `true` with a chance of one in `times`.
    pub(super) fn one_in(&mut self, times: u64) -> bool {
        self.range(1..=times) == 1
    }

    /// A duration in whole milliseconds.
    pub(super) fn ms(&mut self, range: RangeInclusive<u64>) -> Duration {
        Duration::from_millis(self.range(range))
    }

    /// A share, drawn in whole thousandths.
    pub(super) fn share(&mut self, thousandths: RangeInclusive<u32>) -> Ppm {
        let (least, most) = (u64::from(*thousandths.start()), u64::from(*thousandths.end()));
        Ppm(u32::try_from(self.range(least..=most)).unwrap_or(0) * 1000)
    }

    /// One of the items; `None` if there are none.
    pub(super) fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        if items.is_empty() {
            return None;
        }
        items.get(self.count(0..=items.len() - 1))
    }

    /// Draws `wanted` of the items, or all, in their order.
    pub(super) fn some<T: Clone>(&mut self, items: &[T], wanted: usize) -> Vec<T> {
        let mut left = wanted.min(items.len());
        let mut chosen = Vec::with_capacity(left);
        for (at, item) in items.iter().enumerate() {
            // Knuth's algorithm S: each subset of the wanted size is equally likely.
            if left > 0 && self.count(1..=items.len() - at) <= left {
                chosen.push(item.clone());
                left -= 1;
            }
        }
        chosen
    }

    /// Keeps each item with a chance of one half: the features that a seed may use.
    pub(super) fn subset<T: Clone>(&mut self, items: &[T]) -> Vec<T> {
        items.iter().filter(|_| self.one_in(2)).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_choices_within_their_ranges() {
        let draw = |seed| {
            let mut random = Random::new(seed);
            (0..100).map(|_| random.range(3..=9)).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        assert!((3..=9).all(|n| draw(1).contains(&n)) && draw(1).iter().all(|n| *n >= 3));
    }

    #[test]
    fn some_takes_exactly_so_many_and_each_of_them_now_and_then() {
        let mut random = Random::new(7);
        let mut seen = [0; 5];
        for _ in 0..200 {
            let chosen = random.some(&[0, 1, 2, 3, 4], 2);
            assert!(chosen.len() == 2 && chosen[0] < chosen[1]);
            chosen.into_iter().for_each(|one| seen[one] += 1);
        }
        assert!(seen.iter().all(|count| (40..120).contains(count)), "{seen:?}");
        assert_eq!(random.some(&[1, 2], 9), [1, 2]);
        assert_eq!(random.pick::<u8>(&[]), None);
    }
}
