//! Holes: slots up to a lane's tip that are not held. Gaps: what readers are told of slots that are
//! given up.

use rusqlite::{Connection, OptionalExtension as _};

use super::author::Authors;
use super::rows;
use crate::crypto::PublicKey;
use crate::protocol::{Hole, limit_holes};
use crate::wire::limits::MAX_HOLES;

/// Most gaps kept of one author.
const MAX_GAPS: i64 = 4096;

/// Stores a lane's tip and its holes in place of the earlier ones; adds gaps for holes that are now
/// given up.
pub(super) fn put(
    db: &Connection,
    authors: &mut Authors,
    author: &PublicKey,
    tip: u64,
    holes: &[Hole],
) -> rusqlite::Result<()> {
    let known = authors.get(db, author)?;
    authors.set_tip(author, rows::saturated(tip));
    let floor = known.floor.unsigned_abs();
    let cut = |hole: &Hole| Hole { from: hole.from.max(floor + 1), to: hole.to.min(tip), ..*hole };
    let holes: Vec<Hole> = holes.iter().map(cut).filter(|hole| hole.from <= hole.to).collect();
    let before = kept(db, known.number)?;
    for hole in holes.iter().filter(|hole| hole.gone && before.binary_search(hole).is_err()) {
        tell(db, authors, author, rows::saturated(hole.from), rows::saturated(hole.to))?;
    }
    trim_gaps(db, authors, author, known.number)?;
    change(db, known.number, &before, holes)
}

/// The stored holes of an author, ascending.
fn kept(db: &Connection, author: i64) -> rusqlite::Result<Vec<Hole>> {
    db.prepare_cached(
        "SELECT from_slot, to_slot, gone FROM holes WHERE author = ?1 ORDER BY from_slot",
    )?
    .query_map([author], |row| {
        let (from, to) = (rows::unsigned(row, 0)?, rows::unsigned(row, 1)?);
        Ok(Hole { from, to, gone: row.get(2)? })
    })?
    .collect()
}

/// Stores the holes of an author in place of the earlier ones.
pub(super) fn replace(db: &Connection, author: i64, holes: &[Hole]) -> rusqlite::Result<()> {
    change(db, author, &kept(db, author)?, holes.to_vec())
}

/// Writes an author's new holes and deletes those that are gone. Only differences are written: a
/// lane may have thousands of holes, and an arriving slot changes one.
fn change(
    db: &Connection,
    author: i64,
    before: &[Hole],
    mut holes: Vec<Hole>,
) -> rusqlite::Result<()> {
    limit_holes(&mut holes);
    let mut delete = db.prepare_cached("DELETE FROM holes WHERE author = ?1 AND from_slot = ?2")?;
    for hole in before.iter().filter(|hole| holes.binary_search(hole).is_err()) {
        delete.execute([author, rows::saturated(hole.from)])?;
    }
    let mut insert = db.prepare_cached(
        "INSERT OR REPLACE INTO holes (author, from_slot, to_slot, gone) VALUES (?1, ?2, ?3, ?4)",
    )?;
    for hole in holes.iter().filter(|hole| before.binary_search(hole).is_err()) {
        let (from, to) = (rows::saturated(hole.from), rows::saturated(hole.to));
        insert.execute([author, from, to, i64::from(hole.gone)])?;
    }
    Ok(())
}

/// Handles a floor that has risen: holes up to it count as pruned, and readers are told by gaps.
pub(super) fn pass(
    db: &Connection,
    authors: &mut Authors,
    author: &PublicKey,
    number: i64,
    floor: i64,
) -> rusqlite::Result<()> {
    let passed: Vec<(i64, i64)> = db
        .prepare_cached(
            "SELECT from_slot, to_slot FROM holes WHERE author = ?1 AND from_slot <= ?2 \
             ORDER BY from_slot",
        )?
        .query_map([number, floor], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (from, to) in passed {
        tell(db, authors, author, from, to.min(floor))?;
    }
    trim_gaps(db, authors, author, number)?;
    db.prepare_cached("DELETE FROM holes WHERE author = ?1 AND to_slot <= ?2")?
        .execute([number, floor])?;
    db.prepare_cached("UPDATE holes SET from_slot = ?2 + 1 WHERE author = ?1 AND from_slot <= ?2")?
        .execute([number, floor])
        .map(|_| ())
}

/// Adds gaps for slots that readers need not wait for, except those that have one already.
fn tell(
    db: &Connection,
    authors: &mut Authors,
    author: &PublicKey,
    mut from: i64,
    to: i64,
) -> rusqlite::Result<()> {
    let number = authors.get(db, author)?.number;
    let told: Vec<(i64, i64)> = db
        .prepare_cached(
            // Gaps do not overlap: of those that begin below, only the last may reach so far.
            "SELECT from_slot, to_slot FROM gaps WHERE author = ?1 AND from_slot <= ?3 \
             AND from_slot >= ifnull((SELECT max(from_slot) FROM gaps \
             WHERE author = ?1 AND from_slot <= ?2), ?2) AND to_slot >= ?2 ORDER BY from_slot",
        )?
        .query_map([number, from, to], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (first, last) in told {
        if from < first {
            insert(db, number, from, first - 1)?;
        }
        from = from.max(last.saturating_add(1));
    }
    if from <= to {
        insert(db, number, from, to)?;
    }
    Ok(())
}

/// Deletes the oldest gaps above [`MAX_GAPS`].
fn trim_gaps(
    db: &Connection,
    authors: &mut Authors,
    author: &PublicKey,
    number: i64,
) -> rusqlite::Result<()> {
    let oldest: Option<i64> = db
        .prepare_cached(
            "SELECT row FROM gaps WHERE author = ?1 ORDER BY row DESC LIMIT 1 OFFSET ?2",
        )?
        .query_row([number, MAX_GAPS], |row| row.get(0))
        .optional()?;
    if let Some(oldest) = oldest {
        db.prepare_cached("DELETE FROM gaps WHERE author = ?1 AND row <= ?2")?
            .execute([number, oldest])?;
        authors.forgot(author, oldest);
    }
    Ok(())
}

fn insert(db: &Connection, author: i64, from: i64, to: i64) -> rusqlite::Result<()> {
    let next = db
        .prepare_cached("UPDATE sqlite_sequence SET seq = seq + 1 WHERE name = 'batches'")?
        .execute([])?;
    if next == 0 {
        db.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('batches', 1)", [])?;
    }
    db.prepare_cached(
        "INSERT INTO gaps (row, author, from_slot, to_slot) \
         SELECT seq, ?1, ?2, ?3 FROM sqlite_sequence WHERE name = 'batches'",
    )?
    .execute([author, from, to])
    .map(|_| ())
}

/// The missing slots of an author above `floor` and up to `base`: those in its stored holes, and
/// with `scan` all others, minus the slots that are held.
pub(super) fn missing(
    db: &Connection,
    author: i64,
    (floor, base): (u64, u64),
    scan: bool,
) -> rusqlite::Result<Vec<Hole>> {
    let recorded = kept(db, author)?;
    let mut parts = Vec::with_capacity(recorded.len());
    let mut next = floor.saturating_add(1);
    for hole in recorded {
        let (from, to) = (hole.from.max(next), hole.to.min(base));
        if from > to {
            continue;
        }
        if scan && next < from {
            parts.push(Hole { from: next, to: from - 1, gone: false });
        }
        parts.push(Hole { from, to, gone: hole.gone });
        next = to.saturating_add(1);
    }
    if scan && next <= base {
        parts.push(Hole { from: next, to: base, gone: false });
    }
    let mut holes: Vec<Hole> = Vec::new();
    for part in parts {
        less_held(db, author, part, &mut holes)?;
    }
    limit_holes(&mut holes);
    Ok(holes)
}

/// Appends the slots of a hole that are not held.
fn less_held(
    db: &Connection,
    author: i64,
    hole: Hole,
    holes: &mut Vec<Hole>,
) -> rusqlite::Result<()> {
    let mut add = |from: u64, to: u64| {
        let full = holes.len() > MAX_HOLES; // `limit_holes` joins those in the end
        match holes.last_mut() {
            _ if from > to => {}
            Some(last) if full => last.to = to,
            Some(last) if last.to.saturating_add(1) == from && last.gone == hole.gone => {
                last.to = to;
            }
            _ => holes.push(Hole { from, to, gone: hole.gone }),
        }
    };
    let mut held = db.prepare_cached(
        "SELECT seq FROM batches WHERE author = ?1 AND seq BETWEEN ?2 AND ?3 ORDER BY seq",
    )?;
    let mut found = held.query([author, rows::saturated(hole.from), rows::saturated(hole.to)])?;
    let mut from = hole.from;
    while let Some(row) = found.next()? {
        let seq = rows::unsigned(row, 0)?;
        if seq >= from {
            add(from, seq - 1);
            from = seq.saturating_add(1);
        }
    }
    add(from, hole.to);
    Ok(())
}
