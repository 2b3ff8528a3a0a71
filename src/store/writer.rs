//! The only thread that writes, with group commit.
//!
//! Each turn takes what is queued, commits batches, holes and bans, answers, and only then spends a
//! bounded step on less urgent work: the rejection log, damaged rows, pruning, a checkpoint. With
//! nothing to do it sleeps.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Instant;

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::watch;

use super::author::{Authors, Pruned};
use super::log::RejectionLog;
use super::quarantine::{self, Damage, Suspect};
use super::queue::{Command, Shared};
use super::{Health, holes, put, schema};
use crate::crypto::Digest;
use crate::diagnostics::Folds;
use crate::protocol::{Durability, Input, Record, Token};

/// Most records of one commit.
const GROUP: usize = 512;
/// Bytes of bodies after which a commit takes no more records.
const GROUP_BYTES: usize = 8 << 20;
/// Most damaged rows that wait to be examined.
const MAX_SUSPECTS: usize = 1024;
/// Estimated bytes that a commit and each of its rows add to the write-ahead log beside bodies.
const COMMIT_COST: usize = 24 << 10;
const ROW_COST: usize = 1 << 10;
/// Bytes written between two checkpoints.
const CHECKPOINT: usize = 4 << 20;

struct Write {
    token: Token,
    record: Record,
    synced: bool,
}

enum Next {
    Go,
    Close,
    Abandoned,
}

/// The writer's state; [`Writer::run`] is its thread.
pub(super) struct Writer {
    pub(super) db: Connection,
    pub(super) path: PathBuf,
    pub(super) queue: Receiver<Command>,
    pub(super) shared: Arc<Shared>,
    pub(super) commits: watch::Sender<u64>,
    pub(super) authors: Authors,
    pub(super) log: RejectionLog,
    pub(super) network: Digest,
    /// Rows and slots that readers found damaged, to be examined.
    pub(super) suspects: BTreeSet<Suspect>,
    pub(super) quarantined: Arc<AtomicU64>,
    /// Whether commits are synced at present.
    pub(super) full: bool,
    /// Estimated bytes written since the last checkpoint.
    pub(super) unmerged: usize,
    /// Whether upkeep failed; it is tried again after the next command, not at once.
    pub(super) stalled: bool,
    pub(super) health: Health,
    /// Folds the log lines about failures, by kind.
    pub(super) failures: Folds<&'static str>,
}

impl Writer {
    /// Runs until told to close or until the store is dropped; earlier commands are still carried
    /// out.
    pub(super) fn run(mut self) {
        let beat = self.health.writer().beat();
        loop {
            #[cfg(test)]
            self.shared.turns.fetch_add(1, Ordering::Relaxed);
            let mut group = Vec::new();
            beat.ends();
            let next = self.gather(&mut group);
            beat.begins();
            if !group.is_empty() {
                self.commit(&group);
                self.stalled = false;
            }
            self.upkeep();
            match next {
                Next::Go => {}
                Next::Close => return self.finish(true),
                Next::Abandoned => return self.finish(false),
            }
        }
    }

    /// Takes what is queued, up to the limits of one commit; waits only if there is nothing else to
    /// do.
    fn gather(&mut self, group: &mut Vec<Write>) -> Next {
        let mut bytes = 0;
        let busy = self.log.busy() || self.authors.waiting() || !self.suspects.is_empty();
        let idle = self.stalled || !busy;
        if idle {
            match self.queue.recv() {
                Ok(command) => {
                    self.stalled = false;
                    if let Some(next) = self.take(command, group, &mut bytes) {
                        return next;
                    }
                }
                Err(_) => return Next::Abandoned,
            }
        }
        for _ in 0..4 * GROUP {
            if group.len() >= GROUP || bytes >= GROUP_BYTES {
                break;
            }
            match self.queue.try_recv() {
                Ok(command) => {
                    if let Some(next) = self.take(command, group, &mut bytes) {
                        return next;
                    }
                }
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return Next::Abandoned,
            }
        }
        Next::Go
    }

    fn take(
        &mut self,
        command: Command,
        group: &mut Vec<Write>,
        bytes: &mut usize,
    ) -> Option<Next> {
        match command {
            Command::Write { token, record, durability } => {
                if let Record::Batch(stored) = &record {
                    *bytes += stored.batch.body.len();
                }
                let synced = durability == Durability::Synced;
                group.push(Write { token, record, synced });
            }
            Command::Log { token, rejection } => self.log.push(token, rejection),
            Command::Overflow { token, line } => self.log.push_overflow(token, line),
            Command::Doubt(suspect) => {
                if self.suspects.len() < MAX_SUSPECTS {
                    self.suspects.insert(suspect);
                }
            }
            Command::ClockStepped(ahead) => {
                if let Err(error) = schema::put_meta(&self.db, "ahead", &ahead.to_string()) {
                    self.failed("the clock step", 1, &error);
                }
            }
            Command::Close => return Some(Next::Close),
            #[cfg(test)]
            Command::MaxPages(pages) => {
                self.db.pragma_update(None, "max_page_count", pages).expect("a pragma");
            }
        }
        None
    }

    /// Commits a group in one transaction, then answers.
    fn commit(&mut self, group: &[Write]) {
        let synced = group.iter().any(|write| write.synced);
        if self.is_lost() {
            return self.refuse(group);
        }
        let written = self.set_full(synced).and_then(|()| self.write_group(group));
        match written {
            Ok(_) if self.is_lost() => self.refuse(group), // the file was removed meanwhile
            Ok(kept) => {
                if let Some(failures) = self.health.wrote(Ok(())) {
                    tracing::info!(path = %self.path.display(), failures, "writing works again");
                }
                let told =
                    |write: &Write| matches!(write.record, Record::Batch(_) | Record::Holes { .. });
                if group.iter().any(told) {
                    self.commits.send_modify(|count| *count += 1);
                }
                for (write, kept) in group.iter().zip(kept) {
                    self.shared.answer(outcome(write.token, kept));
                }
            }
            Err(error) => {
                self.failed("records", group.len(), &error);
                self.refuse(group);
            }
        }
    }

    fn refuse(&self, group: &[Write]) {
        group.iter().for_each(|write| self.shared.answer(outcome(write.token, false)));
    }

    /// Whether the files were removed or replaced, so that what is written would be missing at the
    /// next start.
    fn is_lost(&mut self) -> bool {
        let Some(path) = self.health.lost() else { return false };
        if self.failures.add("lost", 1, Instant::now()).is_some() {
            let path = path.display();
            tracing::error!(
                %path,
                "the file was removed or replaced: nothing is stored any more; restart the node"
            );
        }
        true
    }

    fn write_group(&mut self, group: &[Write]) -> rusqlite::Result<Vec<bool>> {
        let body = |write: &Write| match &write.record {
            Record::Batch(stored) => stored.batch.body.len(),
            _ => 0,
        };
        let kept = self.transact(|tx, authors| {
            group.iter().map(|write| put::record(tx, authors, &write.record)).collect()
        })?;
        self.unmerged += group.iter().map(|write| ROW_COST + body(write)).sum::<usize>();
        Ok(kept)
    }

    /// One transaction, with the changes to authors.
    fn transact<T>(
        &mut self,
        work: impl FnOnce(&Connection, &mut Authors) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let tx = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let done = work(&tx, &mut self.authors)?;
        self.authors.save(&tx)?;
        tx.commit()?;
        self.unmerged += COMMIT_COST;
        Ok(done)
    }

    /// One bounded step of less urgent work.
    fn upkeep(&mut self) {
        if self.stalled {
            return;
        }
        if self.log.busy() {
            self.write_log();
        }
        if let Some(suspect) = self.suspects.pop_first()
            && let Err(error) = self.set_full(false).and_then(|()| self.examine(suspect))
        {
            // The next read of the row reports it again.
            self.failed("the quarantine of a damaged row", 1, &error);
        }
        if self.authors.waiting()
            && let Err(error) = self.set_full(false).and_then(|()| self.prune())
        {
            self.failed("pruning", 1, &error);
            self.stalled = true;
        }
        if self.unmerged > CHECKPOINT {
            self.unmerged = 0;
            // A passive checkpoint waits for nobody. If a reader is in the way, a later one does
            // the work.
            let merged = self.db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
            if let Err(error) = merged
                && let Some(times) = self.failures.add("checkpoint", 1, Instant::now())
            {
                tracing::warn!(path = %self.path.display(), %error, times, "checkpoint failed");
            }
        }
    }

    fn write_log(&mut self) {
        let batch = self.log.take();
        let result = self.set_full(false).and_then(|()| {
            let tx = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let span = self.log.write(&tx, &batch.lines)?;
            tx.commit()?;
            Ok(span)
        });
        let frames = batch.lines.iter().filter_map(|line| line.bytes.as_deref());
        self.unmerged +=
            COMMIT_COST + batch.lines.len() * ROW_COST + frames.map(<[u8]>::len).sum::<usize>();
        self.shared.logged.fetch_sub(batch.counted, Ordering::Relaxed);
        let kept = match result {
            Ok(span) => {
                self.log.committed(span);
                self.commits.send_modify(|count| *count += 1);
                true
            }
            Err(error) => {
                self.failed("rows of the rejection log", batch.lines.len(), &error);
                self.stalled = !self.log.waiting();
                false
            }
        };
        for token in batch.tokens {
            self.shared.answer(outcome(token, kept));
        }
    }

    /// Examines a row or slot that a reader found damaged.
    fn examine(&mut self, suspect: Suspect) -> rusqlite::Result<()> {
        let network = self.network;
        let damage =
            self.transact(|tx, authors| quarantine::examine(tx, authors, &network, suspect))?;
        if let Some(damage) = damage {
            report(&self.path, &damage, &self.quarantined);
            damage.input().into_iter().for_each(|input| self.shared.tell(input));
        }
        Ok(())
    }

    fn prune(&mut self) -> rusqlite::Result<()> {
        let pruned = self.transact(|tx, authors| {
            let pruned = authors.prune(tx)?;
            if let Some(Pruned { key, number, floor, risen: true }) = &pruned {
                holes::pass(tx, authors, key, *number, *floor)?;
            }
            Ok(pruned)
        })?;
        if let Some(Pruned { key: author, floor, .. }) = pruned {
            self.commits.send_modify(|count| *count += 1); // readers may find new gaps
            self.shared.tell(Input::Pruned { author, floor: floor.unsigned_abs() });
        }
        Ok(())
    }

    /// Logs a failure. The transaction was rolled back, so the authors are read again from disk.
    fn failed(&mut self, what: &'static str, count: usize, error: &rusqlite::Error) {
        self.health.wrote(Err(error.to_string()));
        if let Some(times) = self.failures.add(what, 1, Instant::now()) {
            let path = self.path.display();
            tracing::error!(%path, %error, count, times, "{what} could not be written");
        }
        if let Err(error) = self.authors.reload(&self.db)
            && let Some(times) = self.failures.add("authors", 1, Instant::now())
        {
            let path = self.path.display();
            tracing::error!(%path, %error, times, "cannot read the table authors");
        }
    }

    /// Sets whether commits are synced (FULL) or survive only the death of the process (NORMAL).
    fn set_full(&mut self, full: bool) -> rusqlite::Result<()> {
        if self.full != full {
            self.db.pragma_update(None, "synchronous", if full { "FULL" } else { "NORMAL" })?;
            self.full = full;
        }
        Ok(())
    }

    /// Writes the rest of the rejection log, and marks the end as clean if `clean`.
    fn finish(mut self, clean: bool) {
        while self.log.waiting() {
            self.write_log();
        }
        if clean {
            let marked = self.set_full(true).and_then(|()| {
                schema::put_meta(&self.db, "clean", "1")?;
                self.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            });
            if let Err(error) = marked {
                tracing::warn!(path = %self.path.display(), %error, "cannot mark the end as clean");
            }
        }
        self.db.flush_prepared_statement_cache();
        if let Err((_, error)) = self.db.close() {
            tracing::warn!(path = %self.path.display(), %error, "cannot close the database");
        }
    }
}

/// Counts a row that was set aside, and logs it: the first as an error, later ones at debug level,
/// as a failing disk should not fill the log.
pub(super) fn report(path: &Path, damage: &Damage, quarantined: &AtomicU64) {
    let (row, seq) = (damage.row, damage.seq);
    let before = match row {
        Some(_) => quarantined.fetch_add(1, Ordering::Relaxed),
        None => quarantined.load(Ordering::Relaxed),
    };
    let (path, author) = (path.display(), damage.author.map(|key| key.to_string()));
    if before == 0 {
        tracing::error!(
            %path, row, author, seq,
            "a damaged row was moved to the table quarantine and will be fetched again; check the \
             disk"
        );
    } else {
        tracing::debug!(%path, row, author, seq, "another damaged row");
    }
}

fn outcome(token: Token, kept: bool) -> Input {
    if kept { Input::Written { token } } else { Input::WriteFailed { token } }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::testing::{Bench, batch, entry, identity, network, rejection, stored};
    use crate::protocol::{Durability, Reason, Record};

    #[test]
    fn a_full_disk_fails_what_it_holds_up_and_nothing_else() {
        let (dir, net) = (tempfile::tempdir().expect("a folder"), network(3));
        let bench = Bench::open(dir.path(), &net);
        let of = |seq, size| stored(batch(&net, 1, seq, &[entry("", vec![1; size])]), None);
        assert!(bench.put_batch(&of(1, 10)));
        bench.store.limit_pages(1); // SQLite takes the present size if that is more
        assert!(!bench.put_batch(&of(2, 100_000)));
        assert!(!bench.put_batch(&of(3, 10)), "the chain has no second slot");
        let long = crate::protocol::Rejection {
            topic: Some("x".repeat(100_000)),
            ..rejection(Reason::Malformed, 2, 1, 1)
        };
        assert!(!bench.put_rejection(long));
        assert_eq!(bench.get(1, 1, None), Some(of(1, 10)));
        assert_eq!(bench.get(1, 2, None), None);
        bench.store.limit_pages(1 << 20);
        assert!(bench.put_batch(&of(2, 100_000)));
        assert!(bench.put_rejection(rejection(Reason::Malformed, 2, 1, 1)));
        bench.store.close();
        let bench = Bench::open(dir.path(), &net);
        assert_eq!(bench.get(1, 2, None), Some(of(2, 100_000)));
        assert_eq!(bench.restored.lanes.len(), 1);
        assert_eq!(bench.restored.lanes[0].slots.len(), 2);
    }

    #[test]
    fn a_synced_write_of_what_is_known_syncs_what_lies_before_it() {
        let (dir, net) = (tempfile::tempdir().expect("a folder"), network(3));
        let bench = Bench::open(dir.path(), &net);
        let one = stored(batch(&net, 2, 1, &[entry("", b"x")]), Some(2));
        assert!(bench.put(Record::Batch(one.clone()), Durability::Lazy));
        // SQLite syncs its log at the end of a commit that wrote to it, and only then.
        let log = || std::fs::metadata(dir.path().join("node.sqlite-wal")).expect("there").len();
        for _ in 0..3 {
            let before = log();
            assert!(bench.put(Record::Batch(one.clone()), Durability::Synced));
            assert!(log() > before, "nothing was written, so nothing was synced");
        }
    }

    #[test]
    fn a_synced_write_heals_a_lazy_one_that_found_no_room() {
        let (dir, net) = (tempfile::tempdir().expect("a folder"), network(3));
        let bench = Bench::open(dir.path(), &net);
        let one = stored(batch(&net, 2, 1, &[entry("", [1; 100_000])]), Some(2));
        bench.store.limit_pages(1);
        assert!(!bench.put(Record::Batch(one.clone()), Durability::Lazy));
        assert!(!bench.put(Record::Batch(one.clone()), Durability::Synced), "still no room");
        bench.store.limit_pages(1 << 20);
        assert!(bench.put(Record::Batch(one.clone()), Durability::Synced));
        let copy = super::super::testing::killed(dir.path());
        assert_eq!(Bench::open(copy.path(), &net).get(2, 1, None), Some(one));
    }

    #[test]
    fn commits_are_counted_and_the_queue_empties() {
        let (dir, net) = (tempfile::tempdir().expect("a folder"), network(3));
        let bench = Bench::open(dir.path(), &net);
        let mut commits = bench.store.commits();
        assert_eq!(*commits.borrow_and_update(), 0);
        assert!(bench.put_batch(&stored(batch(&net, 2, 1, &[entry("", b"")]), Some(2))));
        assert!(commits.has_changed().expect("open"));
        commits.mark_unchanged();
        assert!(bench.put_rejection(rejection(Reason::Replayed, 2, 1, 1)));
        assert!(commits.has_changed().expect("open"));
        assert_eq!(bench.store.queue_len(), 0);
    }

    #[test]
    fn the_idle_writer_sleeps() {
        let (dir, net) = (tempfile::tempdir().expect("a folder"), network(3));
        // Over its limits in every way, with nothing that could be done about it.
        let options = super::super::Options { max_bytes: 0, max_rejections: 1 };
        let bench = Bench::try_open(dir.path(), &net, options).expect("opens");
        for seq in 1..=3 {
            assert!(bench.put_batch(&stored(batch(&net, 2, seq, &[entry("", b"x")]), Some(2))));
            assert!(bench.put_rejection(rejection(Reason::Replayed, 2, seq, 1)));
        }
        bench.settle();
        let turns = bench.store.turns();
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(bench.store.turns(), turns);
        assert_eq!(bench.store.queue_len(), 0);
        assert_eq!(
            bench.get(2, 3, None).expect("the newest stays").from,
            Some(identity(2).public())
        );
        assert_eq!(bench.get(2, 2, None), None);
    }
}
