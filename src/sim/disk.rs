//! A simulated disk: rows in the order of their writes, of which a crash loses exactly those that
//! were not yet safe.
//!
//! A synced write is safe once it is answered, and everything written before it with it, as one
//! log carries all. A lazy write is safe after the next synced one, or after [`FLUSH`].

use std::collections::BTreeMap;
use std::time::Duration;

use crate::crypto::PublicKey;
use crate::protocol::{
    Ban, Record, Restored, RestoredLane, RestoredSlot, StoredBatch, Time, Token,
};
use crate::wire::BatchId;

/// Lazy writes are flushed this long after they were made, at the latest.
pub(super) const FLUSH: Duration = Duration::from_secs(1);

enum Row {
    Batch(StoredBatch),
    Ban(Ban),
}

/// What one node's store holds. The rejection log is kept elsewhere: no rule rests on it.
#[derive(Default)]
pub(super) struct Disk {
    rows: Vec<(Time, Row)>,
    /// Rows before this one are safe.
    safe: usize,
    /// Synced writes that are not answered yet, with the row that they end at.
    syncing: BTreeMap<Token, usize>,
}

impl Disk {
    /// Takes a lazy write.
    pub fn lazy(&mut self, now: Time, record: Record) {
        self.push(now, record);
    }

    /// Takes a write that is to be answered once it is safe.
    pub fn synced(&mut self, now: Time, token: Token, record: Record) {
        self.push(now, record);
        self.syncing.insert(token, self.rows.len());
    }

    /// A synced write is safe now.
    pub fn sync(&mut self, token: Token) {
        if let Some(end) = self.syncing.remove(&token) {
            self.safe = self.safe.max(end);
        }
    }

    fn push(&mut self, now: Time, record: Record) {
        match record {
            Record::Batch(stored) => self.rows.push((now, Row::Batch(stored))),
            Record::Ban(ban) => self.rows.push((now, Row::Ban(ban))),
            Record::Holes { .. } | Record::Rejection(_) => {}
        }
    }

    fn batches(&self) -> impl DoubleEndedIterator<Item = &StoredBatch> {
        self.rows.iter().filter_map(|(_, row)| match row {
            Row::Batch(stored) => Some(stored),
            Row::Ban(_) => None,
        })
    }

    /// A batch of a slot: the first, or the one of that id. Reads are rare, as a node's cache
    /// answers most requests, and of the newest rows: no index is kept.
    pub fn read(&self, author: PublicKey, seq: u64, id: Option<BatchId>) -> Option<&StoredBatch> {
        let wanted = |stored: &&StoredBatch| {
            let header = &stored.batch.header;
            header.author == author
                && header.seq == seq
                && id.map_or(stored.first, |id| stored.id == id)
        };
        self.batches().rev().find(wanted)
    }

    /// The process or the machine dies: what was not safe is gone, and is given back.
    pub fn crash(&mut self, now: Time) -> Vec<Record> {
        self.syncing.clear();
        let flushed = self.rows.partition_point(|(at, _)| at.after(FLUSH) <= now);
        let lost = self.rows.split_off(self.safe.max(flushed).min(self.rows.len()));
        let kept = self.rows.len();
        self.safe = kept;
        lost.into_iter()
            .map(|(_, row)| match row {
                Row::Batch(stored) => Record::Batch(stored),
                Row::Ban(ban) => Record::Ban(ban),
            })
            .collect()
    }

    /// The authors of all first batches, one for each.
    pub fn authors(&self) -> impl Iterator<Item = &PublicKey> {
        self.batches().filter(|stored| stored.first).map(|stored| &stored.batch.header.author)
    }

    /// What a start finds.
    pub fn restored(&self) -> Restored {
        let mut lanes: Vec<RestoredLane> = Vec::new();
        let mut batches: Vec<&StoredBatch> = self.batches().collect();
        batches.sort_by_key(|b| (b.batch.header.author, b.batch.header.seq, !b.first));
        for stored in batches {
            let header = &stored.batch.header;
            if lanes.last().is_none_or(|lane| lane.author != header.author) {
                lanes.push(RestoredLane::new(header.author));
            }
            let slot = RestoredSlot {
                seq: header.seq,
                id: stored.id,
                rest: header.rest(),
                signature: stored.batch.signature,
                first: stored.first,
            };
            if let Some(lane) = lanes.last_mut() {
                lane.slots.push(slot);
            }
        }
        let mut bans = BTreeMap::new();
        for (_, row) in &self.rows {
            if let Row::Ban(ban) = row {
                bans.insert(ban.peer, *ban);
            }
        }
        Restored { lanes, bans: bans.into_values().collect() }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::crypto::{Digest, Identity};
    use crate::protocol::Verified;
    use crate::wire::{Batch, Entry};

    fn batch(seq: u64) -> Record {
        let entry = Entry { topic: String::new(), payload: vec![1] };
        let one = Identity::from_seed(&[1; 32]);
        let batch = Batch::sign(&one, Digest::ZERO, seq, Digest([9; 32]), 1, &[entry]);
        let batch = batch.expect("signs");
        Record::Batch(StoredBatch {
            id: batch.id(),
            batch: Arc::new(Verified::trusted(batch)),
            hops: 0,
            from: None,
            delivered_at: Time(0),
            first: true,
        })
    }

    fn held(disk: &Disk) -> usize {
        disk.restored().lanes.first().map_or(0, |lane| lane.slots.len())
    }

    #[test]
    fn a_crash_loses_exactly_what_was_not_safe() {
        let mut disk = Disk::default();
        disk.lazy(Time(0), batch(1));
        disk.synced(Time(10), Token(1), batch(2));
        disk.lazy(Time(20), batch(3));
        disk.synced(Time(30), Token(2), batch(4));
        disk.sync(Token(1));
        assert_eq!(held(&disk), 4, "while it runs, all is there");
        let lost = disk.crash(Time(40));
        assert_eq!((lost.len(), held(&disk)), (2, 2), "slot 1 went with slot 2");
        disk.lazy(Time(50), batch(3));
        assert_eq!(disk.crash(Time(50).after(FLUSH)).len(), 0, "and time flushes the rest");
        assert_eq!(held(&disk), 3);
        disk.lazy(Time(60).after(FLUSH), batch(4));
        assert_eq!(disk.crash(Time(61).after(FLUSH)).len(), 1);
    }
}
