//! A tree of hashes over the keys of a network: comparing costs little however many authors
//! published.
//!
//! A Merkle tree (Merkle, 1987) with a fan-out of 16 over key numbers; nothing is kept for keys
//! without a lane. Its blocks are the ranges that a comparison may name. A change costs one hash of
//! at most 16 digests per level.

use std::collections::{BTreeMap, BTreeSet};

use super::Note;
use crate::crypto::Digest;
use crate::wire::limits::RANGE_FANOUT;

const DOMAIN: &[u8; 16] = b"loyal/lanes/v2\0\0";
/// 16 to this power exceeds the number of possible keys.
const LEVELS: u32 = 8;

fn width(level: u32) -> u64 {
    u64::from(RANGE_FANOUT).pow(level)
}

fn end_of(start: u32, level: u32, keys: u32) -> u32 {
    let end = u64::from(start).saturating_add(width(level)).min(u64::from(keys));
    u32::try_from(end).unwrap_or(keys)
}

/// The level of the block `start..end` in a network of `keys` keys: the lowest level at which
/// `start` is a multiple of `16^level` and the block ends `16^level` keys later, or with the last
/// key. `None` if the range is not a block.
pub(super) fn level_of(keys: u32, start: u32, end: u32) -> Option<u32> {
    let whole = |level: &u32| u64::from(start) % width(*level) == 0;
    let fits = |level: &u32| whole(level) && end_of(start, *level, keys) == end;
    (0..=LEVELS).find(|level| start < end && fits(level))
}

/// The parts of a block: 2 to 16 blocks. Empty for a single key, or if the range is not a block.
pub(super) fn parts(keys: u32, start: u32, end: u32) -> Vec<(u32, u32)> {
    let Some(below) = level_of(keys, start, end).and_then(|level| level.checked_sub(1)) else {
        return Vec::new();
    };
    let step = usize::try_from(width(below)).unwrap_or(usize::MAX);
    (start..end).step_by(step).map(|from| (from, end_of(from, below, keys))).collect()
}

/// The hashes of all blocks that contain a lane.
#[derive(Debug, Default)]
pub(super) struct Tree {
    keys: u32,
    /// By start and end. A block with only one part is stored as that part.
    blocks: BTreeMap<(u32, u32), Digest>,
    /// How many hashes were computed.
    #[cfg(test)]
    pub hashed: u64,
}

impl Tree {
    /// The tree of a network of `keys` keys without lanes.
    pub(super) fn new(keys: u32) -> Self {
        Self { keys, ..Self::default() }
    }

    /// Sets the digests of lanes by key number; zeros for an empty lane. Numbers beyond the last
    /// key are ignored.
    pub(super) fn set(&mut self, leaves: impl IntoIterator<Item = (u32, Digest)>) {
        let mut starts = BTreeSet::new();
        for (number, leaf) in leaves {
            if number < self.keys {
                self.put((number, number + 1), leaf);
                starts.insert(number);
            }
        }
        let mut level = 1;
        while !starts.is_empty() && level <= LEVELS && width(level - 1) < u64::from(self.keys) {
            let wide = u32::try_from(width(level)).unwrap_or(u32::MAX);
            starts = starts.into_iter().map(|start| start - start % wide).collect();
            for start in &starts {
                let end = end_of(*start, level, self.keys);
                if level_of(self.keys, *start, end) == Some(level) {
                    self.put((*start, end), self.hash_parts(*start, end));
                }
            }
            level += 1;
        }
    }

    /// The hash of a block; zeros if all its lanes are empty or the range is not a block.
    pub(super) fn hash(&self, start: u32, end: u32) -> Digest {
        self.blocks.get(&(start, end)).copied().unwrap_or(Digest::ZERO)
    }

    /// Reports how full the tree is; its limit is one block per level for each of `spoken` lanes.
    pub(super) fn occupy(&self, note: Note, spoken: usize) {
        note("tree", self.blocks.len(), spoken * (LEVELS as usize + 1));
    }

    fn put(&mut self, block: (u32, u32), digest: Digest) {
        #[cfg(test)]
        (self.hashed += 1);
        match digest {
            Digest::ZERO => self.blocks.remove(&block),
            _ => self.blocks.insert(block, digest),
        };
    }

    fn hash_parts(&self, start: u32, end: u32) -> Digest {
        let parts: Vec<Digest> =
            parts(self.keys, start, end).into_iter().map(|(a, b)| self.hash(a, b)).collect();
        if parts.iter().all(|part| *part == Digest::ZERO) {
            return Digest::ZERO;
        }
        let mut bytes: Vec<&[u8]> = vec![DOMAIN];
        bytes.extend(parts.iter().map(|part| &part.0[..]));
        Digest::of(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// By its definition, over all keys.
    fn naive(leaves: &[Digest], start: usize, level: u32) -> Digest {
        let end = (start as u64).saturating_add(width(level)).min(leaves.len() as u64) as usize;
        if leaves[start..end].iter().all(|leaf| *leaf == Digest::ZERO) {
            return Digest::ZERO;
        }
        if level == 0 {
            return leaves[start];
        }
        let step = width(level - 1) as usize;
        let below: Vec<Digest> =
            (start..end).step_by(step).map(|start| naive(leaves, start, level - 1)).collect();
        let mut bytes: Vec<&[u8]> = vec![DOMAIN];
        bytes.extend(below.iter().map(|digest| &digest.0[..]));
        if below.len() == 1 { below[0] } else { Digest::of(&bytes) }
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_naive_one(
            keys in prop_oneof![1..40u32, 250..260u32, 4090..4100u32],
            changes in prop::collection::vec((0..4100u32, 0..3u8), 1..60),
        ) {
            let (mut tree, mut leaves) = (Tree::new(keys), vec![Digest::ZERO; keys as usize]);
            for some in changes.chunks(7) {
                let some = some.iter().map(|(at, to)| (at % keys, Digest([*to; 32])));
                let last: BTreeMap<u32, Digest> = some.collect();
                for (at, to) in &last {
                    leaves[*at as usize] = *to;
                }
                tree.set(last);
            }
            for level in 0..4 {
                for start in (0..keys).step_by(width(level) as usize) {
                    let end = end_of(start, level, keys);
                    prop_assert_eq!(tree.hash(start, end), naive(&leaves, start as usize, level));
                }
            }
            tree.set((0..keys).map(|number| (number, Digest::ZERO)));
            prop_assert!(tree.blocks.is_empty(), "nothing is kept for silent keys");
        }

        #[test]
        fn parts_cover_their_block_and_are_blocks(
            keys in prop_oneof![1..600u32, Just(1 << 20), Just(u32::MAX)],
            path in prop::collection::vec(0..16usize, 1..9),
        ) {
            let (mut start, mut end) = (0, keys);
            for turn in path {
                let parts = parts(keys, start, end);
                prop_assert_eq!(parts.is_empty(), end - start == 1, "{}..{}", start, end);
                let Some(next) = parts.get(turn % parts.len().max(1)) else { break };
                prop_assert!((2..=16).contains(&parts.len()));
                prop_assert_eq!((parts[0].0, parts[parts.len() - 1].1), (start, end));
                prop_assert!(parts.windows(2).all(|pair| pair[0].1 == pair[1].0));
                prop_assert!(parts.iter().all(|(a, b)| level_of(keys, *a, *b).is_some()));
                (start, end) = *next;
            }
        }
    }

    #[test]
    fn a_range_that_is_no_block_has_no_level() {
        for (start, end) in
            [(0, 0), (5, 5), (6, 5), (0, 2), (1, 17), (8, 24), (16, 300), (299, 301)]
        {
            assert_eq!(level_of(300, start, end), None, "{start}..{end}");
        }
        let blocks = [(0, 300), (0, 256), (256, 300), (16, 32), (288, 300), (299, 300), (7, 8)];
        let levels = blocks.map(|(start, end)| level_of(300, start, end));
        assert_eq!(levels, [3, 2, 2, 1, 1, 0, 0].map(Some));
        assert_eq!(level_of(257, 256, 257), Some(0), "a block with one part is that part");
        assert_eq!(level_of(0, 0, 0), None);
    }

    /// Also in `docs/PROTOCOL.md`: what a second implementation may check its own tree with.
    #[test]
    fn a_worked_example() {
        let mut tree = Tree::new(20);
        let leaf = |n: u8| Digest([n; 32]);
        tree.set([(3, leaf(3)), (17, leaf(17))]);
        let zero = Digest::ZERO.0;
        let mut low = vec![zero; 16];
        low[3] = leaf(3).0;
        let low = Digest::of(&[DOMAIN, &low.concat()]);
        let high = Digest::of(&[DOMAIN, &zero, &leaf(17).0, &zero, &zero]);
        assert_eq!((tree.hash(0, 16), tree.hash(16, 20)), (low, high));
        assert_eq!(tree.hash(0, 20), Digest::of(&[DOMAIN, &low.0, &high.0]));
    }
}
