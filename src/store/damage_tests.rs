//! Rows that are no longer what was written: they never leave, never count, and hold nobody up.

use std::path::Path;

use rusqlite::Connection;

use super::schema;
use super::testing::{Bench, batch, entry, identity, network, query, stored};
use crate::protocol::{Durability, Network, Record, StoredBatch};
use crate::wire::MessageId;

/// One flipped bit in each column that a signature covers, and a row of nobody's.
const DAMAGE: [(&str, &str); 11] = [
    ("id", "id = zeroblob(32)"),
    ("prev", "prev = zeroblob(32)"),
    ("base", "base = base + 1"),
    ("created_at", "created_at = created_at + 1"),
    ("count", "count = count + 1"),
    ("content", "content = zeroblob(32)"),
    ("signature", "signature = zeroblob(64)"),
    ("body", "body = CAST(substr(body, 1, length(body) - 1) || x'00' AS BLOB)"),
    ("seq", "seq = 7"),
    ("author", "author = (SELECT number FROM authors WHERE number <> author LIMIT 1)"),
    ("nobody", "author = 1000"),
];

fn damage(dir: &Path, row: i64, how: &str) {
    let db = Connection::open(schema::database(dir)).expect("opens");
    db.pragma_update(None, "foreign_keys", false).expect("a pragma");
    let sql = format!("UPDATE batches SET {how} WHERE row = ?1");
    assert_eq!(db.execute(&sql, [row]).expect("updates"), 1, "{how}");
    db.close().expect("closes");
}

fn lane(net: &Network, author: u8, to: u64) -> Vec<StoredBatch> {
    let one = |seq| stored(batch(net, author, seq, &[entry("t", b"some text")]), Some(3));
    (1..=to).map(one).collect()
}

fn ids(bench: &Bench) -> Vec<MessageId> {
    let page = bench.store.reader().messages(&query(None, 100)).expect("reads");
    assert!(!page.more);
    page.rows.iter().map(|row| row.id).collect()
}

fn of(stored: &StoredBatch) -> MessageId {
    MessageId { batch: stored.id, index: 0 }
}

#[test]
fn a_row_that_rots_while_the_node_runs_is_neither_served_nor_listed() {
    let net = network(3);
    for (column, how) in DAMAGE {
        let dir = tempfile::tempdir().expect("a folder");
        let bench = Bench::open(dir.path(), &net);
        let rows = lane(&net, 2, 3);
        for row in &rows {
            assert!(bench.put_batch(row));
        }
        damage(dir.path(), 2, how);
        assert_eq!(bench.get(2, 2, Some(rows[1].id)), None, "{column}");
        assert_eq!(bench.get(2, 2, None), None, "{column}");
        assert_eq!(bench.get(2, 7, None), None, "{column}");
        assert_eq!(ids(&bench), [of(&rows[0]), of(&rows[2])], "{column}");
        assert_eq!(bench.store.reader().message(of(&rows[1])).expect("reads"), None, "{column}");
        assert_eq!(bench.get(2, 3, None), Some(rows[2].clone()), "{column}");
    }
}

#[test]
fn a_row_that_has_rotted_counts_as_not_held_at_a_start() {
    let net = network(3);
    for (column, how) in DAMAGE {
        if column == "body" {
            continue; // bodies are looked at when they are read
        }
        let dir = tempfile::tempdir().expect("a folder");
        let bench = Bench::open(dir.path(), &net);
        let rows = lane(&net, 2, 3);
        for row in &rows {
            assert!(bench.put_batch(row));
        }
        bench.store.close();
        damage(dir.path(), 3, how);
        let bench = Bench::open(dir.path(), &net);
        let held: Vec<_> = bench.restored.lanes.iter().flat_map(|lane| &lane.slots).collect();
        let expected: Vec<_> = rows[..2].iter().map(|row| (row.id, true)).collect();
        let found: Vec<_> = held.iter().map(|slot| (slot.id, slot.first)).collect();
        assert_eq!(found, expected, "{column}");
    }
}

#[test]
fn pruning_passes_holes_and_stays_cheap() {
    let (dir, net) = (tempfile::tempdir().expect("a folder"), network(3));
    let options = super::Options { max_bytes: 1 << 20, ..super::Options::default() };
    let bench = Bench::try_open(dir.path(), &net, options).expect("opens");
    let tokens: Vec<_> = (101..=8000u64)
        .map(|seq| {
            let one = stored(batch(&net, 2, seq, &[entry("t", &[1; 200])]), Some(3));
            bench.give(Record::Batch(one), Durability::Lazy)
        })
        .collect();
    for token in tokens {
        bench.answer(token);
    }
    bench.settle();
    let db = Connection::open(schema::database(dir.path())).expect("opens");
    let (rows, floor): (i64, i64) = db
        .query_row("SELECT count(*), max(floor) FROM batches, authors", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .expect("counts");
    assert!(floor > 7000, "the hole holds the floor back at {floor}");
    assert!(rows / 3 < 2100, "{} rows are kept", rows / 3);
    let _ = identity(1);
}
