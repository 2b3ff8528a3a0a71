//! Errors of the store.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;
use thiserror::Error;

/// Why a store cannot be opened or queried. Each error names the file or folder, and a remedy if
/// there is one.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The folder or a file in it cannot be used.
    #[error("cannot use {}: {error}", path.display())]
    Io {
        /// What it was tried on.
        path: PathBuf,
        /// The operating system's error.
        error: io::Error,
    },
    /// The path of the data folder is not a folder.
    #[error("the data folder {} is a file; give a folder or an unused name", path.display())]
    NoFolder {
        /// Path of what is there instead.
        path: PathBuf,
    },
    /// Another process has locked the folder.
    #[error(
        "the data folder {} is in use by another loyal process; stop that process or choose \
         another folder",
        dir.display()
    )]
    Locked {
        /// Path of the data folder.
        dir: PathBuf,
    },
    /// Another program has locked the database, or all connections stayed in use for too long.
    #[error("{} is locked by another program; close that program and try again", path.display())]
    Busy {
        /// Path of the database.
        path: PathBuf,
    },
    /// The folder holds no database.
    #[error("there is no {}; this is not the data folder of a node", path.display())]
    Missing {
        /// Path of the database.
        path: PathBuf,
    },
    /// The database belongs to another network.
    #[error(
        "{} belongs to network {found}, not {wanted}; choose another data folder",
        path.display()
    )]
    OtherNetwork {
        /// Path of the database.
        path: PathBuf,
        /// Id of the network that it belongs to.
        found: String,
        /// Id of the network that was asked for.
        wanted: String,
    },
    /// The database belongs to a node with another key.
    #[error(
        "{} belongs to the node with key {found}, not {wanted}; choose another data folder or key",
        path.display()
    )]
    OtherKey {
        /// Path of the database.
        path: PathBuf,
        /// The key that it belongs to.
        found: String,
        /// The key that was asked for.
        wanted: String,
    },
    /// A newer program wrote the database.
    #[error(
        "{} has format {found}, but this program reads formats up to {known}; use a newer program",
        path.display()
    )]
    Newer {
        /// Path of the database.
        path: PathBuf,
        /// Format of the database.
        found: i64,
        /// The format that this program reads.
        known: i64,
    },
    /// An older program wrote the database; this one cannot check its statements.
    #[error(
        "{} has format {found} of an older version, but this program reads format {known}; start \
         with a new data folder or use the older program",
        path.display()
    )]
    Older {
        /// Path of the database.
        path: PathBuf,
        /// Format of the database.
        found: i64,
        /// The format that this program reads.
        known: i64,
    },
    /// The file is not a database, not one of ours, or damaged. It was left unchanged.
    #[error(
        "{} cannot be used and was not changed: {why}; move it away or restore a backup",
        path.display()
    )]
    Corrupt {
        /// Path of the database.
        path: PathBuf,
        /// What is wrong with it, for the user.
        why: String,
    },
    /// There is no room on the disk.
    #[error("no space left to write {}; free some space", path.display())]
    Full {
        /// Path of the database.
        path: PathBuf,
    },
    /// SQLite failed in another way.
    #[error("{}: {error}", path.display())]
    Sqlite {
        /// Path of the database.
        path: PathBuf,
        /// The error of SQLite.
        error: rusqlite::Error,
    },
}

impl StoreError {
    pub(super) fn io(path: &Path, error: io::Error) -> Self {
        Self::Io { path: path.to_owned(), error }
    }

    pub(super) fn corrupt(path: &Path, why: impl Into<String>) -> Self {
        Self::Corrupt { path: path.to_owned(), why: why.into() }
    }

    /// Turns an error of SQLite into one that tells an operator what to do.
    pub(super) fn sqlite(path: &Path, error: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy { path },
            // `Unknown` is SQLite's generic error. Our statements are fixed, so a table or column
            // is missing.
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
            // A row holds a value of the wrong kind, or is missing.
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
