//! Reading beside the writer: a small pool of read-only connections.

use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, Row};

use super::quarantine::{self, Suspect};
use super::queue::Command;
use super::rows::{Found, Kept};
use super::{Health, StoreError, open, rows, schema};
use crate::crypto::{Digest, PublicKey, Signature, check, hex, parse_hex};
use crate::protocol::{StoredBatch, Time};
use crate::wire::{Batch, BatchId};

/// Connections at most.
const CONNECTIONS: usize = 8;
/// Connections that are kept while nobody reads.
const KEPT: usize = 2;
/// Signatures that are known to be good, at most: about a megabyte.
const SIGNED: usize = 4096;
/// How long a reader waits for a connection, or for a program that has locked the database.
const WAIT: Duration = Duration::from_secs(5);

/// Reads a node's database, also while the node writes it. Clones share their connections. Every
/// method blocks, for a bounded time: call it on a thread that may.
#[derive(Clone)]
pub struct Reader(Arc<Inner>);

struct Inner {
    path: PathBuf,
    immutable: bool,
    network: Digest,
    generation: [u8; 8],
    /// Whom to tell of damaged rows; nobody in a folder that is only read.
    writer: Weak<Sender<Command>>,
    /// Whom to tell whether reads are good.
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

/// Ids and signatures that were found good.
#[derive(Default)]
struct Signed {
    known: BTreeSet<(BatchId, Signature)>,
    order: VecDeque<(BatchId, Signature)>,
}

/// A connection on loan.
struct Loan<'a> {
    inner: &'a Inner,
    db: Option<Connection>,
}

impl Reader {
    /// Reads a data folder without touching it, whether its node runs or not.
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
        let fact = |name: &str| {
            let found = schema::meta(&db, name).map_err(fail)?;
            found.ok_or_else(|| StoreError::corrupt(path, format!("it has no {name}")))
        };
        let broken =
            || StoreError::corrupt(path, "its network or generation is not what it must be");
        let network = Digest::from_hex(&fact("network")?).ok_or_else(broken)?;
        let generation = parse_hex(&fact("generation")?).ok_or_else(broken)?;
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

    /// The id of the network that the store is of.
    pub fn network(&self) -> Digest {
        self.0.network
    }

    /// What the clock of the folder's node says when the wall clock says `wall`, as far as the node
    /// has noticed that one being set since its last start. Rows tell times by it.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn node_time(&self, wall: Time) -> Result<Time, StoreError> {
        let ahead = self.with(|db, _| schema::meta(db, "ahead"))?;
        let ahead = ahead.and_then(|text| text.parse::<i64>().ok()).unwrap_or(0);
        Ok(Time(wall.0.saturating_add_signed(ahead.saturating_neg())))
    }

    /// Closes the connections that nobody uses; they are opened again when they are needed.
    pub(super) fn rest(&self) {
        let mut pool = self.0.pool();
        pool.open -= pool.idle.len();
        pool.idle.clear();
    }

    /// Runs a query in a transaction of its own, so that all it reads is of one moment. It is told
    /// the generation of that moment.
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
            // A folder's node may have been restarted since.
            let generation = schema::meta(&tx, "generation")?.and_then(|text| parse_hex(&text));
            query(&tx, generation.unwrap_or(self.0.generation))
        });
        result.map_err(|error| StoreError::sqlite(&self.0.path, error))
    }

    /// A whole batch, if its payload is still there: of that id, or else the slot's first.
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
                Some((_, Found::Whole(batch))) => return Ok(Some(batch)),
                Some((_, Found::Bare)) => return Ok(None),
                Some((row, Found::Damaged)) => {
                    doubts.push(Suspect::Row(row));
                    return Ok(None);
                }
                None => {}
            }
            // Anybody may ask for an id that nobody knows; but a slot that the node takes for held
            // has a row, and whichever id that has must be its own.
            let mut query = db.prepare_cached(&select(rows::BARE))?;
            let mut others = query.query(rusqlite::params![key, slot, None::<[u8; 32]>])?;
            let mut empty = true;
            while let Some(row) = others.next()? {
                empty = false;
                if let (row, Found::Damaged) = self.found(row)? {
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

    /// What a row holds, from the columns [`rows::BATCH`], and its number.
    pub(super) fn found(&self, row: &Row<'_>) -> rusqlite::Result<(i64, Found)> {
        rows::found(row, &self.0.network)
    }

    /// What a row holds, unchecked, and its number.
    pub(super) fn kept(&self, row: &Row<'_>) -> rusqlite::Result<(i64, Option<Kept>)> {
        rows::kept(row, &self.0.network)
    }

    /// Whether its author signed a batch whose id is that of its header. Each is checked once for
    /// all who read it: a stream for each of many clients costs no more checks than one.
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

    /// Has the writer look at a row that is not what was written. Without one, as in the folder of
    /// a stopped node, the row is only left out.
    pub(super) fn doubt(&self, suspect: Suspect) {
        if let Some(writer) = self.0.writer.upgrade() {
            // If it has ended, the next start looks at the row.
            let _ = writer.send(Command::Doubt(suspect));
        }
    }

    /// Rows that were ever set aside as damaged.
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
        let mut loan = Loan { inner: self, db: None }; // gives its place back if this fails
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
