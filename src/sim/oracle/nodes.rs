//! The nodes of a run: their keys, which of them are honest, sets of them with one bit per node,
//! and connected components.

use crate::crypto::{Digest, PublicKey};
use crate::protocol::Network;

/// Keys by number: first the nodes by node number, then authors that run no node.
#[derive(Debug)]
pub(super) struct Keys {
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

    pub(super) fn key(&self, number: u32) -> Option<&PublicKey> {
        self.keys.get(number as usize)
    }

    /// The number of nodes, honest or not.
    pub(super) fn nodes(&self) -> usize {
        self.honest.len()
    }

    pub(super) fn is_honest(&self, number: u32) -> bool {
        self.honest.get(number as usize).copied().unwrap_or(false)
    }

    /// Whether the run has no liars.
    pub(super) fn all_honest(&self) -> bool {
        self.honest.iter().all(|honest| *honest)
    }
}

/// A set of node numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NodeSet {
    words: Vec<u64>,
}

impl NodeSet {
    /// Adds a node; returns `false` if it was there already.
    pub(crate) fn insert(&mut self, node: usize) -> bool {
        let (word, bit) = (node / 64, 1 << (node % 64));
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        let fresh = self.words[word] & bit == 0;
        self.words[word] |= bit;
        fresh
    }

    /// Removes a node; returns `false` if it was not there.
    pub(crate) fn remove(&mut self, node: usize) -> bool {
        let there = self.contains(node);
        if there {
            self.words[node / 64] &= !(1 << (node % 64));
        }
        there
    }

    pub(crate) fn contains(&self, node: usize) -> bool {
        self.words.get(node / 64).is_some_and(|word| word & (1 << (node % 64)) != 0)
    }

    pub(crate) fn meets(&self, other: &Self) -> bool {
        self.words.iter().zip(&other.words).any(|(a, b)| a & b != 0)
    }

    /// Nodes in this set but not in `other`, ascending.
    pub(crate) fn without<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = usize> + 'a {
        self.words.iter().enumerate().flat_map(|(at, word)| {
            let rest = word & !other.words.get(at).copied().unwrap_or(0);
            (0..64).filter(move |bit| rest & (1 << bit) != 0).map(move |bit| at * 64 + bit)
        })
    }
}

impl FromIterator<usize> for NodeSet {
    fn from_iter<I: IntoIterator<Item = usize>>(nodes: I) -> Self {
        let mut set = Self::default();
        for node in nodes {
            set.insert(node);
        }
        set
    }
}

/// A forest of nodes: union–find with path halving (Tarjan, van Leeuwen 1984).
#[derive(Debug)]
pub(super) struct Forest {
    parent: Vec<usize>,
}

impl Forest {
    /// A forest of `nodes` components with one node each.
    pub(super) fn new(nodes: usize) -> Self {
        Self { parent: (0..nodes).collect() }
    }

    /// The representative of the node's component.
    pub(super) fn root(&mut self, node: usize) -> usize {
        let mut at = node;
        while self.parent[at] != at {
            self.parent[at] = self.parent[self.parent[at]];
            at = self.parent[at];
        }
        at
    }

    /// Joins the components of two nodes.
    pub(super) fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        self.parent[a.max(b)] = a.min(b);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_and_parts_are_what_was_put_in() {
        let mut set: NodeSet = [1, 64, 200].into_iter().collect();
        assert!(!set.insert(64) && set.insert(0) && set.remove(200) && !set.remove(200));
        let other: NodeSet = [0, 5].into_iter().collect();
        assert_eq!(set.without(&other).collect::<Vec<_>>(), [1, 64]);
        assert!(set.meets(&other) && !other.meets(&[64].into_iter().collect()));
        let mut forest = Forest::new(5);
        forest.join(0, 3);
        forest.join(4, 3);
        assert_eq!(forest.root(4), forest.root(0));
        assert_ne!(forest.root(1), forest.root(0));
    }
}
