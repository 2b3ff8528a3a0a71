//! Why a mesh could not be created or run.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why a mesh could not be created or run. Where possible, the message says what to do about it.
#[derive(Debug, Error)]
pub enum MeshError {
    /// An operation on a file or folder failed.
    #[error("cannot {what} {}: {error}", path.display())]
    File {
        /// The operation, as a verb: `read`, `write`, ….
        what: &'static str,
        /// What it was tried on.
        path: PathBuf,
        /// The error of the operating system.
        error: io::Error,
    },
    /// The folder already has a network file.
    #[error("{} exists and is never overwritten; give another folder with --dir", .0.display())]
    Exists(PathBuf),
    /// The folder has no mesh file.
    #[error("there is no {}; give the folder of a mesh, as in --dir of `mesh up`", .0.display())]
    NoMesh(PathBuf),
    /// The folder is not empty.
    #[error("{} is not empty; give an empty or new folder with --dir", .0.display())]
    NotEmpty(PathBuf),
    /// A file does not have the expected format.
    #[error("{} is not a {what}: {why}", path.display())]
    Malformed {
        /// Path of the file.
        path: PathBuf,
        /// The expected kind of file.
        what: &'static str,
        /// Why it is not one.
        why: String,
    },
    /// A key could not be made or written.
    #[error("cannot make a key: {0}")]
    Key(String),
    /// The network could not be built from the keys and addresses.
    #[error("cannot make the network: {0}")]
    Network(String),
    /// No free block of addresses was found.
    #[error(
        "no free addresses in 127.0.0.0/8 with ports {gossip} and {api}; stop the programs that \
         use them"
    )]
    NoAddress {
        /// Port that every address needs for links.
        gossip: u16,
        /// Port that every address needs for HTTP.
        api: u16,
    },
    /// A node's process could not be started.
    #[error("cannot start {name}: {error}")]
    Spawn {
        /// Name in the network file.
        name: String,
        /// The error of the operating system.
        error: io::Error,
    },
    /// A node's process ended although nobody stopped it.
    #[error("{name} died ({status}); the end of {}:\n{tail}", log.display())]
    Died {
        /// Name in the network file.
        name: String,
        /// The exit status, in words.
        status: String,
        /// Path of its log file.
        log: PathBuf,
        /// The last lines of the log.
        tail: String,
    },
    /// The run was being stopped, and nodes did not report in time what they had seen.
    #[error("nodes did not report within {0:?} what they had seen: there is no report")]
    Interrupted(std::time::Duration),
    /// The wall clock was set while nodes were being started.
    #[error(
        "the clock was set by {seconds:.1} s before all nodes were started, so measured times \
         would be wrong; start the run again"
    )]
    ClockSet {
        /// The size of the step, in either direction.
        seconds: f64,
    },
    /// Honest nodes were not linked, or liars did not answer, in time.
    #[error("not linked after {seconds} s: {}; {why}", names.join(", "))]
    NotReady {
        /// The nodes that were late.
        names: Vec<String>,
        /// How long they were given.
        seconds: u64,
        /// What one of them logged, or that none of them logged anything.
        why: String,
    },
    /// A node's HTTP interface did not answer as it must.
    #[error("{name}: {why}")]
    Node {
        /// Name in the network file.
        name: String,
        /// What went wrong, for the user.
        why: String,
    },
}

impl MeshError {
    /// Whether nodes ran, so that their logs may say more.
    pub fn has_logs(&self) -> bool {
        matches!(self, Self::Died { .. } | Self::NotReady { .. } | Self::Node { .. })
    }

    /// Wraps an I/O error, for `map_err` after a file operation.
    pub(super) fn file(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::File { what, path: path.to_owned(), error }
    }
}
