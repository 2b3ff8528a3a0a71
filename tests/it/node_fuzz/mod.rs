//! One honest node among liars, driven by bytes: the stateful fuzz target and its replay.
//!
//! Bytes choose links, frames, answers of the disk and of the checkers, failures, crashes and the
//! passing of time for one `Node` (`engine`). Frames are made from a small vocabulary with extreme
//! values (`speak`), over batches that were signed beforehand (`pool`), so that genuine, forged,
//! forked, restarted and far ones all occur. After every input, local rules are checked on what the
//! node did (`rules`). `fuzz/targets/node.rs` and `fuzz_replay.rs` run the same code.

mod disk;
mod engine;
mod pool;
mod rules;
mod speak;
mod wire;

pub(crate) use engine::{Broken, Stats, run};

/// The bytes of a script. Beyond its end, every byte reads as zero.
pub(crate) struct Bytes<'a> {
    left: &'a [u8],
}

impl<'a> Bytes<'a> {
    /// Reads a script from its beginning.
    pub(crate) fn new(left: &'a [u8]) -> Self {
        Self { left }
    }

    /// Whether the script has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.left.is_empty()
    }

    /// The next byte.
    pub(crate) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.left.split_first() else { return 0 };
        self.left = rest;
        *first
    }

    /// Reads a number below `most`, which is at most 256; 0 if `most` is 0.
    pub(crate) fn below(&mut self, most: usize) -> usize {
        usize::from(self.byte()) % most.max(1)
    }

    /// Picks one of `from`. If `from` is empty, returns `None` and reads no byte.
    pub(crate) fn pick<'b, T>(&mut self, from: &'b [T]) -> Option<&'b T> {
        if from.is_empty() { None } else { from.get(self.below(from.len())) }
    }

    /// The next `most` bytes, or fewer at the end.
    pub(crate) fn some(&mut self, most: usize) -> &'a [u8] {
        let (some, rest) = self.left.split_at(most.min(self.left.len()));
        self.left = rest;
        some
    }
}

/// The script of a seed: random bytes, in which some seeds favour a few steps.
pub(crate) fn script(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5bd1_e995;
    let mut next = move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let length = 200 + next() % 1200;
    let favourites: Vec<u8> = (0..4).map(|_| (next() % 32) as u8).collect();
    let lean = next() % 3;
    (0..length)
        .map(|_| {
            let byte = next();
            // Now and then a byte that selects a favourite step, wherever it ends up in the script.
            if byte >> 32 & 3 < lean { favourites[(byte >> 40) as usize % 4] } else { byte as u8 }
        })
        .collect()
}
