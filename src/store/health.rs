//! Whether a store does its work, seen from outside.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::schema;
use crate::diagnostics::Pulse;

/// One commit or read that takes longer is stuck: ten times what a slow disk takes.
const STUCK: Duration = Duration::from_secs(10);

/// A view of a store's threads and files. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Health {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    writer: Pulse,
    reader: Pulse,
    /// The files that are written, and what they were when they were opened: device and inode.
    files: Vec<(PathBuf, (u64, u64))>,
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::metadata(path).map(|meta| (meta.dev(), meta.ino()))
}

impl Health {
    /// Of the database at that path, which is open.
    pub(super) fn of(database: &Path) -> io::Result<Self> {
        let files = [database.to_owned(), schema::wal(database)];
        // The log is there as soon as something was written.
        let held = files.into_iter().filter(|path| path.exists());
        let held = held.map(|path| identity(&path).map(|identity| (path, identity)));
        let files = held.collect::<io::Result<_>>()?;
        let (writer, reader) = (Pulse::default(), Pulse::default());
        Ok(Self { inner: Arc::new(Inner { writer, reader, files }) })
    }

    pub(super) fn writer(&self) -> &Pulse {
        &self.inner.writer
    }

    pub(super) fn reader(&self) -> &Pulse {
        &self.inner.reader
    }

    /// The file that is not where it was any more: removed, moved or replaced, so that nothing
    /// that is written would be there at the next start.
    pub(super) fn lost(&self) -> Option<&Path> {
        let moved = |(path, was): &&(PathBuf, (u64, u64))| identity(path).ok() != Some(*was);
        self.inner.files.iter().find(moved).map(|(path, _)| &**path)
    }

    /// What keeps the store from its work, in words; `None` if nothing does. Looks at the disk.
    pub fn trouble(&self) -> Option<String> {
        let Inner { writer, reader, .. } = &*self.inner;
        for (name, pulse) in [("writes", writer), ("reads", reader)] {
            if pulse.is_gone() {
                return Some(format!("the thread that {name} the database has ended"));
            }
            let busy = pulse.busy_for();
            if busy >= STUCK {
                let seconds = busy.as_secs();
                return Some(format!("the thread that {name} the database hangs for {seconds} s"));
            }
        }
        let path = self.lost()?.display();
        Some(format!("{path} was removed or replaced; put it back, or restart the node"))
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
    fn threads_that_end_are_noticed() {
        let dir = tempfile::tempdir().expect("a folder");
        let health = Health::of(&dir.path().join("none")).expect("nothing to look at");
        drop(health.reader().beat());
        assert!(health.trouble().is_some_and(|text| text.contains("reads")));
        drop(health.writer().beat());
        assert!(health.trouble().is_some_and(|text| text.contains("writes")));
    }
}
