//! Restores each author's lane at a start, and finds rows that are damaged.

use std::collections::BTreeSet;

use rusqlite::{Connection, Row, TransactionBehavior};

use super::author::Authors;
use super::quarantine::{self, Damage, Suspect};
use super::{holes, rows, schema};
use crate::crypto::{Digest, PublicKey};
use crate::protocol::{Network, ROWS_KEPT, RestoredLane, RestoredSlot};

/// An author's row in `authors`.
struct Known {
    key: PublicKey,
    number: i64,
    newest: u64,
    floor: u64,
    tip: u64,
}

/// Restores the lanes of a network's keys, and sets aside the damaged rows among their newest. With
/// `scan` (after an unclean end, or damage) it looks for every missing slot, which takes a step for
/// each row.
pub(super) fn lanes(
    db: &mut Connection,
    authors: &mut Authors,
    network: &Network,
    scan: bool,
) -> rusqlite::Result<(Vec<RestoredLane>, Vec<Damage>)> {
    let mut damaged = vec![];
    let mut lanes = loop {
        let (lanes, suspects) = slots(db, network)?;
        if suspects.is_empty() {
            break lanes;
        }
        let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for row in suspects {
            // Set aside even if it now reads well: a row that stays would be found again and again.
            let suspect = Suspect::Row(row);
            match quarantine::examine(&tx, authors, &network.id(), suspect)? {
                Some(damage) => damaged.push(damage),
                None => quarantine::set_aside(&tx, authors, row)?,
            }
        }
        authors.save(&tx)?;
        tx.commit()?;
    };
    let scan = scan || !damaged.is_empty();
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for (known, lane) in &mut lanes {
        let base = known.tip.max(known.newest.saturating_sub(ROWS_KEPT));
        lane.holes = holes::missing(&tx, known.number, (known.floor, base), scan)?;
        if scan {
            holes::replace(&tx, known.number, &lane.holes)?;
        }
    }
    schema::put_meta(&tx, "scan", "0")?;
    tx.commit()?;
    Ok((lanes.into_iter().map(|(_, lane)| lane).collect(), damaged))
}

type Lanes = Vec<(Known, RestoredLane)>;

/// The newest slots of each author, and the rows among them that are damaged.
fn slots(db: &Connection, network: &Network) -> rusqlite::Result<(Lanes, Vec<i64>)> {
    let mut authors = db.prepare(
        "SELECT key, number, newest, floor, tip FROM authors \
         WHERE newest > 0 OR floor > 0 OR tip > 0 ORDER BY number",
    )?;
    let mut newest = db.prepare(
        "SELECT row, seq, id, created_at, count, length, base, prev, content, signature, first \
         FROM batches WHERE author = ?1 AND seq > ?2 ORDER BY seq, first DESC, row",
    )?;
    let found = authors.query_map([], |row| {
        Ok(Known {
            key: rows::key(row, 0)?,
            number: row.get(1)?,
            newest: rows::unsigned(row, 2)?,
            floor: rows::unsigned(row, 3)?,
            tip: rows::unsigned(row, 4)?,
        })
    })?;
    let (mut lanes, mut suspects) = (vec![], vec![]);
    for known in found {
        let known = known?;
        if network.index_of(&known.key).is_none() {
            continue;
        }
        let above = rows::saturated(known.newest.saturating_sub(ROWS_KEPT));
        let found = newest.query_map([known.number, above], |row| {
            Ok((row.get(0)?, slot(row, network.id(), known.key).ok().flatten()))
        })?;
        let mut slots: Vec<(i64, RestoredSlot)> = vec![];
        for one in found {
            match one? {
                (row, Some(slot)) if slot.first || last_seq(&slots) == Some(slot.seq) => {
                    slots.push((row, slot));
                }
                (row, _) => suspects.push(row),
            }
        }
        check_tips(&mut slots, &mut suspects, known.key, &network.id());
        let slots = slots.into_iter().map(|(_, slot)| slot).collect();
        let (tip, floor) = (known.tip, known.floor);
        let lane = RestoredLane { tip, floor, slots, ..RestoredLane::new(known.key) };
        lanes.push((known, lane));
    }
    Ok((lanes, suspects))
}

fn last_seq(slots: &[(i64, RestoredSlot)]) -> Option<u64> {
    slots.last().map(|(_, slot)| slot.seq)
}

/// A slot; `None` if its id does not match its header.
fn slot(
    row: &Row<'_>,
    network: Digest,
    author: PublicKey,
) -> rusqlite::Result<Option<RestoredSlot>> {
    let seq = rows::unsigned(row, 1)?;
    let (id, header, signature) = rows::header(row, network, author, seq)?;
    let slot = RestoredSlot::of(&header, id, signature, row.get("first")?);
    Ok((header.id() == id).then_some(slot))
}

/// Removes slots that may be the lane's tip and whose signature is bad. A tip is shown to others
/// with its signature; other slots are checked when they are read. A tip is a slot whose successor
/// is missing, so removing one makes the slot before it a possible tip.
fn check_tips(
    slots: &mut Vec<(i64, RestoredSlot)>,
    suspects: &mut Vec<i64>,
    author: PublicKey,
    network: &Digest,
) {
    let mut good = BTreeSet::new();
    for place in (0..slots.len()).rev() {
        let (row, slot) = slots[place];
        let followed = good.contains(&slot.seq.saturating_add(1));
        if followed || slot.is_signed(author, network) {
            // Only a first batch counts: a second one is removed along with a bad first one.
            good.extend(slot.first.then_some(slot.seq));
        } else {
            suspects.push(row);
            slots.remove(place);
        }
    }
}
