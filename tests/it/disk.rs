//! A disk in memory: a write is on it once it is answered, and is lost in a crash before that.

use std::collections::BTreeMap;
use std::sync::Arc;

use loyal::crypto::{PublicKey, check};
use loyal::protocol::{
    Ban, Record, Rejection, Restored, RestoredLane, RestoredSlot, StoredBatch, Time, Token,
    Verified,
};
use loyal::wire::{Batch, BatchId};

/// What one member's store holds.
#[derive(Default)]
pub(crate) struct Disk {
    /// Rows of the rejection log, oldest first.
    pub rejections: Vec<Rejection>,
    /// Bans, oldest first.
    pub bans: Vec<Ban>,
    batches: BTreeMap<(PublicKey, u64), Vec<StoredBatch>>,
    under_way: BTreeMap<u64, Record>,
    floors: BTreeMap<PublicKey, u64>,
}

impl Disk {
    /// Puts a batch on the disk, as if it had been delivered before.
    pub(crate) fn put(&mut self, batch: &Batch) {
        let verdict = check(&batch.header.author, &batch.header.statement(), &batch.signature);
        let verified = Verified::new(batch.clone(), verdict).expect("a good one");
        let stored = StoredBatch {
            id: batch.id(),
            batch: Arc::new(verified),
            hops: 1,
            from: None,
            delivered_at: Time(1),
            first: true,
        };
        self.batches.insert((batch.header.author, batch.header.seq), vec![stored]);
    }

    /// Accepts a write, which is not answered yet.
    pub(crate) fn hand_in(&mut self, token: Token, record: Record) {
        self.under_way.insert(token.0, record);
    }

    /// Completes a write, which is answered now.
    pub(crate) fn commit(&mut self, token: Token) {
        match self.under_way.remove(&token.0) {
            Some(Record::Batch(stored)) => {
                let slot = (stored.batch.header.author, stored.batch.header.seq);
                let held = self.batches.entry(slot).or_default();
                if held.iter().all(|other| other.id != stored.id) {
                    held.push(stored);
                }
            }
            Some(Record::Ban(ban)) => self.bans.push(ban),
            Some(Record::Rejection(row)) => self.rejections.push(*row),
            Some(Record::Holes { .. }) => {}
            None => panic!("answered twice"),
        }
    }

    /// Drops an author's payloads up to slot `floor`.
    pub(crate) fn prune(&mut self, author: PublicKey, floor: u64) {
        self.batches.retain(|(of, seq), _| *of != author || *seq > floor);
        self.floors.insert(author, floor);
    }

    /// Returns the batch of a slot: the one with `id`, or the first.
    pub(crate) fn read(
        &self,
        author: &PublicKey,
        seq: u64,
        id: Option<BatchId>,
    ) -> Option<StoredBatch> {
        let held = self.batches.get(&(*author, seq))?;
        held.iter().find(|stored| id.is_none_or(|id| stored.id == id)).cloned()
    }

    /// Returns what a start finds. Writes that were not answered are lost.
    pub(crate) fn restored(&mut self) -> Restored {
        self.under_way.clear();
        let mut lanes: BTreeMap<PublicKey, RestoredLane> = BTreeMap::new();
        for (author, floor) in &self.floors {
            let lane = RestoredLane { floor: *floor, ..RestoredLane::new(*author) };
            lanes.insert(*author, lane);
        }
        for ((author, seq), held) in &self.batches {
            let empty = RestoredLane::new(*author);
            let lane = lanes.entry(*author).or_insert(empty);
            lane.slots.extend(held.iter().map(|stored| RestoredSlot {
                seq: *seq,
                base: stored.batch.header.base,
                id: stored.id,
                rest: stored.batch.header.rest(),
                signature: stored.batch.signature,
                first: stored.first,
            }));
        }
        let mut bans: BTreeMap<PublicKey, Ban> = BTreeMap::new();
        for ban in &self.bans {
            bans.insert(ban.peer, *ban);
        }
        Restored { lanes: lanes.into_values().collect(), bans: bans.into_values().collect() }
    }
}
