//! Opening a data folder: the lock, the checks, and what a start finds.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::TryRng as _;
use rusqlite::{Connection, TransactionBehavior};

use super::{StoreError, rows, schema};
use crate::crypto::{Digest, PublicKey, hex};
use crate::protocol::{Network, Restored, RestoredLane, RestoredSlot};
use crate::wire::limits::{RECENT, WINDOW};

/// How long a start waits for other programs that have locked the database.
const START_WAIT: Duration = Duration::from_millis(500);
/// How long a commit waits for other programs that have locked the database.
const COMMIT_WAIT: Duration = Duration::from_secs(5);
/// Databases up to this size are looked through as a whole at every start, in bytes.
const CHECKED: u64 = 32 << 20;

/// An open folder.
pub(super) struct Opened {
    pub(super) db: Connection,
    pub(super) lock: File,
    pub(super) path: PathBuf,
    pub(super) restored: Restored,
}

/// Locks the folder, and opens its database or makes one.
pub(super) fn open(dir: &Path, network: &Network, own: PublicKey) -> Result<Opened, StoreError> {
    fs::create_dir_all(dir).map_err(|error| StoreError::io(dir, error))?;
    let lock = lock(dir)?;
    let path = schema::database(dir);
    let fail = |error| StoreError::sqlite(&path, error);
    if path.try_exists().map_err(|error| StoreError::io(&path, error))? {
        check(&path)?;
    } else {
        create(dir, &path, network, own)?;
    }
    let mut db = schema::open_writer(&path, START_WAIT).map_err(fail)?;
    belongs(&db, &path, network, own)?;
    begin(&mut db, &path)?;
    let restored = Restored {
        lanes: lanes(&db, network).map_err(fail)?,
        bans: rows::bans(&db).map_err(fail)?,
    };
    db.busy_timeout(COMMIT_WAIT).map_err(fail)?;
    Ok(Opened { db, lock, path, restored })
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

/// Makes the database under another name first: under its own it is always whole.
fn create(dir: &Path, path: &Path, network: &Network, own: PublicKey) -> Result<(), StoreError> {
    let wal = schema::wal(path);
    if wal.exists() {
        return Err(StoreError::corrupt(&wal, "its database, node.sqlite, is gone"));
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

/// Refuses a file that is not ours, newer or damaged, without writing to it.
pub(super) fn check(path: &Path) -> Result<(), StoreError> {
    let mut head = [0; 16];
    let mut file = File::open(path).map_err(|error| StoreError::io(path, error))?;
    let length = file.metadata().map_err(|error| StoreError::io(path, error))?.len();
    if length < 512 || file.read_exact(&mut head).is_err() || &head != b"SQLite format 3\0" {
        return Err(StoreError::corrupt(path, "it is not a SQLite database"));
    }
    let fail = |error| StoreError::sqlite(path, error);
    let db = schema::open_reader(path, START_WAIT).map_err(fail)?;
    let number = |name: &str| db.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let (id, version) = (number("application_id"), number("user_version"));
    if id.map_err(fail)? != schema::APPLICATION_ID {
        return Err(StoreError::corrupt(path, "it is a database of another program"));
    }
    match version.map_err(fail)? {
        schema::VERSION => {}
        found if found > schema::VERSION => {
            let path = path.to_owned();
            return Err(StoreError::Newer { path, found, known: schema::VERSION });
        }
        found => return Err(StoreError::corrupt(path, format!("its format is {found}"))),
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

fn fact(db: &Connection, path: &Path, name: &str) -> Result<String, StoreError> {
    schema::meta(db, name)
        .map_err(|error| StoreError::sqlite(path, error))?
        .ok_or_else(|| StoreError::corrupt(path, format!("it has no {name}")))
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

/// Counts the start; after an unclean end the cursors that were given out mean nothing any more.
fn begin(db: &mut Connection, path: &Path) -> Result<(), StoreError> {
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
        tx.commit()
    };
    write().map_err(|error| StoreError::sqlite(path, error))
}

/// The newest slots of each author.
fn lanes(db: &Connection, network: &Network) -> rusqlite::Result<Vec<RestoredLane>> {
    let mut authors = db.prepare(
        "SELECT key, number, newest, floor FROM authors WHERE newest > 0 ORDER BY number",
    )?;
    let mut slots = db.prepare(
        "SELECT id, created_at, count, length, prev, content, signature, seq, first FROM batches \
         WHERE author = ?1 AND seq > ?2 ORDER BY seq, first DESC, row",
    )?;
    let found = authors.query_map([], |row| {
        Ok((
            rows::key(row, 0)?,
            row.get::<_, i64>(1)?,
            row.get::<_, i64>(2)?,
            rows::unsigned(row, 3)?,
        ))
    })?;
    let mut lanes = Vec::new();
    for author in found {
        let (author, number, newest, floor) = author?;
        if network.index_of(&author).is_none() {
            continue;
        }
        let above = newest - (WINDOW + RECENT).cast_signed();
        let slots = slots.query_map([number, above], |row| slot(row, network.id(), author))?;
        lanes.push(RestoredLane { author, floor, slots: slots.collect::<rusqlite::Result<_>>()? });
    }
    Ok(lanes)
}

fn slot(
    row: &rusqlite::Row<'_>,
    network: Digest,
    author: PublicKey,
) -> rusqlite::Result<RestoredSlot> {
    let seq = rows::unsigned(row, 7)?;
    let (id, header, signature) = rows::header(row, network, author, seq)?;
    Ok(RestoredSlot { seq, id, rest: header.rest(), signature, first: row.get(8)? })
}
