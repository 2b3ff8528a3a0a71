//! Why a mesh could not be made or run.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why a mesh could not be made or run. Each names what to do about it.
#[derive(Debug, Error)]
pub enum MeshError {
    /// A file or folder.
    #[error("cannot {what} {}: {error}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// There is a network file already.
    #[error("{} is there already, and never overwritten; give another folder with --dir", .0.display())]
    Exists(PathBuf),
    /// There is no mesh file.
    #[error("there is no {}; give the folder of a mesh, as in --dir of `mesh up`", .0.display())]
    NoMesh(PathBuf),
    /// The folder has something in it.
    #[error("{} is not empty; give an empty or new folder with --dir", .0.display())]
    NotEmpty(PathBuf),
    /// A file that is not what it should be.
    #[error("{} is not a {what}: {why}", path.display())]
    Malformed {
        /// Which.
        path: PathBuf,
        /// What it should be.
        what: &'static str,
        /// Why it is not.
        why: String,
    },
    /// A key could not be made or written.
    #[error("cannot make a key: {0}")]
    Key(String),
    /// The network makes no sense.
    #[error("cannot make the network: {0}")]
    Network(String),
    /// Every address is taken.
    #[error("no free addresses in 127.0.0.0/8 with ports {gossip} and {api}; what holds them?")]
    NoAddress {
        /// The port for links.
        gossip: u16,
        /// The port for HTTP.
        api: u16,
    },
    /// A child could not be started.
    #[error("cannot start {name}: {error}")]
    Spawn {
        /// Its name.
        name: String,
        /// Why not.
        error: io::Error,
    },
    /// A child died.
    #[error("{name} died ({status}); the end of {}:\n{tail}", log.display())]
    Died {
        /// Its name.
        name: String,
        /// Its exit status.
        status: String,
        /// Its log.
        log: PathBuf,
        /// The last lines of it.
        tail: String,
    },
    /// A run was to stop, and nodes did not tell in time what they had seen.
    #[error("nodes did not tell within {0:?} what they had seen: there is no report")]
    Interrupted(std::time::Duration),
    /// The wall clock was set while nodes began to tell time by it.
    #[error(
        "the clock was set by {seconds:.1} s before all nodes were started: they tell other times \
         than this run, and nothing measured would be right; start it again"
    )]
    ClockSet {
        /// By how much, whatever the direction.
        seconds: f64,
    },
    /// Honest nodes did not get linked.
    #[error("not linked after {seconds} s: {}; {why}", names.join(", "))]
    NotReady {
        /// Who.
        names: Vec<String>,
        /// How long it was waited.
        seconds: u64,
        /// What one of them logged, or that none of them did.
        why: String,
    },
    /// The HTTP interface of a node did not answer as it must.
    #[error("{name}: {why}")]
    Node {
        /// Its name.
        name: String,
        /// What happened.
        why: String,
    },
}

impl MeshError {
    /// Whether nodes ran, so that their logs may say more.
    pub fn has_logs(&self) -> bool {
        matches!(self, Self::Died { .. } | Self::NotReady { .. } | Self::Node { .. })
    }

    /// For `map_err` after a file operation.
    pub(super) fn file(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::File { what, path: path.to_owned(), error }
    }
}
