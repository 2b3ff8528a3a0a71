//! Reading alongside the writer: a small pool of read-only connections.

use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, Row};

use super::quarantine::{self, Suspect};
use super::queue::Command;
use super::rows::{CheckedRow, Kept};
use super::{Health, StoreError, open, rows, schema};
use crate::crypto::{Digest, PublicKey, Signature, check, hex, parse_hex};
use crate::protocol::{StoredBatch, Time};
use crate::wire::{Batch, BatchId};

/// Most connections of the pool.
const CONNECTIONS: usize = 8;
/// Most idle connections that are kept.
const KEPT: usize = 2;
/// Most signatures remembered as valid, about a megabyte.
const SIGNED: usize = 4096;
/// How long a reader waits for a connection, and for a program that has locked the database.
const WAIT: Duration = Duration::from_secs(5);

/// Reads a node's database, even while the node writes it. Clones share their connections. Every
/// method blocks for a bounded time, so call it only on threads that may block.
#[derive(Clone)]
pub struct Reader(Arc<Inner>);

struct Inner {
    path: PathBuf,
    immutable: bool,
    network: Digest,
    generation: [u8; 8],
    /// The writer, which is told of damaged rows; gone in a folder that is only read.
    writer: Weak<Sender<Command>>,
    /// Where to report whether reads succeed; `None` in a folder that is only read.
    health: Option<Health>,
    quarantined: Arc<AtomicU64>,
    signed: Mutex<Signed>,
    pool: Mutex<Pool>,
    returned: Condvar,
}

#[derive(Default)]
struct Pool {
    idle: Vec<Connection>,
    open: usize,
}

/// Ids and signatures that were found valid.
#[derive(Default)]
struct Signed {
    known: BTreeSet<(BatchId, Signature)>,
    order: VecDeque<(BatchId, Signature)>,
}

/// A connection borrowed from the pool, returned on drop.
struct Loan<'a> {
    inner: &'a Inner,
    db: Option<Connection>,
}

impl Reader {
    /// Opens a data folder for reading without changing it, whether its node is running or not.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn open_stopped(dir: &Path) -> Result<Self, StoreError> {
        let path = schema::database(dir);
        if !path.try_exists().map_err(|error| StoreError::io(&path, error))? {
            return Err(StoreError::Missing { path });
        }
        open::check(&path)?;
        Self::open(&path, Weak::new(), None, Arc::default())
    }

    pub(super) fn open(
        path: &Path,
        writer: Weak<Sender<Command>>,
        health: Option<Health>,
        quarantined: Arc<AtomicU64>,
    ) -> Result<Self, StoreError> {
        let fail = |error| StoreError::sqlite(path, error);
        let (db, immutable) = schema::open_any_reader(path, WAIT).map_err(fail)?;
        let broken = || StoreError::corrupt(path, "its network id or generation is invalid");
        let network = Digest::from_hex(&open::fact(&db, path, "network")?).ok_or_else(broken)?;
        let generation = parse_hex(&open::fact(&db, path, "generation")?).ok_or_else(broken)?;
        let count = quarantine::count(&db).map_err(fail)?;
        quarantined.store(count, Ordering::Relaxed);
        let pool = Mutex::new(Pool { idle: vec![db], open: 1 });
        Ok(Self(Arc::new(Inner {
            path: path.to_owned(),
            immutable,
            network,
            generation,
            writer,
            health,
            quarantined,
            signed: Mutex::default(),
            pool,
            returned: Condvar::new(),
        })))
    }

    /// The store's generation when this reader was opened, as 16 hex digits.
    pub fn generation(&self) -> String {
        hex(&self.0.generation)
    }

    /// Id of the network that the store belongs to.
    pub fn network(&self) -> Digest {
        self.0.network
    }

    /// Converts a wall-clock time to the time by the node's clock, which stamps all rows. It
    /// accounts for the steps of the wall clock that the node detected since its last start.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn node_time(&self, wall: Time) -> Result<Time, StoreError> {
        let ahead = self.with(|db, _| schema::meta(db, "ahead"))?;
        let ahead = ahead.and_then(|text| text.parse::<i64>().ok()).unwrap_or(0);
        Ok(Time(wall.0.saturating_add_signed(ahead.saturating_neg())))
    }

    /// Closes idle connections; they are reopened when needed.
    pub(super) fn rest(&self) {
        let mut pool = self.0.pool();
        pool.open -= pool.idle.len();
        pool.idle.clear();
    }

    /// Runs a query in a transaction of its own, so that everything it reads is of one moment. The
    /// query is given the store's generation at that moment.
    pub(super) fn with<T>(
        &self,
        query: impl FnOnce(&Connection, [u8; 8]) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let result = self.query(query);
        if let Some(health) = &self.0.health {
            health.read(result.as_ref().map(drop).map_err(StoreError::to_string));
        }
        result
    }

    fn query<T>(
        &self,
        query: impl FnOnce(&Connection, [u8; 8]) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let loan = self.0.borrow()?;
        let result = loan.db.as_ref().map_or(Err(rusqlite::Error::InvalidQuery), |db| {
            let tx = db.unchecked_transaction()?;
            // The folder's node may have been restarted since this reader was opened.
            let generation = schema::meta(&tx, "generation")?.and_then(|text| parse_hex(&text));
            query(&tx, generation.unwrap_or(self.0.generation))
        });
        result.map_err(|error| StoreError::sqlite(&self.0.path, error))
    }

    /// Reads a batch whose payload is still kept: the one with this id, or else the slot's first.
    pub(super) fn batch(
        &self,
        author: PublicKey,
        seq: u64,
        id: Option<BatchId>,
    ) -> Result<Option<StoredBatch>, StoreError> {
        let Ok(slot) = i64::try_from(seq) else { return Ok(None) };
        let select = |columns: &str| {
            let keys = rows::KEYS;
            format!(
                "SELECT {columns} FROM batches b {keys} WHERE b.author = \
                 (SELECT number FROM authors WHERE key = ?1) AND b.seq = ?2 \
                 AND (?3 IS NULL OR b.id = ?3) ORDER BY b.first DESC, b.row LIMIT 4"
            )
        };
        let (key, id) = (author.to_string(), id.map(|id| id.0));
        let mut doubts = vec![];
        let batch = self.with(|db, _| {
            let mut query = db.prepare_cached(&select(rows::BATCH))?;
            let found = query
                .query_row(rusqlite::params![key, slot, id], |row| self.found(row))
                .optional()?;
            match found {
                Some((_, CheckedRow::Whole(batch))) => return Ok(Some(batch)),
                Some((_, CheckedRow::Bare)) => return Ok(None),
                Some((row, CheckedRow::Damaged)) => {
                    doubts.push(Suspect::Row(row));
                    return Ok(None);
                }
                None => {}
            }
            // Anyone may ask for an unknown id, so a missing row alone proves nothing. But a slot
            // that the node considers held has a row, and every row of the slot must match its own
            // id.
            let mut query = db.prepare_cached(&select(rows::BARE))?;
            let mut others = query.query(rusqlite::params![key, slot, None::<[u8; 32]>])?;
            let mut empty = true;
            while let Some(row) = others.next()? {
                empty = false;
                if let (row, CheckedRow::Damaged) = self.found(row)? {
                    doubts.push(Suspect::Row(row));
                }
            }
            if empty {
                doubts.push(Suspect::Slot { author, seq });
            }
            Ok(None)
        });
        doubts.into_iter().for_each(|suspect| self.doubt(suspect));
        batch
    }

    pub(super) fn found(&self, row: &Row<'_>) -> rusqlite::Result<(i64, CheckedRow)> {
        rows::found(row, &self.0.network)
    }

    pub(super) fn kept(&self, row: &Row<'_>) -> rusqlite::Result<(i64, Option<Kept>)> {
        rows::kept(row, &self.0.network)
    }

    /// Whether the author signed a batch whose id matches its header. A valid signature is
    /// remembered for all readers: many streams cost no more checks than one.
    pub(super) fn is_signed(&self, batch: &Batch) -> bool {
        let header = &batch.header;
        let name = (header.id(), batch.signature);
        if self.0.signed().known.contains(&name) {
            return true;
        }
        let good = check(&header.author, &header.statement(), &batch.signature).is_good();
        if good {
            self.0.signed().add(name);
        }
        good
    }

    /// Asks the writer to examine a damaged row. Without a writer, as in the folder of a stopped
    /// node, the row is only left out.
    pub(super) fn doubt(&self, suspect: Suspect) {
        if let Some(writer) = self.0.writer.upgrade() {
            // If the writer has ended, the next start examines the row.
            let _ = writer.send(Command::Doubt(suspect));
        }
    }

    /// Number of rows ever set aside as damaged.
    pub fn quarantined(&self) -> u64 {
        self.0.quarantined.load(Ordering::Relaxed)
    }
}

impl Signed {
    fn add(&mut self, name: (BatchId, Signature)) {
        if self.known.insert(name) {
            self.order.push_back(name);
        }
        if self.order.len() > SIGNED
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

impl Inner {
    fn signed(&self) -> MutexGuard<'_, Signed> {
        self.signed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn borrow(&self) -> Result<Loan<'_>, StoreError> {
        let full = |pool: &mut Pool| pool.idle.is_empty() && pool.open >= CONNECTIONS;
        let (mut pool, waited) = self
            .returned
            .wait_timeout_while(self.pool(), WAIT, full)
            .unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() && full(&mut pool) {
            return Err(StoreError::Busy { path: self.path.clone() });
        }
        if let Some(db) = pool.idle.pop() {
            return Ok(Loan { inner: self, db: Some(db) });
        }
        pool.open += 1;
        drop(pool);
        let mut loan = Loan { inner: self, db: None }; // frees its place in the pool if this fails
        let open = if self.immutable { schema::open_immutable } else { schema::open_reader };
        let db = open(&self.path, WAIT).map_err(|error| StoreError::sqlite(&self.path, error))?;
        loan.db = Some(db);
        Ok(loan)
    }
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        let mut pool = self.inner.pool();
        match self.db.take() {
            Some(db) if pool.idle.len() < KEPT => pool.idle.push(db),
            _ => pool.open -= 1,
        }
        drop(pool);
        self.inner.returned.notify_one();
    }
}
