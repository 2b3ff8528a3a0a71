//! A simulated disk: rows in the order of their writes. A crash loses exactly the rows that were
//! not yet safe.
//!
//! A synced write is safe once it is answered, and so is everything written before it, as there is
//! a single log. A lazy write is safe after the next synced one, or after [`FLUSH`].

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::image::Image;
use super::oracle::Held;
use crate::crypto::PublicKey;
use crate::protocol::{Input, Record, Restored, RestoredSlot, Shares, StoredBatch, Time, Token};
use crate::scenario::Dice;
use crate::wire::BatchId;

/// Time of a synced write: the measured median of a full commit.
pub(super) const SYNC: Duration = Duration::from_micros(600);
/// A lazy write is flushed this long after it was made, at the latest.
pub(super) const FLUSH: Duration = Duration::from_secs(1);
/// Fixed time of a read; the time for the body at [`READ_BYTES_PER_US`] is added.
const READ: Duration = Duration::from_micros(100);
/// Bytes read per microsecond: 500 MB/s.
const READ_BYTES_PER_US: u64 = 500;

/// What a node's store holds, without the rejection log, which no rule depends on.
#[derive(Default)]
pub(super) struct Disk {
    /// Records that are not yet safe, in the order of writes.
    log: VecDeque<(Time, Record)>,
    /// Number of records that became safe and have left the log.
    passed: u64,
    /// Synced writes that are not answered yet, with the number of records up to and including
    /// each.
    syncing: BTreeMap<Token, u64>,
    image: Image,
    shares: Option<Shares>,
    /// The disk is full: nothing can be written.
    pub full: bool,
    /// Neighbours' batches and holes that could not be written and are retried, as the driver of
    /// the real node does.
    failed: Vec<Record>,
    /// Inputs that the node has yet to receive.
    told: Vec<Input>,
    /// When the single reader is done with the reads queued so far.
    reader_free: Time,
}

/// Whether a batch matches what was written in its row: id, content and signature.
pub(super) fn verify(stored: &StoredBatch, is_signed: impl FnOnce(&StoredBatch) -> bool) -> bool {
    stored.batch.id() == stored.id && stored.batch.content_matches() && is_signed(stored)
}

impl Disk {
    /// An empty disk, bounded if `shares` are given.
    pub(super) fn new(shares: Option<Shares>) -> Self {
        Self { image: Image::new(shares), shares, ..Self::default() }
    }

    /// Accepts a lazy write; a crash before the next flush loses it.
    pub(super) fn lazy(&mut self, now: Time, record: Record) {
        self.flush(now);
        self.push(now, record);
    }

    /// Accepts a write that is answered once it is safe.
    pub(super) fn synced(&mut self, now: Time, token: Token, record: Record) {
        self.push(now, record);
        self.syncing.insert(token, self.passed + self.log.len() as u64);
    }

    /// Puts a record on the disk of a node that does not run.
    pub(super) fn preload(&mut self, record: Record) {
        self.image.put(record);
    }

    /// Keeps a record that could not be written; holes replace earlier ones of the same lane.
    /// Returns whether it is the only one kept.
    pub(super) fn failed(&mut self, record: Record) -> bool {
        if let Record::Holes { author, .. } = &record {
            let of = |one: &Record| matches!(one, Record::Holes { author: of, .. } if of == author);
            self.failed.retain(|one| !of(one));
        }
        self.failed.push(record);
        self.failed.len() == 1
    }

    /// Retries the records that could not be written. Returns whether any are left.
    pub(super) fn again(&mut self, now: Time) -> bool {
        if !self.full {
            std::mem::take(&mut self.failed).into_iter().for_each(|one| self.lazy(now, one));
        }
        !self.failed.is_empty()
    }

    fn push(&mut self, now: Time, record: Record) {
        if !matches!(record, Record::Rejection(_)) {
            self.log.push_back((now, record));
        }
    }

    /// A synced write becomes safe.
    pub(super) fn sync(&mut self, token: Token) {
        if let Some(end) = self.syncing.remove(&token) {
            while self.passed < end && self.pass() {}
        }
    }

    fn flush(&mut self, now: Time) {
        while self.log.front().is_some_and(|(at, _)| at.after(FLUSH) <= now) && self.pass() {}
    }

    /// Makes the oldest record of the log safe. Returns `false` if the log is empty.
    fn pass(&mut self) -> bool {
        let Some((_, record)) = self.log.pop_front() else { return false };
        self.passed += 1;
        if let Some((author, floor)) = self.image.put(record) {
            self.told.push(Input::Pruned { author, floor });
        }
        true
    }

    /// Takes the inputs that the node has yet to receive.
    pub(super) fn take_told(&mut self) -> Vec<Input> {
        std::mem::take(&mut self.told)
    }

    fn unsafe_batches(&self) -> impl DoubleEndedIterator<Item = &StoredBatch> {
        self.log.iter().filter_map(|(_, record)| match record {
            Record::Batch(stored) => Some(stored),
            _ => None,
        })
    }

    /// A batch of a slot as it is on disk, intact or not: the first one, or the one with the given
    /// id.
    pub(super) fn read(
        &self,
        author: PublicKey,
        seq: u64,
        id: Option<BatchId>,
    ) -> Option<&StoredBatch> {
        let wanted = |stored: &&StoredBatch| {
            stored.is_of(&author, seq) && id.map_or(stored.first, |id| stored.id == id)
        };
        self.image.read(author, seq, id).or_else(|| self.unsafe_batches().rev().find(wanted))
    }

    /// Whether the first batch of a slot can be read and is intact.
    pub(super) fn is_readable(&self, author: PublicKey, seq: u64) -> bool {
        let fresh = |stored: &StoredBatch| stored.first && stored.is_of(&author, seq);
        self.image.is_readable(author, seq) || self.unsafe_batches().any(fresh)
    }

    /// What the disk holds of a slot.
    pub(super) fn held(&self, author: PublicKey, seq: u64) -> Held {
        match self.is_readable(author, seq) {
            true => Held::Readable,
            false if self.image.has_passed(author, seq) => Held::Passed,
            false => Held::Nothing,
        }
    }

    /// When a read of `bytes` requested now is answered. Reads are served one after another.
    pub(super) fn read_done(&mut self, now: Time, bytes: usize) -> Time {
        let takes = READ + Duration::from_micros(bytes as u64 / READ_BYTES_PER_US);
        self.reader_free = self.reader_free.max(now).after(takes);
        self.reader_free
    }

    /// Whether the row of a batch is safe, with or without its payload.
    pub(super) fn is_safe(&self, author: PublicKey, seq: u64, id: BatchId) -> bool {
        self.image.holds(author, seq, id)
    }

    /// Whether a slot has any row, lies at or below its lane's floor, or waits for room.
    pub(super) fn knows(&self, author: PublicKey, seq: u64) -> bool {
        let of_slot = |stored: &StoredBatch| stored.is_of(&author, seq);
        let waiting = self.failed.iter().filter_map(|record| match record {
            Record::Batch(stored) => Some(stored),
            _ => None,
        });
        self.image.knows(author, seq) || self.unsafe_batches().chain(waiting).any(of_slot)
    }

    /// Sets a bad row aside and returns it.
    pub(super) fn set_aside(&mut self, author: PublicKey, seq: u64, id: BatchId) -> Option<Record> {
        self.image.set_aside(author, seq, id).map(Record::Batch)
    }

    /// Flips a bit in each of up to `rows` safe rows; returns how many there were.
    pub(super) fn rot(&mut self, rows: u32, dice: &mut Dice) -> u64 {
        self.image.rot(rows, dice)
    }

    /// The process or the host dies. Returns the records that are lost because they were not safe.
    pub(super) fn crash(&mut self, now: Time) -> Vec<Record> {
        self.flush(now);
        self.syncing.clear();
        self.told.clear();
        self.reader_free = Time::default();
        let lost = self.log.drain(..).map(|(_, record)| record);
        lost.chain(std::mem::take(&mut self.failed)).collect()
    }

    /// Loses everything on the disk.
    pub(super) fn wipe(&mut self) {
        let full = self.full;
        *self = Self { full, ..Self::new(self.shares) };
    }

    /// Number of first batches whose author `wanted` accepts.
    pub(super) fn firsts(&self, wanted: impl Fn(&PublicKey) -> bool) -> u64 {
        let fresh = self.unsafe_batches().filter(|stored| stored.first);
        let fresh = fresh.filter(|stored| wanted(&stored.batch.header.author)).count() as u64;
        fresh + self.image.firsts(wanted)
    }

    /// What the node finds at its start, and the rows set aside then: see [`Image::restored`].
    pub(super) fn restored(
        &mut self,
        is_signed: impl FnMut(&PublicKey, &RestoredSlot) -> bool,
    ) -> (Restored, Vec<Record>) {
        let (restored, bad) = self.image.restored(is_signed);
        (restored, bad.into_iter().map(Record::Batch).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{Digest, check};
    use crate::protocol::Hole;
    use crate::protocol::testing::{self, identity, stored};

    /// A batch with a body of 7 bytes.
    fn batch(seq: u64) -> Record {
        Record::Batch(stored(testing::batch(1, Digest::ZERO, seq, Digest([9; 32]), "")))
    }

    fn key() -> PublicKey {
        identity(1).public()
    }

    fn held(disk: &Disk) -> usize {
        (1..=9).filter(|seq| disk.read(key(), *seq, None).is_some()).count()
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

    fn lane(disk: &mut Disk) -> crate::protocol::RestoredLane {
        disk.restored(|_, _| true).0.lanes.first().cloned().expect("a lane")
    }

    /// Writes slots and lets them become safe.
    fn fill(disk: &mut Disk, slots: impl Iterator<Item = u64>) {
        slots.for_each(|seq| disk.lazy(Time(0), batch(seq)));
        disk.crash(Time(1).after(FLUSH));
    }

    #[test]
    fn a_small_store_drops_the_oldest_payloads_and_then_their_rows() {
        let mut disk = Disk::new(Some(Shares::new(64 << 10, 2, key())));
        fill(&mut disk, 1..=100);
        let lane = lane(&mut disk);
        // Half of the store, at 512 bytes and a body of 7 for each batch.
        assert_eq!((lane.floor, lane.slots.len()), (100 - 63, 100));
        assert!(disk.read(key(), lane.floor, None).is_none(), "its payload had to go");
        assert!(disk.read(key(), lane.floor + 1, None).is_some());
        fill(&mut disk, 101..=3000);
        let lane = self::lane(&mut disk);
        assert_eq!((lane.floor, lane.slots.len()), (3000 - 63, 2048));
        assert_eq!(disk.firsts(|_| true), 3000, "all of them were held");
    }

    #[test]
    fn a_hole_is_what_is_not_held_of_it() {
        let mut disk = Disk::default();
        fill(&mut disk, [1, 5, 6, 12].into_iter());
        let hole = |from, to, gone| Hole { from, to, gone };
        let holes = vec![hole(2, 9, false), hole(11, u64::MAX - 1, true)];
        disk.lazy(Time(0), Record::Holes { author: key(), tip: u64::MAX - 1, holes });
        disk.crash(Time(1).after(FLUSH));
        let lane = lane(&mut disk);
        let left = [hole(2, 4, false), hole(7, 10, false), hole(11, 11, true)];
        assert_eq!(lane.holes[..3], left, "10 is missing, whatever was recorded");
        assert_eq!(lane.holes[3..], [hole(13, u64::MAX - 1, true)]);
        assert_eq!(lane.tip, u64::MAX - 1);
    }

    #[test]
    fn holes_up_to_the_tip_hold_no_floor_back() {
        for tip in [0, 4] {
            let mut disk = Disk::new(Some(Shares::new(8 << 10, 2, key())));
            let holes = vec![Hole { from: 3, to: 4, gone: false }];
            fill(&mut disk, 1..=2);
            let record = Record::Holes { author: key(), tip, holes };
            disk.lazy(Time(0), record);
            fill(&mut disk, 5..=20);
            assert_eq!(lane(&mut disk).floor, if tip > 0 { 20 - 7 } else { 2 });
        }
    }

    #[test]
    fn a_rotten_row_is_told_by_its_id_its_content_or_its_signature() {
        let mut disk = Disk::default();
        fill(&mut disk, 1..=60);
        assert_eq!(disk.rot(1000, &mut Dice::new(1)), 60);
        let signed = |stored: &StoredBatch| {
            let batch = &stored.batch;
            check(&key(), &batch.header.statement(), &batch.signature).is_good()
        };
        let good = |seq| verify(disk.read(key(), seq, None).expect("there"), signed);
        assert_eq!((1..=60).filter(|seq| good(*seq)).count(), 0);
        let holes = vec![];
        disk.lazy(Time(0), Record::Holes { author: key(), tip: 60, holes });
        disk.crash(Time(1).after(FLUSH));
        let (restored, bad) = disk.restored(|_, _| true);
        let lane = &restored.lanes[0];
        assert!((5..35).contains(&bad.len()), "those of another header: {}", bad.len());
        assert_eq!(lane.slots.len() + bad.len(), 60);
        let missing: u64 = lane.holes.iter().map(|hole| hole.to - hole.from + 1).sum();
        assert_eq!(missing, bad.len() as u64);
        let (_, bad) = disk.restored(|_, _| false);
        assert_eq!(bad.len(), lane.slots.len(), "what is taken out leaves the one before a tip");
        fill(&mut disk, 1..=60);
        assert_eq!(self::lane(&mut disk).holes, [], "they came again");
    }

    #[test]
    fn reads_wait_for_one_another() {
        let mut disk = Disk::default();
        let done: Vec<u64> = (0..3).map(|_| disk.read_done(Time(1000), 500_000).0).collect();
        assert_eq!(done, [2100, 3200, 4300]);
        assert_eq!(disk.read_done(Time(9000), 0), Time(9100));
    }

    #[test]
    fn what_finds_no_room_waits_for_it() {
        let mut disk = Disk { full: true, ..Disk::default() };
        assert!(disk.failed(batch(1)) && !disk.failed(batch(2)));
        assert!(disk.again(Time(0)) && held(&disk) == 0);
        disk.full = false;
        assert!(!disk.again(Time(0)) && held(&disk) == 2);
        disk.full = true;
        disk.failed(batch(3));
        assert_eq!(disk.crash(Time(1)).len(), 3, "and a crash loses it");
    }
}
