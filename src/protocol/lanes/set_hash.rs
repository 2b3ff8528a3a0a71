//! An incremental hash of a set of slots. Nodes compare it to detect differing holes, of which a
//! liar can make thousands.
//!
//! LtHash: Bellare and Micciancio, "A New Paradigm for Collision-Free Hashing" (1997); Lewi et al.,
//! "Securing Update Propagation with Homomorphic Hashing" (2019). A single 128-bit sum is too weak:
//! with a lane's slots to choose from, finding two sets with the same sum takes seconds (Wagner, "A
//! Generalized Birthday Problem", 2002), and an author could hide from a node what it gave to
//! others. For 2048 bits that attack takes 2^146 steps.

use crate::crypto::Digest;

const EDGE_DOMAIN: &[u8; 16] = b"loyal/edge/v1\0\0\0";
const SUM_DOMAIN: &[u8; 16] = b"loyal/holes/v1\0\0";
/// Numbers in the sum, each modulo 2^16.
const NUMBERS: usize = 128;
/// How many of them one SHA-256 digest provides.
const OF_A_DIGEST: usize = 16;

/// The sum of `edge(from) - edge(to + 1)` over runs `from..=to`. It does not depend on how the set
/// is divided into runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SetHash([u16; NUMBERS]);

impl Default for SetHash {
    fn default() -> Self {
        Self([0; NUMBERS])
    }
}

impl SetHash {
    /// Adds a run of slots; none of them may be in the set.
    pub(super) fn add(&mut self, from: u64, to: u64) {
        self.edge(from, u16::wrapping_add);
        self.edge(to.saturating_add(1), u16::wrapping_sub);
    }

    /// Removes a run of slots; all of them must be in the set.
    pub(super) fn remove(&mut self, from: u64, to: u64) {
        self.edge(from, u16::wrapping_sub);
        self.edge(to.saturating_add(1), u16::wrapping_add);
    }

    fn edge(&mut self, seq: u64, with: impl Fn(u16, u16) -> u16) {
        for (part, numbers) in (0u8..).zip(self.0.chunks_exact_mut(OF_A_DIGEST)) {
            let Digest(bytes) = Digest::of(&[EDGE_DOMAIN, &seq.to_be_bytes(), &[part]]);
            for (number, two) in numbers.iter_mut().zip(bytes.chunks_exact(2)) {
                *number = with(*number, u16::from_be_bytes([two[0], two[1]]));
            }
        }
    }

    /// The digest of the sum. Callers use zeros instead for an empty set.
    pub(super) fn digest(&self) -> Digest {
        let bytes: Vec<u8> = self.0.iter().flat_map(|number| number.to_be_bytes()).collect();
        Digest::of(&[SUM_DOMAIN, &bytes])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of PROTOCOL.md, which another program computed.
    #[test]
    fn the_digest_is_as_written() {
        let mut missing = SetHash::default();
        missing.add(5, 5);
        missing.add(7, 9);
        let digest = missing.digest().to_string();
        assert_eq!(digest, "6634d538de780bcfbcd0f09c97372e4f0828ce7bc02ada8528cb7a6eddca9313");
    }

    #[test]
    fn runs_may_be_divided_and_ordered_in_any_way() {
        let (mut whole, mut parts) = (SetHash::default(), SetHash::default());
        whole.add(5, 9);
        whole.add(20, u64::MAX);
        for (from, to) in [(20, 20), (8, 9), (21, u64::MAX), (5, 7)] {
            assert_ne!(parts, whole);
            parts.add(from, to);
        }
        assert_eq!(parts, whole);
        assert_eq!(parts.digest(), whole.digest());
        parts.remove(6, 6);
        assert_ne!(parts.digest(), whole.digest());
        parts.remove(5, 5);
        parts.remove(7, 9);
        parts.remove(20, u64::MAX);
        assert_eq!(parts, SetHash::default());
    }
}
