//! The run digest.

use crate::crypto::Digest;

/// A digest over all events of a run. It is not cryptographic: it distinguishes runs that differ by
/// accident, not on purpose. Multiplies and rotates, like FxHash and wyhash.
#[derive(Clone, Debug, Default)]
pub(super) struct RunDigest(u64, u64);

impl RunDigest {
    /// Adds a word.
    pub(super) fn word(&mut self, word: u64) {
        self.pair(u128::from(word) << 64 | u128::from(word));
    }

    fn pair(&mut self, pair: u128) {
        let (one, two) = (pair as u64, (pair >> 64) as u64);
        let mixed = u128::from(self.0 ^ one ^ 0xa076_1d64_78bd_642f)
            * u128::from(self.1 ^ two ^ 0xe703_7ed1_a0b4_28db);
        self.0 = (mixed as u64) ^ one.rotate_left(23);
        self.1 = self.1.rotate_left(29).wrapping_add(two) ^ (mixed >> 64) as u64;
    }

    /// Adds bytes and their number.
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
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
    pub(super) fn digest(&self) -> Digest {
        Digest::of(&[b"loyal/sim/trace/v1", &self.0.to_be_bytes(), &self.1.to_be_bytes()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_and_their_order_tell() {
        let of = |parts: &[&[u8]]| {
            let mut digest = RunDigest::default();
            parts.iter().for_each(|part| digest.bytes(part));
            digest.digest()
        };
        let base = of(&[b"a frame of some length", b"another"]);
        assert_eq!(base, of(&[b"a frame of some length", b"another"]));
        assert_ne!(base, of(&[b"another", b"a frame of some length"]));
        assert_ne!(base, of(&[b"a frame of some lengti", b"another"]));
        assert_ne!(of(&[b"ab", b"c"]), of(&[b"a", b"bc"]));
        assert_ne!(of(&[&[0; 8]]), of(&[&[0; 9]]));
    }
}
