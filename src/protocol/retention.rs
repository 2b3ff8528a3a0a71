//! What a bounded store keeps: the rules that the real one and its model in the simulator share.

use super::Hole;
use crate::crypto::PublicKey;
use crate::wire::limits::{MAX_HOLES, RECENT, WINDOW};

/// Bytes that a batch takes on disk beside its body (header, ids, indices); a generous estimate.
pub(crate) const ROW_COST: u64 = 512;
/// Rows of pruned batches are kept for this many slots below the newest; no member asks for the ids
/// of older ones.
pub(crate) const ROWS_KEPT: u64 = WINDOW + RECENT;

/// Bytes that each author may use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shares {
    /// The node's own key.
    pub key: PublicKey,
    own: u64,
    other: u64,
}

impl Shares {
    /// Divides the bytes of a store evenly among the keys of the network. The node's own author
    /// gets an eighth if that is more than an even share, and the others divide the rest.
    pub(crate) fn new(max_bytes: u64, keys: usize, key: PublicKey) -> Self {
        let keys = keys.max(1) as u64;
        let own = (max_bytes / keys).max(max_bytes / 8);
        let other = max_bytes.saturating_sub(own) / (keys - 1).max(1);
        Self { key, own, other }
    }

    /// The bytes that an author may use.
    pub(crate) fn of(&self, author: &PublicKey) -> u64 {
        if *author == self.key { self.own } else { self.other }
    }
}

/// Limits holes to [`MAX_HOLES`]: the last one then covers all those after it, and may claim that
/// slots are missing which are held.
pub(crate) fn limit_holes(holes: &mut Vec<Hole>) {
    if let Some(end) = holes.last().map(|hole| hole.to)
        && holes.len() > MAX_HOLES
    {
        holes.truncate(MAX_HOLES);
        if let Some(last) = holes.last_mut() {
            (last.to, last.gone) = (end, false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_to_no_more_than_the_whole_and_ours_is_reserved() {
        for (bytes, keys) in
            [(4u64 << 30, 10), (4 << 30, 1), (1 << 20, 100_000), (0, 3), (u64::MAX, 2)]
        {
            let shares = Shares::new(bytes, keys, PublicKey([1; 32]));
            let others = i128::from(shares.other) * (keys as i128 - 1);
            assert!(i128::from(shares.own) + others <= i128::from(bytes), "{bytes} {keys}");
            assert!(shares.own >= bytes / 8);
            assert_eq!(shares.of(&PublicKey([2; 32])), shares.other);
        }
    }
}
