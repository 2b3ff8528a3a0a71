//! What a start finds: after a clean end, a crash, damage, and in folders of others.

use std::fs;
use std::path::Path;

use super::super::testing::{Bench, batch, entry, identity, killed, network, stored};
use super::super::{Options, StoreError};
use super::*;
use crate::crypto::Digest;
use crate::protocol::{Ban, Durability, Reason, Record, StoredBatch, Time};

fn ban(peer: u8, strikes: u32) -> Ban {
    let peer = identity(peer).public();
    Ban { peer, reason: Reason::BadSignature, at: Time(1), until: Time(9), strikes }
}

fn fill(bench: &Bench, net: &Network) -> Vec<StoredBatch> {
    let mut all = vec![];
    for seq in 1..=5 {
        all.push(stored(batch(net, 1, seq, &[entry("own", b"x")]), None));
        all.push(stored(batch(net, 2, seq, &[entry("t", b"y"), entry("", b"")]), Some(3)));
    }
    let mut second = stored(batch(net, 2, 3, &[entry("other", b"z")]), Some(4));
    second.first = false;
    all.push(second);
    for stored in &all {
        assert!(bench.put_batch(stored));
    }
    for strikes in 1..=2 {
        assert!(bench.put(Record::Ban(ban(4, strikes)), Durability::Synced));
    }
    all
}

fn check_restored(bench: &Bench, all: &[StoredBatch]) {
    assert_eq!(bench.restored.bans, [ban(4, 2)]);
    for author in [1, 2] {
        let key = identity(author).public();
        let lanes = &bench.restored.lanes;
        let lane = lanes.iter().find(|lane| lane.author == key).expect("a lane");
        let mut of: Vec<_> = all.iter().filter(|s| s.batch.header.author == key).collect();
        of.sort_by_key(|stored| (stored.batch.header.seq, !stored.first));
        assert_eq!(lane.floor, 0);
        assert_eq!(lane.slots.len(), of.len());
        for (slot, stored) in lane.slots.iter().zip(&of) {
            assert_eq!((slot.seq, slot.id), (stored.batch.header.seq, stored.id));
            assert_eq!(slot.rest, stored.batch.header.rest());
            assert_eq!((slot.signature, slot.first), (stored.batch.signature, stored.first));
        }
    }
    for stored in all {
        let (header, id) = (&stored.batch.header, Some(stored.id));
        let author = if header.author == identity(1).public() { 1 } else { 2 };
        let found = bench.get(author, header.seq, id).expect("held");
        assert_eq!(&found, stored);
        assert_eq!(found.batch.id(), stored.id);
        if stored.first {
            assert_eq!(bench.get(author, header.seq, None).as_ref(), Some(stored));
        }
    }
    assert_eq!(bench.get(2, 6, None), None);
    assert_eq!(bench.get(3, 1, None), None);
    assert_eq!(bench.get(2, u64::MAX, None), None);
}

#[test]
fn a_clean_end_finds_everything_and_keeps_its_generation() {
    let (dir, net) = (tempfile::tempdir().expect("a folder"), network(4));
    let bench = Bench::open(&dir.path().join("made/here"), &net);
    let all = fill(&bench, &net);
    let generation = bench.store.reader().generation();
    let reader = bench.store.reader();
    bench.store.close();
    let beside = fs::read_dir(dir.path().join("made/here")).expect("a folder").count();
    assert_eq!(beside, 2, "the database and the lock, and no log");
    assert_eq!(reader.generation(), generation);
    let bench = Bench::open(&dir.path().join("made/here"), &net);
    check_restored(&bench, &all);
    assert_eq!(bench.store.reader().generation(), generation);
}

#[test]
fn a_kill_loses_nothing_that_was_answered_and_renews_the_generation() {
    let (dir, net) = (tempfile::tempdir().expect("a folder"), network(4));
    let bench = Bench::open(dir.path(), &net);
    let all = fill(&bench, &net);
    let copy = killed(dir.path());
    let after = Bench::open(copy.path(), &net);
    check_restored(&after, &all);
    let generation = bench.store.reader().generation();
    assert_ne!(after.store.reader().generation(), generation);
    drop(bench);
    let after = Bench::open(dir.path(), &net);
    check_restored(&after, &all);
    assert_ne!(after.store.reader().generation(), generation);
}

#[test]
fn a_claim_of_any_time_comes_back_as_it_was() {
    let (dir, net) = (tempfile::tempdir().expect("a folder"), network(2));
    let bench = Bench::open(dir.path(), &net);
    for (seq, created_at) in [(1, u64::MAX), (2, 1 << 63), (3, 0)] {
        let prev = if seq == 1 { Digest::ZERO } else { Digest([1; 32]) };
        let entries = [entry("é", [0; 3000])];
        let signed =
            crate::wire::Batch::sign(&identity(2), net.id(), seq, prev, created_at, &entries);
        let stored = stored(signed.expect("signs"), Some(2));
        assert!(bench.put_batch(&stored));
        assert_eq!(bench.get(2, seq, None), Some(stored));
    }
}

#[test]
fn a_second_process_another_network_and_another_key_are_refused() {
    let (dir, net) = (tempfile::tempdir().expect("a folder"), network(4));
    let bench = Bench::open(dir.path(), &net);
    let again = Bench::try_open(dir.path(), &net, Options::default()).err().expect("refused");
    assert!(matches!(again, StoreError::Locked { .. }));
    assert!(again.to_string().contains(&dir.path().display().to_string()));
    bench.store.close();
    let other = Bench::try_open(dir.path(), &network(5), Options::default());
    assert!(matches!(other.err(), Some(StoreError::OtherNetwork { .. })));
    let answer = Box::new(|_| ());
    let other = super::super::Store::open(
        dir.path(),
        &net,
        identity(2).public(),
        Options::default(),
        answer,
    );
    assert!(matches!(other.err(), Some(StoreError::OtherKey { .. })));
    let file = dir.path().join("node.lock");
    let under_a_file = Bench::try_open(&file, &net, Options::default()).err().expect("refused");
    assert!(under_a_file.to_string().contains("node.lock"), "{under_a_file}");
    drop(Bench::open(dir.path(), &net));
}

fn refused(dir: &Path, net: &Network) -> StoreError {
    let path = schema::database(dir);
    let before = fs::read(&path).expect("reads");
    let error = Bench::try_open(dir, net, Options::default()).err().expect("refused");
    assert!(fs::read(&path).expect("reads") == before, "it was changed");
    assert!(error.to_string().contains("node.sqlite"), "{error}");
    error
}

#[test]
fn what_is_no_whole_database_of_ours_is_refused_and_left_alone() {
    let (dir, net) = (tempfile::tempdir().expect("a folder"), network(4));
    let bench = Bench::open(dir.path(), &net);
    fill(&bench, &net);
    bench.store.close();
    let path = schema::database(dir.path());
    let good = fs::read(&path).expect("reads");
    let refused = || refused(dir.path(), &net);

    let page = 4096;
    assert!(good.len() > 6 * page);
    for length in [0, 10, 100, 700, page, 3 * page, good.len() - page, good.len() - 1] {
        fs::write(&path, &good[..length]).expect("writes");
        assert!(matches!(refused(), StoreError::Corrupt { .. }), "{length}");
    }
    fs::write(&path, vec![0x5a; 20_000]).expect("writes");
    assert!(matches!(refused(), StoreError::Corrupt { .. }));
    for at in 1..good.len() / page {
        let mut bad = good.clone();
        bad[at * page..(at + 1) * page].fill(0x5a);
        fs::write(&path, bad).expect("writes");
        assert!(matches!(refused(), StoreError::Corrupt { .. }), "page {at}");
    }

    fs::write(&path, &good).expect("writes");
    let db = Connection::open(&path).expect("opens");
    db.pragma_update(None, "user_version", 4).expect("a pragma");
    db.close().expect("closes");
    assert!(matches!(refused(), StoreError::Newer { found: 4, known: 3, .. }));
    let db = Connection::open(&path).expect("opens");
    db.pragma_update(None, "user_version", 2).expect("a pragma");
    db.close().expect("closes");
    let error = refused();
    assert!(matches!(error, StoreError::Older { found: 2, known: 3, .. }));
    assert!(error.to_string().contains("a new data folder"), "{error}");
    let db = Connection::open(&path).expect("opens");
    db.pragma_update(None, "user_version", 3).expect("a pragma");
    db.pragma_update(None, "application_id", 5).expect("a pragma");
    db.close().expect("closes");
    assert!(matches!(refused(), StoreError::Corrupt { .. }));

    fs::write(&path, &good).expect("writes");
    drop(Bench::open(dir.path(), &net));
}

#[test]
fn a_locked_database_and_a_log_without_one_are_refused() {
    let (dir, net) = (tempfile::tempdir().expect("a folder"), network(4));
    Bench::open(dir.path(), &net).store.close();
    let path = schema::database(dir.path());
    let other = Connection::open(&path).expect("opens");
    other.execute_batch("BEGIN IMMEDIATE").expect("locks");
    let error = Bench::try_open(dir.path(), &net, Options::default()).err().expect("refused");
    assert!(matches!(error, StoreError::Busy { .. }), "{error}");
    other.execute_batch("ROLLBACK").expect("unlocks");
    other.pragma_update(None, "locking_mode", "EXCLUSIVE").expect("a pragma");
    other.execute_batch("BEGIN EXCLUSIVE").expect("locks");
    let error = Bench::try_open(dir.path(), &net, Options::default()).err().expect("refused");
    assert!(matches!(error, StoreError::Busy { .. }), "{error}");
    drop(other);
    fs::remove_file(&path).expect("removes");
    fs::write(schema::wal(&path), b"left over").expect("writes");
    let error = Bench::try_open(dir.path(), &net, Options::default()).err().expect("refused");
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    assert!(!path.exists());
}

#[test]
fn a_file_for_a_folder_and_a_missing_table_are_named_with_the_way_out() {
    let (dir, net) = (tempfile::tempdir().expect("a folder"), network(3));
    let file = dir.path().join("file");
    fs::write(&file, "x").expect("writes");
    let refused = |path: &Path| {
        let bench = Bench::try_open(path, &net, Options::default());
        bench.err().expect("refused").to_string()
    };
    let error = refused(&file);
    assert!(error.contains("file is a file; give a folder"), "{error}");
    drop(Bench::open(dir.path(), &net));
    let db = Connection::open(schema::database(dir.path())).expect("opens");
    db.execute_batch("DROP TABLE rejections").expect("drops");
    drop(db);
    let error = refused(dir.path());
    assert!(error.contains("rejections") && error.contains("move it away"), "{error}");
}
