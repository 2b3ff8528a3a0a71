//! Requests to the store that are not answered yet, kept so that memory stays bounded: links are
//! held back while too much waits to be written, and old batches are read a few at a time.
//!
//! A neighbour's batch enters its lane before it is on disk. If it cannot be written, for example
//! because the disk is full, it waits here and is written again later: the node must not claim for
//! long what it does not hold, and no other node would notice that it is missing.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::crypto::PublicKey;
use crate::protocol::{Durability, Input, Record, Token};
use crate::store::Store;
use crate::wire::BatchId;
use crate::wire::limits::WAITING_READS;

/// Bytes and records that may wait to be written before links are held back.
const FULL_BYTES: usize = 16 << 20;
const FULL_RECORDS: usize = 4096;
/// Concurrent reads in the store, each of up to one batch of about 1 MiB.
const READING: usize = 8;
/// Assumed size of a record beside its body, in bytes.
const OVERHEAD: usize = 512;
/// Pause before failed records are written again.
const AGAIN: Duration = Duration::from_secs(1);

struct Read {
    token: Token,
    author: PublicKey,
    seq: u64,
    id: Option<BatchId>,
}

struct Writing {
    bytes: usize,
    /// The record to write again if writing fails; `None` for records whose failure the state
    /// machine must hear of.
    kept: Option<Record>,
}

/// The store and the requests that it has not answered.
pub(super) struct Disk {
    store: Store,
    writing: BTreeMap<Token, Writing>,
    bytes: usize,
    failed: Vec<Token>,
    /// Token of each author's newest `Holes` record that is not written yet.
    holes: BTreeMap<PublicKey, Token>,
    again: Option<Instant>,
    reading: usize,
    reads: VecDeque<Read>,
}

impl Disk {
    pub(super) fn new(store: Store) -> Self {
        Self {
            store,
            writing: BTreeMap::new(),
            bytes: 0,
            failed: vec![],
            holes: BTreeMap::new(),
            again: None,
            reading: 0,
            reads: VecDeque::new(),
        }
    }

    pub(super) fn write(&mut self, token: Token, record: Record, durability: Durability) {
        let body = match &record {
            Record::Batch(stored) => Some(stored.batch.body.len()),
            Record::Holes { holes, .. } => Some(size_of_val(&holes[..])),
            Record::Ban(_) => Some(0),
            // The store bounds these itself and may take its time; they must not hold back links.
            Record::Rejection(_) => None,
        };
        if let Some(body) = body {
            let bytes = OVERHEAD + body;
            let batch = matches!((&record, durability), (Record::Batch(_), Durability::Lazy));
            let lazy = batch || matches!(record, Record::Holes { .. });
            if let Record::Holes { author, .. } = &record {
                self.holes.insert(*author, token);
            }
            self.bytes += bytes;
            self.writing.insert(token, Writing { bytes, kept: lazy.then(|| record.clone()) });
        }
        self.store.write(token, record, durability);
    }

    /// The record to write again, if any. `Holes` replace earlier ones of the same author, so an
    /// older record that failed must not be written after a newer one.
    fn kept(&self, token: Token) -> Option<&Record> {
        let record = self.writing.get(&token)?.kept.as_ref()?;
        match record {
            Record::Holes { author, .. } if self.holes.get(author) != Some(&token) => None,
            record => Some(record),
        }
    }

    /// Whether a batch of this slot is to be written again, or its write is not answered yet.
    fn waits(&self, author: &PublicKey, seq: u64) -> bool {
        let of_slot = |writing: &Writing| match &writing.kept {
            Some(Record::Batch(stored)) => stored.is_of(author, seq),
            _ => false,
        };
        self.writing.values().any(of_slot)
    }

    fn done(&mut self, token: Token) {
        let Some(writing) = self.writing.remove(&token) else { return };
        self.bytes -= writing.bytes;
        if let Some(Record::Holes { author, .. }) = writing.kept
            && self.holes.get(&author) == Some(&token)
        {
            self.holes.remove(&author);
        }
    }

    pub(super) fn read(&mut self, token: Token, author: PublicKey, seq: u64, id: Option<BatchId>) {
        self.reads.push_back(Read { token, author, seq, id });
        self.advance();
    }

    fn advance(&mut self) {
        while self.reading < READING
            && let Some(Read { token, author, seq, id }) = self.reads.pop_front()
        {
            self.reading += 1;
            self.store.read(token, author, seq, id);
        }
    }

    /// Takes note of an answer from the store or from a checker; returns whether to pass it to the
    /// state machine.
    pub(super) fn answered(&mut self, answer: &Input) -> bool {
        match answer {
            Input::WriteFailed { token } if self.kept(*token).is_some() => {
                self.failed.push(*token);
                self.again.get_or_insert_with(|| Instant::now() + AGAIN);
                return false;
            }
            Input::Written { token } | Input::WriteFailed { token } => self.done(*token),
            // A batch that still waits to be written is not lost. If the node were told that its
            // row is damaged, it would fetch and deliver the batch again.
            Input::Damaged { author, seq, .. } if self.waits(author, *seq) => return false,
            Input::Read { .. } => {
                self.reading = self.reading.saturating_sub(1);
                self.advance();
            }
            _ => {}
        }
        true
    }

    /// When [`Disk::retry`] next has something to do.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.again
    }

    /// Writes failed records again, if it is time.
    pub(super) fn retry(&mut self, now: Instant) {
        if self.again.is_none_or(|again| now < again) {
            return;
        }
        self.again = None;
        for token in std::mem::take(&mut self.failed) {
            match self.kept(token).cloned() {
                Some(record) => self.store.write(token, record, Durability::Lazy),
                None => self.done(token),
            }
        }
    }

    /// Whether so much waits that links must be held back.
    pub(super) fn is_full(&self) -> bool {
        self.bytes >= FULL_BYTES
            || self.writing.len() >= FULL_RECORDS
            || self.reads.len() >= WAITING_READS
    }

    /// Whether every record is written, except those that failed.
    pub(super) fn is_idle(&self) -> bool {
        self.writing.len() == self.failed.len()
    }

    /// Records that the wall clock is now `ahead` microseconds ahead of the node's clock.
    pub(super) fn clock_stepped(&self, ahead: i64) {
        self.store.clock_stepped(ahead);
    }

    /// Number of records and reads that the store has not answered.
    pub(super) fn waiting(&self) -> usize {
        self.store.queue_len()
    }

    /// Writes all accepted records, syncs, and ends the store's threads. Blocks. If a record has
    /// failed this is not a clean end: the node considered it held, so the next start has to scan
    /// for what is missing.
    pub(super) fn close(self) {
        if self.failed.is_empty() { self.store.close() } else { drop(self.store) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;
    use crate::crypto::Digest;
    use crate::protocol::testing::{batch, identity, network, stored};
    use crate::protocol::{Hole, Restored, StoredBatch};
    use crate::store::Options;

    fn open(dir: &std::path::Path) -> (Store, std::sync::mpsc::Receiver<Input>, Restored) {
        let (net, (tell, answers)) = (network(2, 0), channel());
        let answer = Box::new(move |input| tell.send(input).unwrap_or(()));
        let own = identity(0).public();
        let (store, restored) =
            Store::open(dir, &net, own, Options::default(), answer).expect("opens");
        (store, answers, restored)
    }

    #[test]
    fn older_holes_that_found_no_room_never_come_after_newer_ones() {
        let dir = tempfile::tempdir().expect("a folder");
        let (store, answers, _) = open(dir.path());
        let author = identity(1).public();
        let record = |tip| {
            let holes = vec![Hole { from: tip - 5, to: tip, gone: false }];
            Record::Holes { author, tip, holes }
        };
        let mut disk = Disk::new(store);
        // In both orders: the newer holes are written after or before the older ones have failed.
        for (older, newer, early) in [(1, 2, true), (3, 4, false)] {
            disk.write(Token(older), record(10 * older), Durability::Lazy);
            // The test says what became of it, whatever did.
            assert!(matches!(answers.recv(), Ok(Input::Written { .. })));
            let failed = Input::WriteFailed { token: Token(older) };
            if early {
                disk.write(Token(newer), record(10 * newer), Durability::Lazy);
                assert!(disk.answered(&failed), "nobody hands it in again");
            } else {
                assert!(!disk.answered(&failed));
                disk.write(Token(newer), record(10 * newer), Durability::Lazy);
            }
            let written = answers.recv().expect("an answer");
            assert!(matches!(written, Input::Written { token } if token == Token(newer)));
            assert!(disk.answered(&written));
            disk.retry(Instant::now() + AGAIN);
            assert!(disk.is_idle() && disk.failed.is_empty());
            assert_eq!((disk.bytes, disk.holes.len(), disk.retry_at()), (0, 0, None));
        }
        disk.close();
        let (_, _, restored) = open(dir.path());
        assert_eq!(restored.lanes[0].tip, 40);
    }

    #[test]
    fn an_end_with_batches_that_found_no_room_is_no_clean_one() {
        let dir = tempfile::tempdir().expect("a folder");
        for fails in [false, true] {
            let (store, answers, _) = open(dir.path());
            let generation = store.reader().generation();
            let mut disk = Disk::new(store);
            let holes = vec![];
            let record = Record::Holes { author: identity(1).public(), tip: 1, holes };
            disk.write(Token(1), record, Durability::Lazy);
            let written = answers.recv().expect("an answer");
            let failed = Input::WriteFailed { token: Token(1) };
            disk.answered(if fails { &failed } else { &written });
            disk.close();
            let (store, _, _) = open(dir.path());
            assert_eq!(store.reader().generation() != generation, fails);
            store.close();
        }
    }

    #[test]
    fn a_neighbours_batch_that_finds_no_room_is_written_once_there_is_some() {
        let dir = tempfile::tempdir().expect("a folder");
        let net = network(2, 0);
        let (store, answers, _) = open(dir.path());
        store.limit_pages(1);
        let mut disk = Disk::new(store);
        let batch = batch(1, net.id(), 1, Digest::ZERO, vec![7; 100_000]);
        let from = Some(identity(1).public());
        let record = Record::Batch(StoredBatch { hops: 1, from, ..stored(batch) });
        disk.write(Token(1), record.clone(), Durability::Synced);
        assert!(disk.answered(&answers.recv().expect("an answer")), "whoever waits is told");
        disk.write(Token(2), record, Durability::Lazy);
        let failed = answers.recv().expect("an answer");
        assert!(matches!(failed, Input::WriteFailed { token: Token(2) }));
        assert!(!disk.answered(&failed) && disk.is_idle() && disk.bytes > 100_000);
        disk.store.limit_pages(1 << 20);
        disk.retry(Instant::now());
        assert!(disk.retry_at().is_some(), "not yet");
        disk.retry(Instant::now() + AGAIN);
        let written = answers.recv().expect("an answer");
        assert!(matches!(written, Input::Written { token: Token(2) }));
        assert!(disk.answered(&written) && disk.is_idle());
        assert_eq!((disk.bytes, disk.retry_at()), (0, None));
        disk.close();
    }
}
