//! The keys of the network: their node numbers, and which nodes are honest.

use crate::crypto::{Digest, PublicKey};
use crate::protocol::Network;

/// Keys by number: first the nodes by node number, then authors that run no node.
#[derive(Debug)]
pub(super) struct Keys {
    /// The network's id.
    pub network: Digest,
    sorted: Vec<(PublicKey, u32)>,
    keys: Vec<PublicKey>,
    honest: Vec<bool>,
}

impl Keys {
    /// The keys of `network`, whose nodes have the keys `nodes`.
    pub(super) fn new(network: &Network, honest: Vec<bool>, nodes: Vec<PublicKey>) -> Self {
        let mut sorted: Vec<(PublicKey, u32)> = nodes.iter().copied().zip(0..).collect();
        sorted.sort_unstable();
        let mut keys = nodes;
        for key in network.keys() {
            if sorted.binary_search_by_key(&key.key, |(key, _)| *key).is_err() {
                keys.push(key.key);
            }
        }
        sorted = keys.iter().copied().zip(0..).collect();
        sorted.sort_unstable();
        Self { network: network.id(), sorted, keys, honest }
    }

    /// The number of a key; `None` if the key is not in the network file.
    pub(super) fn number(&self, key: &PublicKey) -> Option<u32> {
        let place = self.sorted.binary_search_by_key(key, |(key, _)| *key).ok()?;
        Some(self.sorted[place].1)
    }

    /// Whether `key` is that node's key.
    pub(super) fn is(&self, node: usize, key: &PublicKey) -> bool {
        self.keys.get(node) == Some(key)
    }

    /// The key with that number.
    pub(super) fn key(&self, number: u32) -> Option<&PublicKey> {
        self.keys.get(number as usize)
    }

    /// The number of nodes, honest or not.
    pub(super) fn nodes(&self) -> usize {
        self.honest.len()
    }

    /// Whether the number is that of an honest node.
    pub(super) fn is_honest(&self, number: u32) -> bool {
        self.honest.get(number as usize).copied().unwrap_or(false)
    }

    /// Whether the run has no liars.
    pub(super) fn all_honest(&self) -> bool {
        self.honest.iter().all(|honest| *honest)
    }
}
