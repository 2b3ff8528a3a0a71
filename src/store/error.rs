//! Why a store cannot be opened or asked.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;
use thiserror::Error;

/// Why a store cannot be opened or asked. Each names the file or folder, and the way out if there
/// is one.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The folder or a file in it cannot be used.
    #[error("cannot use {}: {error}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Something else is where the folder should be.
    #[error("the data folder {} is a file; give a folder, or a name that is free", path.display())]
    NoFolder {
        /// What is there.
        path: PathBuf,
    },
    /// Another process has the folder.
    #[error(
        "the data folder {} is in use by another loyal process; stop that one, or choose another folder",
        dir.display()
    )]
    Locked {
        /// Which folder.
        dir: PathBuf,
    },
    /// Another program has locked the database, or every connection is taken for too long.
    #[error("{} is locked by another program; close that and try again", path.display())]
    Busy {
        /// The database.
        path: PathBuf,
    },
    /// There is no database.
    #[error("there is no {}; no node has kept its data in that folder", path.display())]
    Missing {
        /// The database.
        path: PathBuf,
    },
    /// It belongs to another network.
    #[error(
        "{} belongs to network {found}, not to {wanted}; choose another data folder", path.display()
    )]
    OtherNetwork {
        /// The database.
        path: PathBuf,
        /// The network that it belongs to.
        found: String,
        /// The network asked for.
        wanted: String,
    },
    /// It belongs to a node with another key.
    #[error(
        "{} belongs to the node with key {found}, not to {wanted}; choose another data folder or key",
        path.display()
    )]
    OtherKey {
        /// The database.
        path: PathBuf,
        /// The key that it belongs to.
        found: String,
        /// The key asked for.
        wanted: String,
    },
    /// A newer program wrote it.
    #[error(
        "{} has format {found}, and this program reads up to {known}; use the newer program",
        path.display()
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The newest format known.
        known: i64,
    },
    /// An older program wrote it, whose statements this one cannot check.
    #[error(
        "{} has format {found}, of an older version, and this program reads format {known}; start with a new data folder, or use the older program", path.display()
    )]
    Older {
        /// The database.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The format known.
        known: i64,
    },
    /// It is no database, or not one of ours, or damaged. It was left as it is.
    #[error(
        "{} cannot be used and was left as it is: {why}; move it away or restore a copy",
        path.display()
    )]
    Corrupt {
        /// The database.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// No room.
    #[error("no room to write {}; free some space", path.display())]
    Full {
        /// The database.
        path: PathBuf,
    },
    /// SQLite failed in another way.
    #[error("{}: {error}", path.display())]
    Sqlite {
        /// The database.
        path: PathBuf,
        /// How.
        error: rusqlite::Error,
    },
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    pub(super) fn io(path: &Path, error: io::Error) -> Self {
        Self::Io { path: path.to_owned(), error }
    }

    pub(super) fn corrupt(path: &Path, why: impl Into<String>) -> Self {
        Self::Corrupt { path: path.to_owned(), why: why.into() }
    }

    /// What a failure of SQLite means for whoever has to mend it.
    pub(super) fn sqlite(path: &Path, error: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy { path },
            // SQLite's plain error: our statements are fixed, so a table or a column is missing.
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown) => {
                Self::Corrupt { path, why: error.to_string() }
            }
            Some(ErrorCode::DiskFull) => Self::Full { path },
            Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
                Self::Io {
                    path,
                    error: io::Error::new(io::ErrorKind::PermissionDenied, error.to_string()),
                }
            }
            Some(_) => Self::Sqlite { path, error },
            // A row that does not hold what it must, or a table that is not there.
            None => match error {
                rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::InvalidColumnType(..)
                | rusqlite::Error::IntegralValueOutOfRange(..)
                | rusqlite::Error::QueryReturnedNoRows => {
                    Self::Corrupt { path, why: error.to_string() }
                }
                error => Self::Sqlite { path, error },
            },
        }
    }
}
