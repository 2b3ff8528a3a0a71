//! Adding batches and bans, inside the writer's transaction.

use rusqlite::{Connection, OptionalExtension as _};

use super::author::Authors;
use super::rows;
use crate::protocol::{Record, StoredBatch};

/// Promises that are kept, counted from the highest.
const PROMISES: i64 = 4096;

/// Keeps a record; `false` if it must not be kept: the node's key has signed that slot otherwise.
pub(super) fn record(
    db: &Connection,
    authors: &mut Authors,
    record: &Record,
) -> rusqlite::Result<bool> {
    match record {
        Record::Batch(stored) => batch(db, authors, stored),
        Record::Ban(ban) => rows::put_ban(db, ban).map(|()| true),
        Record::Rejection(_) => Ok(false), // these go through the log
    }
}

fn batch(db: &Connection, authors: &mut Authors, stored: &StoredBatch) -> rusqlite::Result<bool> {
    let header = &stored.batch.header;
    // No lane comes that far: slots have no gaps.
    let Ok(seq) = i64::try_from(header.seq) else { return Ok(false) };
    let author = authors.get(db, &header.author)?;
    if authors.is_own(&header.author) {
        let local = stored.from.is_none();
        match promise(db, author.number, seq, stored)? {
            Promise::New => {}
            Promise::Same => {}
            Promise::Taken if local => return Ok(false),
            // By our key, and not by us: kept as what it is.
            Promise::Taken => {}
        }
    }
    let sender = match &stored.from {
        Some(from) => Some(authors.get(db, from)?.number),
        None => None,
    };
    // Below the floor only the id matters: as evidence.
    let body = (seq > author.floor).then_some(&stored.batch.body[..]);
    let added = db
        .prepare_cached(
            "INSERT INTO batches (author, seq, id, first, delivered_at, hops, sender, created_at, \
             count, length, prev, content, signature, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, \
             ?9, ?10, ?11, ?12, ?13, ?14) ON CONFLICT DO NOTHING",
        )?
        .execute(rusqlite::params![
            author.number,
            seq,
            stored.id.0,
            stored.first,
            rows::saturated(stored.delivered_at.0),
            stored.hops,
            sender,
            header.created_at.cast_signed(),
            header.count,
            header.length,
            header.prev.0,
            header.content.0,
            stored.batch.signature.0,
            body,
        ])?;
    if added > 0 {
        authors.added(&header.author, seq, body.map(|_| i64::from(header.length)));
    }
    Ok(true)
}

enum Promise {
    New,
    Same,
    Taken,
}

/// Writes down that the node's key has signed a slot. A slot at or below the highest promise is never
/// signed again, and none is signed while the one before it is not written.
fn promise(
    db: &Connection,
    author: i64,
    seq: i64,
    stored: &StoredBatch,
) -> rusqlite::Result<Promise> {
    let made: Option<[u8; 32]> = db
        .prepare_cached("SELECT id FROM promises WHERE author = ?1 AND seq = ?2")?
        .query_row([author, seq], |row| row.get(0))
        .optional()?;
    if let Some(id) = made {
        return Ok(if id == stored.id.0 { Promise::Same } else { Promise::Taken });
    }
    let highest: Option<i64> = db
        .prepare_cached("SELECT max(seq) FROM promises WHERE author = ?1")?
        .query_row([author], |row| row.get(0))?;
    let highest = highest.unwrap_or(0);
    let local = stored.from.is_none();
    if local && (seq <= highest || (highest > 0 && seq > highest + 1)) {
        return Ok(Promise::Taken);
    }
    db.prepare_cached("INSERT INTO promises (author, seq, id) VALUES (?1, ?2, ?3)")?
        .execute(rusqlite::params![author, seq, stored.id.0])?;
    db.prepare_cached("DELETE FROM promises WHERE author = ?1 AND seq <= ?2")?
        .execute([author, seq.max(highest) - PROMISES])?;
    Ok(Promise::New)
}
