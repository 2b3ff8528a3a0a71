//! Rows that are no longer what was written: they are never served, never count as held, and block
//! nothing.

use std::path::Path;

use rusqlite::Connection;

use crate::crypto::Digest;
use crate::protocol::{Durability, Network, Record, StoredBatch};
use crate::store::schema;
use crate::store::testing::{Bench, batch, entry, identity, killed, network, query, stored};
use crate::store::{MessageQuery, Options};
use crate::wire::MessageId;

/// One change in each column that a signature covers, and a row of an unknown author.
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
            continue; // bodies are verified when they are read
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
    let options = Options { max_bytes: 1 << 20, ..Options::default() };
    let bench = Bench::try_open(dir.path(), &net, options).expect("opens");
    let tokens: Vec<_> = (101..=8000u64)
        .map(|seq| {
            let one = stored(batch(&net, 2, seq, &[entry("t", [1; 200])]), Some(3));
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
}

#[test]
fn what_is_damaged_is_set_aside_told_to_the_node_and_comes_back() {
    let net = network(3);
    let (dir, key) = (tempfile::tempdir().expect("a folder"), identity(2).public());
    let bench = Bench::open(dir.path(), &net);
    let mut rows = lane(&net, 2, 3);
    for row in &rows {
        assert!(bench.put_batch(row));
    }
    damage(dir.path(), 2, "signature = zeroblob(64)");
    assert_eq!(bench.get(2, 2, None), None);
    let before = bench.store.reader().messages(&query(None, 1)).expect("reads").next;
    for _ in 0..3 {
        assert_eq!(ids(&bench).len(), 2);
    }
    assert_eq!(bench.damaged(), [(key, 2, Digest::ZERO)], "told once");
    let reader = bench.store.reader();
    assert_eq!(reader.quarantined(), 1);
    rows[1].from = None; // it comes again, from another neighbour
    assert!(bench.put_batch(&rows[1]));
    assert_eq!(bench.get(2, 2, Some(rows[1].id)), Some(rows[1].clone()));
    let after = MessageQuery { after: Some(before), ..query(None, 9) };
    let page = reader.messages(&after).expect("reads");
    let found: Vec<_> = page.rows.iter().map(|row| row.id).collect();
    assert_eq!(found, [of(&rows[2]), of(&rows[1])], "whoever passed it gets it");
    bench.store.close();
    let bench = Bench::open(dir.path(), &net);
    assert_eq!(bench.store.reader().quarantined(), 1);
    assert_eq!(bench.restored.lanes[0].slots.len(), 3);
}

#[test]
fn a_start_tells_of_damaged_rows_and_of_what_is_missing_since() {
    let net = network(3);
    let (dir, key) = (tempfile::tempdir().expect("a folder"), identity(2).public());
    let bench = Bench::open(dir.path(), &net);
    let rows = lane(&net, 2, 2100);
    let tokens: Vec<_> =
        rows.iter().map(|row| bench.give(Record::Batch(row.clone()), Durability::Lazy)).collect();
    tokens.into_iter().for_each(|token| drop(bench.answer(token)));
    bench.store.close();
    // One deep in the lane, one among the newest, and the newest.
    for row in [10, 2000, 2100] {
        damage(dir.path(), row, "prev = zeroblob(32)");
    }
    let bench = Bench::open(dir.path(), &net);
    let told = [(key, 2100, Digest::ZERO), (key, 2000, Digest::ZERO)];
    let mut found = bench.damaged();
    found.sort_by_key(|(_, seq, _)| std::cmp::Reverse(*seq));
    assert_eq!(found, told);
    let lane = &bench.restored.lanes[0];
    assert_eq!((lane.slots.len(), lane.holes.len()), (2047, 0));
    assert_eq!(bench.get(2, 10, None), None, "found when it is read");
    assert_eq!(bench.damaged().last(), Some(&(key, 10, Digest::ZERO)));
    bench.store.close();
    let bench = Bench::open(dir.path(), &net);
    let holes: Vec<_> = bench.restored.lanes[0].holes.iter().map(|h| (h.from, h.to)).collect();
    assert_eq!(holes, [(10, 10)], "and known to be missing ever after");
    bench.store.close();
    let bench = Bench::open(dir.path(), &net);
    assert_eq!(bench.restored.lanes[0].holes.len(), 1);
    assert_eq!(bench.damaged(), []);
}

/// Flips a bit of a row's field in the database file, and not in the indices.
fn rot(dir: &Path, stored: &StoredBatch, field: &str) {
    let path = schema::database(dir);
    let mut file = std::fs::read(&path).expect("reads");
    let find = |what: &[u8], from: usize| {
        let place = file[from..].windows(what.len()).position(|window| window == what);
        place.map(|place| place + from)
    };
    let signature = find(&stored.batch.signature.0, 0).expect("a row");
    assert_eq!(find(&stored.batch.signature.0, signature + 1), None, "one row");
    let place = match field {
        "signature" => signature + 33,
        "content" => signature - 3,
        "prev" => signature - 35,
        "body" => signature + 64 + 4,
        // The id lies before `prev`, with some small numbers between them.
        "id" => {
            let from = signature - 160;
            find(&stored.id.0, from).filter(|place| *place < signature).expect("an id") + 7
        }
        _ => unreachable!(),
    };
    file[place] ^= 4;
    std::fs::write(&path, file).expect("writes");
}

#[test]
fn a_bit_that_flips_on_the_disk_itself_is_found_set_aside_and_healed() {
    let net = network(3);
    for field in ["signature", "content", "prev", "body", "id"] {
        let dir = tempfile::tempdir().expect("a folder");
        let bench = Bench::open(dir.path(), &net);
        let rows = lane(&net, 2, 3);
        for row in &rows {
            assert!(bench.put_batch(row));
        }
        bench.store.close();
        rot(dir.path(), &rows[1], field);
        let bench = Bench::open(dir.path(), &net);
        assert_eq!(ids(&bench), [of(&rows[0]), of(&rows[2])], "{field}");
        if field != "id" {
            // With `id` damaged, an index still has the id, and the row that it leads to is good.
            assert_eq!(bench.get(2, 2, Some(rows[1].id)), None, "{field}");
        }
        let told = bench.damaged();
        assert_eq!(bench.get(2, 2, Some(rows[1].id)), None, "{field}");
        assert_eq!((told[0].0, told[0].1), (identity(2).public(), 2), "{field}");
        assert_eq!(bench.store.reader().quarantined(), 1, "{field}");
        assert!(bench.put_batch(&rows[1]), "{field}");
        assert_eq!(bench.get(2, 2, Some(rows[1].id)), Some(rows[1].clone()), "{field}");
        assert_eq!(ids(&bench).len(), 3, "{field}");
        bench.store.close();
        let bench = Bench::open(dir.path(), &net);
        assert_eq!(bench.restored.lanes[0].slots.len(), 3, "{field}");
    }
}

#[test]
fn nobody_makes_a_good_row_look_damaged_by_asking_for_what_is_not_there() {
    let (dir, net) = (tempfile::tempdir().expect("a folder"), network(3));
    let bench = Bench::open(dir.path(), &net);
    for row in lane(&net, 2, 3) {
        assert!(bench.put_batch(&row));
    }
    for number in 0..50 {
        assert_eq!(bench.get(2, 2, Some(Digest([number; 32]))), None);
    }
    assert_eq!((bench.damaged(), bench.store.reader().quarantined()), (vec![], 0));
    assert!(bench.get(2, 2, None).is_some());
    // A slot that the node believes it holds, but of which nothing is left.
    let db = Connection::open(schema::database(dir.path())).expect("opens");
    db.execute("DELETE FROM batches WHERE row = 2", []).expect("deletes");
    assert_eq!(bench.get(2, 2, None), None);
    assert_eq!(bench.damaged(), [(identity(2).public(), 2, Digest::ZERO)]);
    // A pruned slot is not reported.
    db.execute("UPDATE authors SET floor = 2", []).expect("updates");
    drop(db);
    let copy = killed(dir.path());
    let bench = Bench::open(copy.path(), &net);
    assert_eq!(bench.get(2, 2, None), None);
    assert_eq!(bench.damaged(), []);
}

#[test]
fn the_quarantine_stays_small_and_counts_on() {
    let (dir, net) = (tempfile::tempdir().expect("a folder"), network(3));
    let bench = Bench::open(dir.path(), &net);
    for row in lane(&net, 2, 1200) {
        bench.give(Record::Batch(row), Durability::Lazy);
    }
    bench.settle();
    bench.store.close();
    let db = Connection::open(schema::database(dir.path())).expect("opens");
    db.execute("UPDATE batches SET created_at = 0", []).expect("updates");
    drop(db);
    let bench = Bench::open(dir.path(), &net);
    let page = bench.store.reader().messages(&query(None, 100)).expect("reads");
    assert_eq!((page.rows.len(), page.more, page.next.index), (0, false, 255));
    bench.settle();
    let db = Connection::open(schema::database(dir.path())).expect("opens");
    let count = |table: &str| -> i64 {
        let sql = format!("SELECT count(*) FROM {table}");
        db.query_row(&sql, [], |row| row.get(0)).expect("counts")
    };
    assert_eq!((count("quarantine"), count("batches")), (1000, 0));
    assert_eq!(bench.store.reader().quarantined(), 1200);
}

#[test]
fn with_a_slot_s_first_batch_its_second_goes_and_what_comes_then_is_delivered() {
    let (dir, net) = (tempfile::tempdir().expect("a folder"), network(3));
    let bench = Bench::open(dir.path(), &net);
    let first = lane(&net, 2, 1).remove(0);
    let mut second = stored(batch(&net, 2, 1, &[entry("t", b"evidence")]), Some(3));
    second.first = false;
    assert!(bench.put_batch(&first) && bench.put_batch(&second));
    damage(dir.path(), 2, "signature = zeroblob(64)");
    assert_eq!(bench.get(2, 1, Some(second.id)), None);
    assert_eq!(bench.damaged(), [(identity(2).public(), 1, second.id)], "the damaged one is named");
    assert_eq!(bench.get(2, 1, None), Some(first));
    assert!(bench.put_batch(&second));
    damage(dir.path(), 1, "signature = zeroblob(64)");
    assert_eq!(bench.get(2, 1, None), None);
    assert_eq!(bench.damaged().last(), Some(&(identity(2).public(), 1, Digest::ZERO)));
    assert_eq!(bench.get(2, 1, Some(second.id)), None);
    // A node that was asked for the slot gave the other batch.
    second.first = true;
    assert!(bench.put_batch(&second));
    let page = bench.store.reader().messages(&query(None, 9)).expect("reads");
    assert_eq!(page.rows.iter().map(|row| row.id).collect::<Vec<_>>(), [of(&second)]);
}

#[test]
fn a_start_sets_aside_a_second_batch_whose_first_is_gone() {
    let (dir, net) = (tempfile::tempdir().expect("a folder"), network(3));
    let bench = Bench::open(dir.path(), &net);
    let first = lane(&net, 2, 1).remove(0);
    let mut second = stored(batch(&net, 2, 1, &[entry("t", b"evidence")]), Some(3));
    second.first = false;
    assert!(bench.put_batch(&first) && bench.put_batch(&second));
    bench.store.close();
    damage(dir.path(), 1, "id = zeroblob(32)");
    let bench = Bench::open(dir.path(), &net);
    assert_eq!(bench.restored.lanes.iter().map(|lane| lane.slots.len()).sum::<usize>(), 0);
    second.first = true;
    assert!(bench.put_batch(&second));
    assert_eq!(bench.get(2, 1, None), Some(second));
}
