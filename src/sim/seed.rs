//! Values derived from the run's seed for one node: its keys, and the seeds of its generators.

use crate::crypto::{Digest, Identity};

/// A secret or seed of one node, distinct for each node, purpose and start.
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

/// A node's key pair, derived from the seed.
pub(super) fn identity(seed: u64, node: usize) -> Identity {
    Identity::from_seed(&derive("identity", seed, node, 0))
}
