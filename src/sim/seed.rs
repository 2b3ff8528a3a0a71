//! What a seed decides about one node: its keys, and the seeds of its own generators.

use crate::crypto::{Digest, Identity};

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

/// A node's key pair.
pub(super) fn identity(seed: u64, node: usize) -> Identity {
    Identity::from_seed(&derive("identity", seed, node, 0))
}
