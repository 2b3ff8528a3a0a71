//! Damaged rows: the writer examines them again, sets them aside, and tells the node, which fetches
//! their batches again.

use rusqlite::{Connection, ErrorCode, OptionalExtension as _};

use super::author::Authors;
use super::rows::{self, CheckedRow};
use super::schema;
use crate::crypto::{Digest, PublicKey};
use crate::protocol::Input;

/// Most damaged rows that are kept; the newest stay.
const KEPT: i64 = 1000;
/// Longest body kept of a damaged row, in bytes.
const MAX_BODY: i64 = 64 << 10;

/// A row or slot that a reader found damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Suspect {
    /// A row of `batches`.
    Row(i64),
    /// A slot that the node considers held, but that has no row.
    Slot { author: PublicKey, seq: u64 },
}

/// What a damaged row says of itself; any of it may be wrong.
#[derive(Clone, Copy, Debug)]
pub(super) struct Damage {
    pub(super) row: Option<i64>,
    pub(super) author: Option<PublicKey>,
    pub(super) seq: Option<u64>,
    pub(super) id: Option<Digest>,
}

impl Damage {
    /// The input that tells the node of the damage, if the row still names an author and a slot.
    pub(super) fn input(&self) -> Option<Input> {
        let (author, seq) = (self.author?, self.seq?);
        Some(Input::Damaged { author, seq, id: self.id.unwrap_or(Digest::ZERO) })
    }
}

/// Number of rows ever set aside.
pub(super) fn count(db: &Connection) -> rusqlite::Result<u64> {
    rows::last(db, "quarantine").map(i64::unsigned_abs)
}

/// Examines a suspect in the writer's transaction; a damaged row is set aside.
pub(super) fn examine(
    db: &Connection,
    authors: &mut Authors,
    network: &Digest,
    suspect: Suspect,
) -> rusqlite::Result<Option<Damage>> {
    match suspect {
        Suspect::Row(row) => {
            let sql =
                format!("SELECT {} FROM batches b {} WHERE b.row = ?1", rows::BATCH, rows::KEYS);
            let found = db.prepare_cached(&sql)?.query_row([row], |row| {
                let (number, found) = rows::found(row, network)?;
                Ok((matches!(found, CheckedRow::Damaged), claims(row, number)))
            });
            match found.optional()? {
                Some((true, damage)) => {
                    set_aside(db, authors, row)?;
                    // The id itself may be damaged. If the slot is now empty, the node does not
                    // need it.
                    let empty = match (damage.author, damage.seq) {
                        (Some(author), Some(seq)) => is_empty(db, authors, &author, seq)?,
                        _ => false,
                    };
                    Ok(Some(Damage { id: damage.id.filter(|_| !empty), ..damage }))
                }
                _ => Ok(None), // it was set aside before, or the read was at fault
            }
        }
        Suspect::Slot { author, seq } => {
            if !is_empty(db, authors, &author, seq)? {
                return Ok(None);
            }
            schema::put_meta(db, "scan", "1")?;
            Ok(Some(Damage { row: None, author: Some(author), seq: Some(seq), id: None }))
        }
    }
}

fn claims(row: &rusqlite::Row<'_>, number: i64) -> Damage {
    Damage {
        row: Some(number),
        author: rows::optional_key(row, 1).ok().flatten(),
        seq: rows::unsigned(row, 2).ok(),
        id: row.get("id").ok().map(Digest),
    }
}

/// Whether a slot above the floor has no row.
fn is_empty(
    db: &Connection,
    authors: &Authors,
    author: &PublicKey,
    seq: u64,
) -> rusqlite::Result<bool> {
    let (known, slot) = (authors.known(author).unwrap_or_default(), rows::saturated(seq));
    let held: bool = db
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM batches WHERE author = ?1 AND seq = ?2)")?
        .query_row([known.number, slot], |row| row.get(0))?;
    Ok(slot > known.floor && !held)
}

/// Moves a row from `batches` to `quarantine`, if it exists. If it is its slot's first batch the
/// second goes too, as the next batch to arrive there becomes the first. The next start scans for
/// what is missing below the newest slots.
pub(super) fn set_aside(db: &Connection, authors: &mut Authors, row: i64) -> rusqlite::Result<()> {
    let found = db
        .prepare_cached(
            "SELECT CASE typeof(author) WHEN 'integer' THEN author END, \
             CASE typeof(seq) WHEN 'integer' THEN seq END, length(body) FROM batches WHERE row = ?1",
        )?
        .query_row([row], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let Some((author, seq, bytes)): Option<(Option<i64>, Option<i64>, Option<i64>)> = found else {
        return Ok(());
    };
    db.execute(
        "INSERT INTO quarantine (row, author, seq, id, first, delivered_at, hops, sender, \
         created_at, count, length, base, prev, content, signature, body) SELECT row, author, seq, \
         id, first, delivered_at, hops, sender, created_at, count, length, base, prev, content, \
         signature, CASE WHEN length(body) <= ?2 THEN body END FROM batches WHERE row = ?1",
        [row, MAX_BODY],
    )?;
    db.execute(
        "DELETE FROM quarantine WHERE number <= (SELECT max(number) FROM quarantine) - ?1",
        [KEPT],
    )?;
    delete(db, row)?;
    schema::put_meta(db, "scan", "1")?;
    let Some(author) = author else { return Ok(()) };
    authors.removed(db, author, bytes)?;
    match seq {
        Some(seq) => drop_seconds(db, authors, author, seq),
        None => Ok(()),
    }
}

/// Deletes the rows of a slot that has no first batch.
fn drop_seconds(
    db: &Connection,
    authors: &mut Authors,
    author: i64,
    seq: i64,
) -> rusqlite::Result<()> {
    let left: Vec<(i64, bool, Option<i64>)> = db
        .prepare_cached(
            "SELECT row, first = 1, length(body) FROM batches WHERE author = ?1 AND seq = ?2",
        )?
        .query_map([author, seq], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<rusqlite::Result<_>>()?;
    if left.iter().any(|(_, first, _)| *first) {
        return Ok(());
    }
    for (row, _, bytes) in left {
        delete(db, row)?;
        authors.removed(db, author, bytes)?;
    }
    Ok(())
}

fn delete(db: &Connection, row: i64) -> rusqlite::Result<()> {
    const DELETE: &str = "DELETE FROM batches WHERE row = ?1";
    match db.execute(DELETE, [row]) {
        // The indices hold the values from before the damage and have no entry for this row.
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt) => {
            db.execute_batch("REINDEX batches")?;
            db.execute(DELETE, [row]).map(|_| ())
        }
        other => other.map(|_| ()),
    }
}
