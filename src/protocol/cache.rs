//! The newest batches in memory, for neighbours that request what was just announced to them.

use std::collections::{BTreeMap, VecDeque};

use super::{Note, StoredBatch};
use crate::wire::BatchId;

const MAX_BYTES: usize = 2 << 20;
const MAX_BATCHES: usize = 512;

/// Batches by id; the oldest is evicted first.
#[derive(Debug, Default)]
pub(super) struct Cache {
    batches: BTreeMap<BatchId, StoredBatch>,
    order: VecDeque<BatchId>,
    bytes: usize,
}

impl Cache {
    /// Adds a batch, and evicts the oldest beyond the limits.
    pub(super) fn insert(&mut self, stored: StoredBatch) {
        let (id, bytes) = (stored.id, stored.batch.body.len());
        if self.batches.insert(id, stored).is_none() {
            self.order.push_back(id);
            self.bytes += bytes;
        }
        while self.bytes > MAX_BYTES || self.order.len() > MAX_BATCHES {
            let Some(oldest) = self.order.pop_front() else { break };
            if let Some(gone) = self.batches.remove(&oldest) {
                self.bytes = self.bytes.saturating_sub(gone.batch.body.len());
            }
        }
    }

    /// Removes a batch.
    pub(super) fn remove(&mut self, id: &BatchId) {
        if let Some(gone) = self.batches.remove(id) {
            self.bytes = self.bytes.saturating_sub(gone.batch.body.len());
            self.order.retain(|other| other != id);
        }
    }

    /// Reports how full the cache is, with its limits.
    pub(super) fn occupy(&self, note: Note) {
        note("cache", self.batches.len().max(self.order.len()), MAX_BATCHES);
        note("cache.bytes", self.bytes, MAX_BYTES);
    }

    /// The batch with this id, if it is still cached.
    pub(super) fn get(&self, id: &BatchId) -> Option<&StoredBatch> {
        self.batches.get(id)
    }
}
