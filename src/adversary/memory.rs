//! What a liar has seen: batches to send again, slots and signatures to lie about.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::crypto::{Digest, PublicKey, Signature};
use crate::protocol::{LaneView, Network, StoredBatch, Time, Verified};
use crate::wire::{Batch, BatchId};

/// Most batches kept.
const MOST: usize = 256;
/// Most bytes of bodies kept.
const MOST_BYTES: usize = 8 << 20;

/// The highest slot seen of an author.
#[derive(Clone, Copy)]
pub(super) struct Tip {
    pub seq: u64,
    pub id: BatchId,
    /// The last signature of the author that was seen, over any batch.
    pub signature: Option<Signature>,
}

/// A batch, and when it was seen.
#[derive(Clone)]
pub(super) struct Kept {
    pub at: Time,
    pub id: BatchId,
    pub batch: Arc<Verified<Batch>>,
}

/// Bounded by [`MOST`], [`MOST_BYTES`] and the network's keys.
#[derive(Default)]
pub(super) struct Memory {
    tips: BTreeMap<PublicKey, Tip>,
    kept: VecDeque<Kept>,
    bytes: usize,
}

impl Memory {
    /// Starts with the tips that the node knows at its start.
    pub(super) fn of(lanes: &[LaneView]) -> Self {
        let tip = |lane: &LaneView| {
            (lane.author, Tip { seq: lane.tip, id: lane.tip_id, signature: None })
        };
        Self { tips: lanes.iter().map(tip).collect(), ..Self::default() }
    }

    /// Remembers a batch that the node holds.
    pub(super) fn keep(&mut self, network: &Network, at: Time, stored: &StoredBatch) {
        let header = &stored.batch.header;
        if network.index_of(&header.author).is_none() {
            return;
        }
        let tip = self.tips.entry(header.author).or_insert(Tip {
            seq: 0,
            id: Digest::ZERO,
            signature: None,
        });
        tip.signature = Some(stored.batch.signature);
        if header.seq > tip.seq {
            (tip.seq, tip.id) = (header.seq, stored.id);
        }
        if self.kept.iter().rev().any(|kept| kept.id == stored.id) {
            return;
        }
        self.bytes += stored.batch.body.len();
        self.kept.push_back(Kept { at, id: stored.id, batch: stored.batch.clone() });
        while self.kept.len() > MOST || self.bytes > MOST_BYTES {
            let Some(oldest) = self.kept.pop_front() else { break };
            self.bytes -= oldest.batch.body.len();
        }
    }

    /// The highest slot seen of an author; slot 0 with a zero id if none was seen.
    pub(super) fn tip(&self, author: &PublicKey) -> Tip {
        let none = Tip { seq: 0, id: Digest::ZERO, signature: None };
        self.tips.get(author).copied().unwrap_or(none)
    }

    /// The batches kept, oldest first.
    pub(super) fn kept(&self) -> &VecDeque<Kept> {
        &self.kept
    }
}
