//! Reading beside the writer: a small pool of read-only connections.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _};

use super::{StoreError, open, rows, schema};
use crate::crypto::{Digest, PublicKey, hex, parse_hex};
use crate::protocol::StoredBatch;
use crate::wire::BatchId;

/// Connections at most.
const CONNECTIONS: usize = 8;
/// Connections that are kept while nobody reads.
const KEPT: usize = 2;
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
    pool: Mutex<Pool>,
    returned: Condvar,
}

#[derive(Default)]
struct Pool {
    idle: Vec<Connection>,
    open: usize,
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
        Self::open(&path)
    }

    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
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
        let pool = Mutex::new(Pool { idle: vec![db], open: 1 });
        let path = path.to_owned();
        let returned = Condvar::new();
        Ok(Self(Arc::new(Inner { path, immutable, network, generation, pool, returned })))
    }

    /// The store's generation when this reader was opened, as 16 hex digits.
    pub fn generation(&self) -> String {
        hex(&self.0.generation)
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
        self.with(|db, _| {
            let sql = format!(
                "SELECT {} FROM batches b JOIN authors a ON a.number = b.author \
                 LEFT JOIN authors s ON s.number = b.sender WHERE a.key = ?1 AND b.seq = ?2 \
                 AND (?3 IS NULL OR b.id = ?3) ORDER BY b.first DESC, b.row LIMIT 1",
                rows::BATCH
            );
            let key = author.to_string();
            let id = id.map(|id| id.0);
            db.prepare_cached(&sql)?
                .query_row(rusqlite::params![key, slot, id], |row| {
                    rows::batch(row, self.0.network, author, seq)
                })
                .optional()
                .map(Option::flatten)
        })
    }
}

impl Inner {
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
