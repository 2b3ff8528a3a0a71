//! The world's own randomness, and its digest: integers only, the same on every platform.

use std::time::Duration;

use crate::crypto::Digest;
use crate::scenario::Ppm;

/// SplitMix64 (Steele, Lea, Flood 2014): small, fast, and fixed for ever. Nodes draw from their own
/// generators; this one decides what the network does.
#[derive(Clone, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    /// A generator.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 random bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 up to and without `bound`; 0 if that is 0. The bias is below `bound / 2^64`.
    pub fn below(&mut self, bound: u64) -> u64 {
        let product = u128::from(self.next()) * u128::from(bound);
        u64::try_from(product >> 64).unwrap_or(0)
    }

    /// From nothing up to and with `most`, in whole microseconds.
    pub fn up_to(&mut self, most: Duration) -> u64 {
        if most.is_zero() {
            return 0;
        }
        let micros = u64::try_from(most.as_micros()).unwrap_or(u64::MAX);
        self.below(micros.saturating_add(1))
    }

    /// Whether something of that chance happens.
    pub fn hits(&mut self, chance: Ppm) -> bool {
        chance.0 > 0 && self.below(u64::from(Ppm::ONE.0)) < u64::from(chance.0)
    }
}

/// A secret or a seed of one node: nobody else's, and never the same for another purpose.
pub(super) fn derive(purpose: &str, seed: u64, node: usize, start: u32) -> [u8; 32] {
    let parts: [&[u8]; 5] = [
        b"loyal/sim/v1",
        purpose.as_bytes(),
        &seed.to_be_bytes(),
        &(node as u64).to_be_bytes(),
        &start.to_be_bytes(),
    ];
    Digest::of(&parts).0
}

/// A running digest over everything that happens. Not cryptographic: it tells two runs apart that
/// differ by accident, not by design. Multiply and rotate, as in FxHash and wyhash.
#[derive(Clone, Debug, Default)]
pub(super) struct Trace(u64, u64);

impl Trace {
    /// One word more.
    pub fn word(&mut self, word: u64) {
        self.pair(u128::from(word) << 64 | u128::from(word));
    }

    fn pair(&mut self, pair: u128) {
        let (one, two) = (pair as u64, (pair >> 64) as u64);
        let mixed = u128::from(self.0 ^ one ^ 0xa076_1d64_78bd_642f)
            * u128::from(self.1 ^ two ^ 0xe703_7ed1_a0b4_28db);
        self.0 = (mixed as u64) ^ one.rotate_left(23);
        self.1 = self.1.rotate_left(29).wrapping_add(two) ^ (mixed >> 64) as u64;
    }

    /// Bytes, and how many.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.word(bytes.len() as u64);
        let (pairs, rest) = bytes.as_chunks::<16>();
        for pair in pairs {
            self.pair(u128::from_le_bytes(*pair));
        }
        let mut last = [0; 16];
        last[..rest.len()].copy_from_slice(rest);
        self.pair(u128::from_le_bytes(last));
    }

    /// The digest so far.
    pub fn digest(&self) -> Digest {
        Digest::of(&[b"loyal/sim/trace/v1", &self.0.to_be_bytes(), &self.1.to_be_bytes()])
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

    #[test]
    fn every_bit_and_their_order_tell() {
        let of = |parts: &[&[u8]]| {
            let mut trace = Trace::default();
            parts.iter().for_each(|part| trace.bytes(part));
            trace.digest()
        };
        let base = of(&[b"a frame of some length", b"another"]);
        assert_eq!(base, of(&[b"a frame of some length", b"another"]));
        assert_ne!(base, of(&[b"another", b"a frame of some length"]));
        assert_ne!(base, of(&[b"a frame of some lengti", b"another"]));
        assert_ne!(of(&[b"ab", b"c"]), of(&[b"a", b"bc"]));
        assert_ne!(of(&[&[0; 8]]), of(&[&[0; 9]]));
    }
}
