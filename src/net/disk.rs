//! What the driver has asked of the store and not been answered, so that its memory is bounded:
//! links are held back while too much waits to be written, and old batches are read a few at a
//! time.

use std::collections::{BTreeMap, VecDeque};

use crate::crypto::PublicKey;
use crate::protocol::{Durability, Input, Record, Token};
use crate::store::Store;
use crate::wire::BatchId;

/// Bytes and records that may wait to be written before links are held back.
const FULL_BYTES: usize = 16 << 20;
const FULL_RECORDS: usize = 4096;
/// Reads that the store has at once: each may bring a batch of a megabyte.
const READING: usize = 8;
/// Reads that may wait before links are held back.
const FULL_READS: usize = 4096;
/// What a record takes beside its body.
const OVERHEAD: usize = 512;

struct Read {
    token: Token,
    author: PublicKey,
    seq: u64,
    id: Option<BatchId>,
}

/// The store, and what is open with it.
pub(super) struct Disk {
    store: Store,
    writing: BTreeMap<Token, usize>,
    bytes: usize,
    reading: usize,
    reads: VecDeque<Read>,
}

impl Disk {
    pub fn new(store: Store) -> Self {
        Self { store, writing: BTreeMap::new(), bytes: 0, reading: 0, reads: VecDeque::new() }
    }

    pub fn write(&mut self, token: Token, record: Record, durability: Durability) {
        let body = match &record {
            Record::Batch(stored) => Some(stored.batch.body.len()),
            Record::Ban(_) => Some(0),
            // The store bounds these itself, and may take its time: they must hold nobody back.
            Record::Rejection(_) => None,
        };
        if let Some(body) = body {
            self.bytes += OVERHEAD + body;
            self.writing.insert(token, OVERHEAD + body);
        }
        self.store.write(token, record, durability);
    }

    pub fn read(&mut self, token: Token, author: PublicKey, seq: u64, id: Option<BatchId>) {
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

    /// An answer has come, of the store or of somebody else.
    pub fn answered(&mut self, answer: &Input) {
        match answer {
            Input::Written { token } | Input::WriteFailed { token } => {
                self.bytes -= self.writing.remove(token).unwrap_or(0);
            }
            Input::Read { .. } => {
                self.reading = self.reading.saturating_sub(1);
                self.advance();
            }
            _ => {}
        }
    }

    /// Whether so much waits that no more should be caused.
    pub fn is_full(&self) -> bool {
        self.bytes >= FULL_BYTES
            || self.writing.len() >= FULL_RECORDS
            || self.reads.len() >= FULL_READS
    }

    /// Whether everything handed in is written.
    pub fn is_idle(&self) -> bool {
        self.writing.is_empty()
    }

    /// Records that wait to be written.
    pub fn waiting(&self) -> usize {
        self.store.queue_len()
    }

    /// Writes what was handed in, syncs, and ends the store's threads. Blocks.
    pub fn close(self) {
        self.store.close();
    }
}
