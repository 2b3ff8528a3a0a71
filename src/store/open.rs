//! Opening a data folder: the lock, the checks, and the state that a start restores.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::TryRng as _;
use rusqlite::{Connection, TransactionBehavior};

use super::author::Authors;
use super::quarantine::Damage;
use super::{StoreError, restore, rows, schema};
use crate::crypto::{PublicKey, hex};
use crate::protocol::{Network, Restored, Shares};

/// How long a start waits for other programs that have locked the database.
const START_WAIT: Duration = Duration::from_millis(500);
/// How long a commit waits for other programs that have locked the database.
const COMMIT_WAIT: Duration = Duration::from_secs(5);
/// Databases up to this size, in bytes, are checked completely at every start.
const CHECKED: u64 = 32 << 20;

/// An open data folder.
pub(super) struct Opened {
    pub(super) db: Connection,
    pub(super) lock: File,
    pub(super) path: PathBuf,
    pub(super) restored: Restored,
    pub(super) authors: Authors,
    /// Rows that were set aside during the start.
    pub(super) damaged: Vec<Damage>,
}

/// Locks the folder, and opens its database or creates one.
pub(super) fn open(dir: &Path, network: &Network, shares: Shares) -> Result<Opened, StoreError> {
    if dir.exists() && !dir.is_dir() {
        return Err(StoreError::NoFolder { path: dir.to_owned() });
    }
    fs::create_dir_all(dir).map_err(|error| StoreError::io(dir, error))?;
    let lock = lock(dir)?;
    let path = schema::database(dir);
    let fail = |error| StoreError::sqlite(&path, error);
    if path.try_exists().map_err(|error| StoreError::io(&path, error))? {
        check(&path)?;
    } else {
        create(dir, &path, network, shares.key)?;
    }
    let mut db = schema::open_writer(&path, START_WAIT).map_err(fail)?;
    belongs(&db, &path, network, shares.key)?;
    let scan = begin(&mut db, &path)?;
    let mut authors = Authors::load(&db, shares).map_err(fail)?;
    let (lanes, damaged) = restore::lanes(&mut db, &mut authors, network, scan).map_err(fail)?;
    let restored = Restored { lanes, bans: rows::bans(&db).map_err(fail)? };
    db.busy_timeout(COMMIT_WAIT).map_err(fail)?;
    Ok(Opened { db, lock, path, restored, authors, damaged })
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

/// Creates the database under another name first, so that under its own name it is always complete.
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
        ("ahead", "0"),
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

/// Refuses a file that is not ours, of another format or damaged, without writing to it.
pub(super) fn check(path: &Path) -> Result<(), StoreError> {
    let mut head = [0; 100];
    let mut file = File::open(path).map_err(|error| StoreError::io(path, error))?;
    let length = file.metadata().map_err(|error| StoreError::io(path, error))?.len();
    if file.read_exact(&mut head).is_err() || !head.starts_with(b"SQLite format 3\0") {
        return Err(StoreError::corrupt(path, "it is not a SQLite database"));
    }
    if length < whole(&head) && !schema::has_wal(path) {
        return Err(StoreError::corrupt(path, "its end is missing"));
    }
    let fail = |error| StoreError::sqlite(path, error);
    let (db, _) = schema::open_any_reader(path, START_WAIT).map_err(fail)?;
    let id: i64 = db.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(fail)?;
    if id != schema::APPLICATION_ID {
        return Err(StoreError::corrupt(path, "it is a database of another program"));
    }
    match schema::user_version(&db).map_err(fail)? {
        schema::VERSION => {}
        found if found > schema::VERSION => {
            let path = path.to_owned();
            return Err(StoreError::Newer { path, found, known: schema::VERSION });
        }
        found if found > 0 => {
            let path = path.to_owned();
            return Err(StoreError::Older { path, found, known: schema::VERSION });
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

/// The length in bytes that a database claims:
/// <https://sqlite.org/fileformat2.html#database_header>.
fn whole(head: &[u8; 100]) -> u64 {
    let page = match u16::from_be_bytes([head[16], head[17]]) {
        1 => 65_536,
        page => u64::from(page),
    };
    page * u64::from(u32::from_be_bytes([head[28], head[29], head[30], head[31]]))
}

pub(super) fn fact(db: &Connection, path: &Path, name: &str) -> Result<String, StoreError> {
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

/// Counts the start, and after an unclean end renews the generation, which invalidates all cursors.
/// Returns whether rows that the node considered held may be missing: after an unclean end, or
/// damage.
fn begin(db: &mut Connection, path: &Path) -> Result<bool, StoreError> {
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
        schema::put_meta(&tx, "ahead", "0")?; // the node's clock starts at the wall clock's time
        tx.commit()
    };
    write().map_err(|error| StoreError::sqlite(path, error))?;
    let marked = schema::meta(db, "scan").map_err(|error| StoreError::sqlite(path, error))?;
    Ok(!clean || marked.is_some_and(|mark| mark == "1"))
}

#[cfg(test)]
mod tests {
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
            let entries = [entry("é", &[0; 3000])];
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
}
