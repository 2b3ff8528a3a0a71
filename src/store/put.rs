//! Adds batches, holes and bans, inside the writer's transaction.

use rusqlite::{Connection, OptionalExtension as _};

use super::author::Authors;
use super::{holes, rows};
use crate::protocol::{Record, StoredBatch};

/// Slots below the highest promise whose promises are kept.
const PROMISES: i64 = 4096;

/// Writes a record. Returns `false` if it must not be kept: [`promise`] forbids signing that slot,
/// or the floor has passed the slot of a batch published here.
pub(super) fn record(
    db: &Connection,
    authors: &mut Authors,
    record: &Record,
) -> rusqlite::Result<bool> {
    match record {
        Record::Batch(stored) => batch(db, authors, stored),
        Record::Holes { author, tip, holes } => {
            holes::put(db, authors, author, *tip, holes).map(|()| true)
        }
        Record::Ban(ban) => rows::put_ban(db, ban).map(|()| true),
        Record::Rejection(_) => Ok(false), // rejections go through the log
    }
}

fn batch(db: &Connection, authors: &mut Authors, stored: &StoredBatch) -> rusqlite::Result<bool> {
    let header = &stored.batch.header;
    let seq = rows::saturated(header.seq); // none is above `MAX_SLOT`
    let author = authors.get(db, &header.author)?;
    if authors.is_own(&header.author) {
        let local = stored.from.is_none();
        match promise(db, author.number, seq, stored)? {
            Promise::New => {}
            Promise::Same => {}
            Promise::Taken if local => return Ok(false),
            // Signed with our key by another process: kept as evidence.
            Promise::Taken => {}
        }
    }
    let sender = match &stored.from {
        Some(from) => Some(authors.get(db, from)?.number),
        None => None,
    };
    // At or below the floor only the id matters, as evidence.
    let body = (seq > author.floor).then_some(&stored.batch.body[..]);
    let added = db
        .prepare_cached(
            "INSERT INTO batches (author, seq, id, first, delivered_at, hops, sender, created_at, \
             count, length, base, prev, content, signature, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, \
             ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15) ON CONFLICT DO NOTHING",
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
            header.base.cast_signed(),
            header.prev.0,
            header.content.0,
            stored.batch.signature.0,
            body,
        ])?;
    if added > 0 {
        authors.added(&header.author, seq, body.map(|_| i64::from(header.length)));
    }
    // A batch submitted at this node is kept with its payload or not at all, and its author is
    // told.
    Ok(added == 0 || body.is_some() || stored.from.is_some())
}

enum Promise {
    New,
    Same,
    Taken,
}

/// Records that the node's key has signed a slot. A slot at or below the highest promise is never
/// signed again. A slot is only signed after the one before it is written, except by a restart.
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
    let skips = highest > 0 && seq > highest + 1 && !stored.batch.header.restarts();
    if local && (seq <= highest || skips) {
        return Ok(Promise::Taken);
    }
    db.prepare_cached("INSERT INTO promises (author, seq, id) VALUES (?1, ?2, ?3)")?
        .execute(rusqlite::params![author, seq, stored.id.0])?;
    db.prepare_cached("DELETE FROM promises WHERE author = ?1 AND seq <= ?2")?
        .execute([author, seq.max(highest) - PROMISES])?;
    Ok(Promise::New)
}

#[cfg(test)]
mod tests {
    use super::super::schema;
    use super::super::testing::{Bench, batch, entry, identity, killed, network, stored};
    use super::*;
    use crate::protocol::{Durability, Record, Shares};

    #[test]
    fn no_number_of_ours_is_used_twice() {
        let (dir, net) = (tempfile::tempdir().expect("a folder"), network(3));
        let bench = Bench::open(dir.path(), &net);
        let own = |seq, text: &[u8]| stored(batch(&net, 1, seq, &[entry("", text)]), None);
        assert!(bench.put_batch(&own(1, b"a")));
        assert!(bench.put_batch(&own(1, b"a")), "the same again is the same");
        assert!(!bench.put_batch(&own(1, b"b")));
        assert!(!bench.put_batch(&own(3, b"c")), "the one before is not written");
        assert!(bench.put_batch(&own(2, b"b")));
        assert!(bench.put_batch(&own(3, b"c")));
        let other = stored(batch(&net, 2, 1, &[entry("", b"x")]), Some(3));
        let tokens = [own(3, b"d"), own(2, b"d"), other, own(4, b"d")]
            .map(|stored| bench.give(Record::Batch(stored), Durability::Synced));
        let kept = tokens
            .map(|token| matches!(bench.answer(token), crate::protocol::Input::Written { .. }));
        assert_eq!(kept, [false, false, true, true], "one refusal is not the others' refusal");

        let copy = killed(dir.path());
        let after = Bench::open(copy.path(), &net);
        assert!(!after.put_batch(&own(4, b"e")));
        assert!(after.put_batch(&own(5, b"e")));
        assert_eq!(after.get(1, 4, None), Some(own(4, b"d")));
    }

    #[test]
    fn a_restart_may_leave_slots_out_and_nothing_else_may() {
        let (dir, net) = (tempfile::tempdir().expect("a folder"), network(3));
        let bench = Bench::open(dir.path(), &net);
        let own = |seq, base| {
            let (key, entries) = (identity(1), [entry("", b"x")]);
            let prev = crate::crypto::Digest([1; 32]);
            let signed =
                crate::wire::Batch::sign_after(&key, net.id(), seq, (base, prev), 1, &entries);
            stored(signed.expect("signs"), None)
        };
        assert!(bench.put_batch(&stored(batch(&net, 1, 1, &[entry("", b"a")]), None)));
        assert!(!bench.put_batch(&own(100, 99)), "the one before is not written");
        assert!(bench.put_batch(&own(100, 1)), "it voids those between");
        assert!(!bench.put_batch(&own(50, 1)), "which are never signed again");
        assert!(bench.put_batch(&own(101, 100)));
    }

    #[test]
    fn what_a_node_takes_far_up_a_lane_is_kept() {
        let (dir, net) = (tempfile::tempdir().expect("a folder"), network(3));
        let bench = Bench::open(dir.path(), &net);
        let zero = (0, crate::crypto::Digest([0; 32]));
        let (seq, entries) = (crate::wire::limits::MAX_SLOT, [entry("", b"x")]);
        let signed = crate::wire::Batch::sign_after(&identity(2), net.id(), seq, zero, 1, &entries);
        let far = stored(signed.expect("signs"), Some(3));
        let far = StoredBatch { delivered_at: crate::protocol::Time(7), ..far };
        assert!(
            bench.put_batch(&far),
            "a node delivers a restart header of the last slot that there is"
        );
        assert_eq!(bench.get(2, seq, None), Some(far));
    }

    #[test]
    fn what_was_handed_in_here_is_kept_with_its_payload_or_not_at_all() {
        let (dir, net) = (tempfile::tempdir().expect("a folder"), network(3));
        let bench = Bench::open(dir.path(), &net);
        let db = Connection::open(schema::database(dir.path())).expect("opens");
        assert!(bench.put_batch(&stored(batch(&net, 2, 9, &[entry("", b"9")]), Some(3))));
        db.execute("UPDATE authors SET floor = 5", []).expect("updates");
        drop(db);
        bench.store.close();
        let bench = Bench::open(dir.path(), &net);
        let late = |from| stored(batch(&net, 2, 4, &[entry("", b"late")]), from);
        assert!(!bench.put_batch(&late(None)), "a client is not told that it is kept");
        assert!(bench.put_batch(&late(Some(3))), "an id is evidence");
    }

    #[test]
    fn our_key_s_batches_from_elsewhere_are_promises_too() {
        let (dir, net) = (tempfile::tempdir().expect("a folder"), network(3));
        let bench = Bench::open(dir.path(), &net);
        let came = |seq, text: &[u8]| stored(batch(&net, 1, seq, &[entry("", text)]), Some(2));
        assert!(bench.put_batch(&came(9, b"before the folder was lost")));
        assert!(bench.put_batch(&came(8, b"out of order")));
        let mut twin = came(9, b"a twin's");
        twin.first = false;
        assert!(bench.put_batch(&twin), "kept as evidence");
        assert_eq!(bench.get(1, 9, Some(twin.id)), Some(twin));
        let own = |seq| stored(batch(&net, 1, seq, &[entry("", b"own")]), None);
        assert!(!bench.put_batch(&own(7)));
        assert!(!bench.put_batch(&own(9)));
        assert!(bench.put_batch(&own(10)));
    }

    #[test]
    fn promises_stay_few_and_bind_below_too() {
        let (dir, net) = (tempfile::tempdir().expect("a folder"), network(1));
        drop(Bench::open(dir.path(), &net));
        let db = Connection::open(schema::database(dir.path())).expect("opens");
        let shares = Shares::new(1 << 30, 1, identity(1).public());
        let mut authors = Authors::load(&db, shares).expect("loads");
        let mut own = stored(batch(&net, 1, 1, &[entry("", b"x")]), None);
        let number = authors.get(&db, &identity(1).public()).expect("a number").number;
        for seq in 1..=PROMISES + 10 {
            own.id = crate::crypto::Digest::of(&[&seq.to_be_bytes()]);
            assert!(matches!(promise(&db, number, seq, &own), Ok(Promise::New)));
        }
        let (count, lowest): (i64, i64) = db
            .query_row("SELECT count(*), min(seq) FROM promises", [], |r| {
                Ok((r.get(0)?, r.get(1)?))
            })
            .expect("counts");
        assert_eq!((count, lowest), (PROMISES, 11));
        for seq in [1, 10, 11] {
            assert!(matches!(promise(&db, number, seq, &own), Ok(Promise::Taken)), "{seq}");
        }
    }
}
