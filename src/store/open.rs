//! Opening a data folder: the lock, the checks, and the state that a start restores.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::TryRng as _;
use rusqlite::{Connection, TransactionBehavior};

use super::author::Authors;
use super::quarantine::Damage;
use super::{StoreError, restore, rows, schema};
use crate::crypto::{PublicKey, hex};
use crate::protocol::{Network, Restored, Shares};

/// How long a start waits for other programs that have locked the database.
const START_WAIT: Duration = Duration::from_millis(500);
/// How long a commit waits for other programs that have locked the database.
const COMMIT_WAIT: Duration = Duration::from_secs(5);
/// Databases up to this size, in bytes, are checked completely at every start.
const CHECKED: u64 = 32 << 20;

/// A data folder that is locked, checked and open for writing.
pub(super) struct Opened {
    pub(super) db: Connection,
    pub(super) lock: File,
    pub(super) path: PathBuf,
    pub(super) restored: Restored,
    pub(super) authors: Authors,
    /// Rows that were set aside during the start.
    pub(super) damaged: Vec<Damage>,
}

/// Locks the folder, and opens its database or creates one.
pub(super) fn open(dir: &Path, network: &Network, shares: Shares) -> Result<Opened, StoreError> {
    if dir.exists() && !dir.is_dir() {
        return Err(StoreError::NoFolder { path: dir.to_owned() });
    }
    fs::create_dir_all(dir).map_err(|error| StoreError::io(dir, error))?;
    let lock = lock(dir)?;
    let path = schema::database(dir);
    let fail = |error| StoreError::sqlite(&path, error);
    if path.try_exists().map_err(|error| StoreError::io(&path, error))? {
        check(&path)?;
    } else {
        create(dir, &path, network, shares.key)?;
    }
    let mut db = schema::open_writer(&path, START_WAIT).map_err(fail)?;
    belongs(&db, &path, network, shares.key)?;
    let scan = begin(&mut db, &path)?;
    let mut authors = Authors::load(&db, shares).map_err(fail)?;
    let (lanes, damaged) = restore::lanes(&mut db, &mut authors, network, scan).map_err(fail)?;
    let restored = Restored { lanes, bans: rows::bans(&db).map_err(fail)? };
    db.busy_timeout(COMMIT_WAIT).map_err(fail)?;
    Ok(Opened { db, lock, path, restored, authors, damaged })
}

fn lock(dir: &Path) -> Result<File, StoreError> {
    let path = dir.join("node.lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(|error| StoreError::io(&path, error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked { dir: dir.to_owned() }),
        Err(TryLockError::Error(error)) => Err(StoreError::io(&path, error)),
    }
}

/// Creates the database under another name first, so that under its own name it is always complete.
fn create(dir: &Path, path: &Path, network: &Network, own: PublicKey) -> Result<(), StoreError> {
    let wal = schema::wal(path);
    if wal.exists() {
        return Err(StoreError::corrupt(&wal, "its database, node.sqlite, is missing"));
    }
    let draft = dir.join("node.sqlite.new");
    for left in [draft.clone(), schema::wal(&draft), dir.join("node.sqlite.new-journal")] {
        match fs::remove_file(&left) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(StoreError::io(&left, error));
            }
            _ => {}
        }
    }
    let (network, own) = (network.id().to_string(), own.to_string());
    let meta = [
        ("network", network.as_str()),
        ("key", own.as_str()),
        ("generation", &hex(&generation(path)?)),
        ("starts", "0"),
        ("clean", "1"),
        ("ahead", "0"),
    ];
    schema::create(&draft, &meta).map_err(|error| StoreError::sqlite(path, error))?;
    let synced = File::open(&draft)
        .and_then(|file| file.sync_all())
        .and_then(|()| fs::rename(&draft, path))
        .and_then(|()| File::open(dir)?.sync_all());
    synced.map_err(|error| StoreError::io(path, error))
}

fn generation(path: &Path) -> Result<[u8; 8], StoreError> {
    let mut bytes = [0; 8];
    rand::rngs::SysRng
        .try_fill_bytes(&mut bytes)
        .map_err(|error| StoreError::io(path, io::Error::other(error.to_string())))?;
    Ok(bytes)
}

/// Refuses a file that is not ours, of another format or damaged, without writing to it.
pub(super) fn check(path: &Path) -> Result<(), StoreError> {
    let mut head = [0; 100];
    let mut file = File::open(path).map_err(|error| StoreError::io(path, error))?;
    let length = file.metadata().map_err(|error| StoreError::io(path, error))?.len();
    if file.read_exact(&mut head).is_err() || !head.starts_with(b"SQLite format 3\0") {
        return Err(StoreError::corrupt(path, "it is not an SQLite database"));
    }
    if length < whole(&head) && !schema::has_wal(path) {
        return Err(StoreError::corrupt(path, "the end of the file is missing"));
    }
    let fail = |error| StoreError::sqlite(path, error);
    let (db, _) = schema::open_any_reader(path, START_WAIT).map_err(fail)?;
    let id: i64 = db.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(fail)?;
    if id != schema::APPLICATION_ID {
        return Err(StoreError::corrupt(path, "it is another program's database"));
    }
    match schema::user_version(&db).map_err(fail)? {
        schema::VERSION => {}
        found if found > schema::VERSION => {
            let path = path.to_owned();
            return Err(StoreError::Newer { path, found, known: schema::VERSION });
        }
        found if found > 0 => {
            let path = path.to_owned();
            return Err(StoreError::Older { path, found, known: schema::VERSION });
        }
        found => return Err(StoreError::corrupt(path, format!("its format number is {found}"))),
    }
    if length <= CHECKED {
        let found: String =
            db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(fail)?;
        if found != "ok" {
            return Err(StoreError::corrupt(path, found));
        }
    }
    Ok(())
}

/// The length in bytes that a database claims:
/// <https://sqlite.org/fileformat2.html#database_header>.
fn whole(head: &[u8; 100]) -> u64 {
    let page = match u16::from_be_bytes([head[16], head[17]]) {
        1 => 65_536,
        page => u64::from(page),
    };
    page * u64::from(u32::from_be_bytes([head[28], head[29], head[30], head[31]]))
}

pub(super) fn fact(db: &Connection, path: &Path, name: &str) -> Result<String, StoreError> {
    schema::meta(db, name)
        .map_err(|error| StoreError::sqlite(path, error))?
        .ok_or_else(|| StoreError::corrupt(path, format!("the entry `{name}` is missing")))
}

fn belongs(
    db: &Connection,
    path: &Path,
    network: &Network,
    own: PublicKey,
) -> Result<(), StoreError> {
    let found = fact(db, path, "network")?;
    let wanted = network.id().to_string();
    if found != wanted {
        return Err(StoreError::OtherNetwork { path: path.to_owned(), found, wanted });
    }
    let found = fact(db, path, "key")?;
    let wanted = own.to_string();
    if found != wanted {
        return Err(StoreError::OtherKey { path: path.to_owned(), found, wanted });
    }
    Ok(())
}

/// Counts the start, and after an unclean end renews the generation, which invalidates all cursors.
/// Returns whether rows that the node considered held may be missing: after an unclean end, or
/// damage.
fn begin(db: &mut Connection, path: &Path) -> Result<bool, StoreError> {
    let clean = fact(db, path, "clean")? == "1";
    let starts = fact(db, path, "starts")?.parse::<u64>().unwrap_or(0);
    let renewed = if clean { None } else { Some(hex(&generation(path)?)) };
    let mut write = || {
        db.pragma_update(None, "synchronous", "FULL")?;
        let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if let Some(generation) = &renewed {
            schema::put_meta(&tx, "generation", generation)?;
        }
        schema::put_meta(&tx, "starts", &starts.saturating_add(1).to_string())?;
        schema::put_meta(&tx, "clean", "0")?;
        schema::put_meta(&tx, "ahead", "0")?; // the node's clock starts at the wall clock's time
        tx.commit()
    };
    write().map_err(|error| StoreError::sqlite(path, error))?;
    let marked = schema::meta(db, "scan").map_err(|error| StoreError::sqlite(path, error))?;
    Ok(!clean || marked.is_some_and(|mark| mark == "1"))
}

#[cfg(test)]
mod tests;
