//! The database's schema, and how a connection is set up.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _};

/// `application_id` of our databases: "loyl".
pub(super) const APPLICATION_ID: i64 = 0x6c6f_796c;
/// The only format that this program reads and writes.
pub(super) const VERSION: i64 = 3;

const SCHEMA: &str = "
CREATE TABLE meta (
    name TEXT PRIMARY KEY NOT NULL,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Keys, which other tables refer to by number. `newest`: highest slot held. `floor`: every slot up
-- to this one was held and its payload is pruned. `bytes`: total size of its payloads. `gone_from`,
-- `gone_to`: lowest and highest of its rows in `batches` that were deleted. `tip`: no slot up to
-- this one is missing, except those in `holes`; 0 if not known.
CREATE TABLE authors (
    number INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    newest INTEGER NOT NULL DEFAULT 0,
    floor INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0,
    gone_from INTEGER NOT NULL DEFAULT 0,
    gone_to INTEGER NOT NULL DEFAULT 0,
    tip INTEGER NOT NULL DEFAULT 0
) STRICT;

-- `created_at` is the author's claim, as 64 bits: values of 2^63 and above show as negative.
CREATE TABLE batches (
    row INTEGER PRIMARY KEY AUTOINCREMENT,
    author INTEGER NOT NULL REFERENCES authors (number),
    seq INTEGER NOT NULL,
    id BLOB NOT NULL UNIQUE,
    first INTEGER NOT NULL,
    delivered_at INTEGER NOT NULL,
    hops INTEGER NOT NULL,
    sender INTEGER REFERENCES authors (number),
    created_at INTEGER NOT NULL,
    count INTEGER NOT NULL,
    length INTEGER NOT NULL,
    base INTEGER NOT NULL,
    prev BLOB NOT NULL,
    content BLOB NOT NULL,
    signature BLOB NOT NULL,
    body BLOB
) STRICT;
CREATE UNIQUE INDEX batches_by_slot ON batches (author, seq, id);
CREATE INDEX batches_by_author ON batches (author);

-- Slots up to an author's `tip` that are not held; those in `batches` are held all the same.
-- `gone`: given up.
CREATE TABLE holes (
    author INTEGER NOT NULL REFERENCES authors (number),
    from_slot INTEGER NOT NULL,
    to_slot INTEGER NOT NULL,
    gone INTEGER NOT NULL,
    PRIMARY KEY (author, from_slot)
) STRICT, WITHOUT ROWID;

-- Given-up slots, which readers of messages need not wait for. `row` continues the sequence of
-- `batches`, so that a cursor tells which of these a reader has seen.
CREATE TABLE gaps (
    row INTEGER PRIMARY KEY,
    author INTEGER NOT NULL REFERENCES authors (number),
    from_slot INTEGER NOT NULL,
    to_slot INTEGER NOT NULL
) STRICT;
CREATE INDEX gaps_by_slot ON gaps (author, from_slot);
CREATE INDEX gaps_by_row ON gaps (author, row);

-- Damaged rows of `batches`, as they were found, so columns may have any type. Only the newest
-- thousand, without long bodies.
CREATE TABLE quarantine (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    row, author, seq, id, first, delivered_at, hops, sender, created_at, count, length, base, prev,
    content, signature, body
);
CREATE INDEX quarantine_by_id ON quarantine (id);

-- Times are microseconds since 1970; a `seq` above 2^63 - 1 shows as 2^63 - 1. `frame` is the frame's
-- SHA-256, `head` its first 64 bytes in hex, `bytes` its first 4096 bytes: NULL if there was no
-- frame, and in the oldest rows once all frames take more than 64 MiB. `counts_as` is lie, refusal,
-- copy (of a batch that is held already) or knock (a link from a banned peer).
CREATE TABLE rejections (
    row INTEGER PRIMARY KEY AUTOINCREMENT,
    time INTEGER NOT NULL,
    reason TEXT NOT NULL,
    link TEXT,
    link_name TEXT,
    author TEXT,
    proven INTEGER NOT NULL,
    seq INTEGER,
    id TEXT,
    topic TEXT,
    hops INTEGER,
    size INTEGER NOT NULL,
    detail TEXT NOT NULL,
    frame TEXT NOT NULL,
    head TEXT NOT NULL,
    count INTEGER NOT NULL,
    counts_as TEXT NOT NULL,
    bytes BLOB
) STRICT;

CREATE TABLE bans (
    peer TEXT PRIMARY KEY NOT NULL,
    reason TEXT NOT NULL,
    at INTEGER NOT NULL,
    until INTEGER NOT NULL,
    strikes INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Slots that this node's key has signed. Only the newest are kept, because no slot at or below the
-- highest is ever signed again.
CREATE TABLE promises (
    author INTEGER NOT NULL REFERENCES authors (number),
    seq INTEGER NOT NULL,
    id BLOB NOT NULL,
    PRIMARY KEY (author, seq)
) STRICT, WITHOUT ROWID;
";

/// Path of the database in a data folder.
pub(super) fn database(dir: &Path) -> PathBuf {
    dir.join("node.sqlite")
}

/// Path of the write-ahead log of a database.
pub(super) fn wal(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

/// Whether the write-ahead log holds anything to be merged into the database.
pub(super) fn has_wal(path: &Path) -> bool {
    wal(path).metadata().is_ok_and(|meta| meta.len() > 0)
}

/// Creates a database where there is none. The caller must still sync the folder.
pub(super) fn create(path: &Path, meta: &[(&str, &str)]) -> rusqlite::Result<()> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let mut db = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    db.pragma_update(None, "synchronous", "FULL")?;
    let tx = db.transaction()?;
    tx.execute_batch(SCHEMA)?;
    tx.pragma_update(None, "application_id", APPLICATION_ID)?;
    tx.pragma_update(None, "user_version", VERSION)?;
    for (name, value) in meta {
        put_meta(&tx, name, value)?;
    }
    tx.commit()?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.close().map_err(|(_, error)| error)
}

/// Opens a connection that can write; `wait` bounds how long it waits for other programs.
pub(super) fn open_writer(path: &Path, wait: Duration) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    db.busy_timeout(wait)?;
    db.set_prepared_statement_cache_capacity(64);
    // The writer checkpoints itself, between commits; this limit in pages is a safety net.
    db.pragma_update(None, "wal_autocheckpoint", 16_384)?;
    db.pragma_update(None, "journal_size_limit", 16 << 20)?;
    db.pragma_update(None, "cache_size", -4096)?; // KiB
    Ok(db)
}

pub(super) fn open_reader(path: &Path, wait: Duration) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    set_up_reader(&db, wait)?;
    Ok(db)
}

/// Opens a read-only connection, even in a folder where nothing can be created; returns whether it
/// treats the file as immutable. SQLite creates files beside a cleanly closed database even to read
/// it. Where it cannot, and no write-ahead log waits to be merged, the database file alone is
/// complete.
pub(super) fn open_any_reader(path: &Path, wait: Duration) -> rusqlite::Result<(Connection, bool)> {
    let error = match open_reader(path, wait).and_then(|db| user_version(&db).map(|_| db)) {
        Ok(db) => return Ok((db, false)),
        Err(error) => error,
    };
    let refused = matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied)
    );
    if refused && !has_wal(path) { Ok((open_immutable(path, wait)?, true)) } else { Err(error) }
}

pub(super) fn user_version(db: &Connection) -> rusqlite::Result<i64> {
    db.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Opens a read-only connection to a file that nobody writes, in a folder where nothing can be
/// created.
pub(super) fn open_immutable(path: &Path, wait: Duration) -> rusqlite::Result<Connection> {
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'_' | b'-' => {
                uri.push(char::from(*byte));
            }
            _ => uri.push_str(&format!("%{byte:02x}")),
        }
    }
    uri.push_str("?mode=ro&immutable=1");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let db = Connection::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    set_up_reader(&db, wait)?;
    Ok(db)
}

fn set_up_reader(db: &Connection, wait: Duration) -> rusqlite::Result<()> {
    db.busy_timeout(wait)?;
    db.set_prepared_statement_cache_capacity(16);
    db.pragma_update(None, "query_only", true)?;
    db.pragma_update(None, "cache_size", -1024) // KiB
}

/// Reads a value from `meta`; `None` if there is none of this name.
pub(super) fn meta(db: &Connection, name: &str) -> rusqlite::Result<Option<String>> {
    db.prepare_cached("SELECT value FROM meta WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()
}

/// Writes a value to `meta`, in place of an earlier one.
pub(super) fn put_meta(db: &Connection, name: &str, value: &str) -> rusqlite::Result<()> {
    db.prepare_cached("INSERT OR REPLACE INTO meta (name, value) VALUES (?1, ?2)")?
        .execute([name, value])
        .map(|_| ())
}
