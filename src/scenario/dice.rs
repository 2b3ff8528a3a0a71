//! A small random number generator for the network: integers only, the same on every platform.

use std::time::Duration;

use super::Ppm;
use crate::protocol::micros;

/// `SplitMix64` (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014): a few
/// instructions per draw, a fixed sequence, and cheap enough for one generator per pair of nodes.
/// Nodes and liars have generators of their own.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    /// Creates a generator from a seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Creates the generator of a pair of numbers. The order of the two matters.
    pub(crate) fn of_pair(low: usize, high: usize, seed: u64) -> Self {
        let mut dice = Self(seed);
        dice.0 = dice.next() ^ low as u64;
        dice.0 = dice.next() ^ high as u64;
        dice
    }

    /// Returns the next 64 random bits.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number from 0 to `bound - 1`, by multiplication; 0 if `bound` is 0. The bias is
    /// below `bound / 2^64`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        let product = u128::from(self.next()) * u128::from(bound);
        u64::try_from(product >> 64).unwrap_or(0)
    }

    /// Returns whole microseconds from 0 to `most`, inclusive. Draws nothing if `most` is zero.
    pub(crate) fn up_to(&mut self, most: Duration) -> u64 {
        if most.is_zero() {
            return 0;
        }
        let micros = micros(most);
        self.below(micros.saturating_add(1))
    }

    /// Whether an event of this probability happens. Draws nothing if the probability is 0.
    pub(crate) fn hits(&mut self, chance: Ppm) -> bool {
        chance.0 > 0 && self.below(u64::from(Ppm::ONE.0)) < u64::from(chance.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_the_published_one() {
        // The first outputs of SplitMix64 for seed 1234567, as in its reference implementation.
        let mut dice = Dice::new(1_234_567);
        let first: Vec<u64> = (0..3).map(|_| dice.next()).collect();
        assert_eq!(
            first,
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        );
        assert_eq!((dice.below(0), dice.below(1), dice.up_to(Duration::ZERO)), (0, 0, 0));
        let hits = (0..100_000).filter(|_| dice.hits(Ppm(250_000))).count();
        assert!((24_000..26_000).contains(&hits), "{hits}");
        assert!(!dice.hits(Ppm(0)) && dice.hits(Ppm::ONE));
    }
}
