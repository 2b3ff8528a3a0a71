//! Whether a store works, as seen from other threads.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::schema;
use crate::diagnostics::{Folds, Pulse};

/// A commit or read that takes longer is stuck: ten times what a slow disk takes.
const STUCK: Duration = Duration::from_secs(10);

/// A success counts as recovery only this long after the last failure: where one page is damaged,
/// some reads fail and others do not.
const CALM: Duration = Duration::from_secs(10);
/// A failure this long ago is no longer reported: nothing may have been written or read since.
const STALE: Duration = Duration::from_secs(60);

/// A view of a store's threads and files. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Health {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    writer: Pulse,
    reader: Pulse,
    writes: Mutex<Outcomes>,
    reads: Mutex<Outcomes>,
    /// The files that are written, and the device and inode of each when it was opened.
    files: Vec<(PathBuf, (u64, u64))>,
}

/// Outcomes of writes, or of reads.
#[derive(Debug, Default)]
struct Outcomes {
    /// Time and cause of the last failure; `None` once a success has ended it.
    failed: Option<(Instant, String)>,
    count: u64,
    /// Folds the log lines about failures (`true`) and recoveries (`false`).
    said: Folds<bool>,
}

impl Outcomes {
    /// Counts a failure; returns the number that a log line must now report, if one is due.
    fn failed(&mut self, why: String, now: Instant) -> Option<u64> {
        self.failed = Some((now, why));
        self.count = self.count.saturating_add(1);
        self.said.add(true, 1, now)
    }

    /// Cause of the last failure, unless it is older than [`STALE`].
    fn why(&self, now: Instant) -> Option<&str> {
        let (at, why) = self.failed.as_ref()?;
        (now.saturating_duration_since(*at) < STALE).then_some(why)
    }

    /// Notes a success; returns the number of failures before it if they are over and a log line is
    /// due.
    fn good(&mut self, now: Instant) -> Option<u64> {
        let (at, _) = self.failed.as_ref()?;
        if now.saturating_duration_since(*at) < CALM {
            return None;
        }
        self.failed = None;
        let count = std::mem::take(&mut self.count);
        self.said.add(false, 1, now).map(|_| count)
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::metadata(path).map(|meta| (meta.dev(), meta.ino()))
}

impl Health {
    /// Health of the open database at this path.
    pub(super) fn of(database: &Path) -> io::Result<Self> {
        let files = [database.to_owned(), schema::wal(database)];
        // The write-ahead log exists once something was written.
        let held = files.into_iter().filter(|path| path.exists());
        let held = held.map(|path| identity(&path).map(|identity| (path, identity)));
        let files = held.collect::<io::Result<_>>()?;
        let (writer, reader) = (Pulse::default(), Pulse::default());
        let (writes, reads) = (Mutex::default(), Mutex::default());
        Ok(Self { inner: Arc::new(Inner { writer, reader, writes, reads, files }) })
    }

    pub(super) fn writer(&self) -> &Pulse {
        &self.inner.writer
    }

    pub(super) fn reader(&self) -> &Pulse {
        &self.inner.reader
    }

    /// Notes the outcome of a commit; the caller logs failures. Returns how many failed before, if
    /// that is over and a log line is due.
    pub(super) fn wrote(&self, result: Result<(), String>) -> Option<u64> {
        let mut writes = self.inner.writes.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(()) => writes.good(Instant::now()),
            Err(why) => {
                writes.failed(why, Instant::now());
                None
            }
        }
    }

    /// Notes the outcome of a read and logs it. Lines are folded, because clients decide how often
    /// they read.
    pub(super) fn read(&self, result: Result<(), String>) {
        let mut reads = self.inner.reads.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(()) => {
                if let Some(failures) = reads.good(Instant::now()) {
                    tracing::info!(failures, "reading the database works again");
                }
            }
            Err(error) => {
                if let Some(times) = reads.failed(error.clone(), Instant::now()) {
                    tracing::error!(%error, times, "cannot read the database");
                }
            }
        }
    }

    /// The file that was removed, moved or replaced, if any: what is written now would be missing
    /// at the next start.
    pub(super) fn lost(&self) -> Option<&Path> {
        let moved = |(path, was): &&(PathBuf, (u64, u64))| identity(path).ok() != Some(*was);
        self.inner.files.iter().find(moved).map(|(path, _)| &**path)
    }

    /// What is wrong with the store, as text; `None` if nothing is. Looks at the disk.
    pub fn trouble(&self) -> Option<String> {
        let Inner { writer, reader, .. } = &*self.inner;
        for (name, pulse) in [("writes", writer), ("reads", reader)] {
            if pulse.is_gone() {
                return Some(format!("the thread that {name} the database has ended"));
            }
            let busy = pulse.busy_for();
            if busy >= STUCK {
                let seconds = busy.as_secs();
                return Some(format!(
                    "the thread that {name} the database has been stuck for {seconds} s"
                ));
            }
        }
        if let Some(path) = self.lost() {
            let path = path.display();
            return Some(format!("{path} was removed or replaced; restore it or restart the node"));
        }
        let Inner { writes, reads, .. } = &*self.inner;
        let why = |outcomes: &Mutex<Outcomes>| {
            let outcomes = outcomes.lock().unwrap_or_else(PoisonError::into_inner);
            outcomes.why(Instant::now()).map(str::to_owned)
        };
        let written = why(writes).map(|why| format!("the last write failed: {why}"));
        written.or_else(|| why(reads).map(|why| format!("cannot read the database: {why}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_go_and_come_back_are_noticed() {
        let dir = tempfile::tempdir().expect("a folder");
        let (path, away) = (dir.path().join("node.sqlite"), dir.path().join("away"));
        fs::write(&path, "x").expect("written");
        let health = Health::of(&path).expect("it is there");
        assert_eq!(health.trouble(), None);
        fs::rename(&path, &away).expect("moved");
        assert!(health.trouble().is_some_and(|text| text.contains("node.sqlite")));
        fs::write(&path, "x").expect("written");
        assert_eq!(health.lost(), Some(&*path), "another one is no better");
        fs::rename(&away, &path).expect("moved");
        assert_eq!(health.trouble(), None);
    }

    #[test]
    fn failures_are_noticed_until_all_is_well_for_a_while() {
        let dir = tempfile::tempdir().expect("a folder");
        let health = Health::of(&dir.path().join("none")).expect("nothing to look at");
        health.read(Err("no page".into()));
        health.read(Ok(()));
        assert!(
            health.trouble().is_some_and(|why| why.ends_with("cannot read the database: no page"))
        );
        assert_eq!(health.wrote(Err("full".into())), None);
        assert!(health.trouble().is_some_and(|why| why.ends_with("write failed: full")));
        let (mut outcomes, now) = (Outcomes::default(), Instant::now());
        let lines = (0..100).filter(|_| outcomes.failed("no page".into(), now).is_some());
        assert_eq!(lines.count(), 1, "whoever asks does not decide how much is logged");
        assert_eq!((outcomes.good(now), outcomes.why(now)), (None, Some("no page")));
        assert_eq!(outcomes.why(now + STALE), None, "nobody may have asked since");
        assert_eq!((outcomes.good(now + CALM), outcomes.failed), (Some(100), None));
    }

    #[test]
    fn threads_that_end_are_noticed() {
        let dir = tempfile::tempdir().expect("a folder");
        let health = Health::of(&dir.path().join("none")).expect("nothing to look at");
        drop(health.reader().beat());
        assert!(health.trouble().is_some_and(|text| text.contains("reads")));
        drop(health.writer().beat());
        assert!(health.trouble().is_some_and(|text| text.contains("writes")));
    }
}
