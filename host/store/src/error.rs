//! Why a store cannot be opened, and what SQLite's own errors mean to an operator.

use std::io;
use std::path::PathBuf;

use aop_core::StoreError;
use rusqlite::ErrorCode;

/// Why the store of a data directory cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another host uses the directory.
    #[error(
        "the data directory {} is in use by {holder}: stop it, or give this host another directory with --data",
        directory.display()
    )]
    Locked {
        /// The data directory.
        directory: PathBuf,
        /// `process 1234`, as far as it is known.
        holder: String,
    },
    /// A newer release wrote the store.
    #[error(
        "{} has schema version {found}, but this release knows versions up to {supported}: start the newer release, or use another data directory",
        path.display()
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its schema version.
        found: u32,
        /// The newest schema version of this release.
        supported: u32,
    },
    /// The database is damaged.
    #[error(
        "{} is damaged ({reason}): restore it from a backup, or move it away to start empty (agents of the agents directories come back with new ids, agents loaded through the API are lost)",
        path.display()
    )]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What SQLite found.
        reason: String,
    },
    /// The file system refused.
    #[error("cannot use {}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// SQLite refused.
    #[error("cannot open {}: {reason}", path.display())]
    Refused {
        /// The database.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// Turns an error of SQLite while the store is in use into words that say what to do.
pub(crate) fn failed(error: &rusqlite::Error) -> StoreError {
    StoreError::Failed(describe(error))
}

/// Whether the file itself is broken, as opposed to this use of it.
pub(crate) fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// One sentence for an operator.
pub(crate) fn describe(error: &rusqlite::Error) -> String {
    let advice = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => {
            "the disk is full, or the store reached its size limit: free space below the data directory"
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            "the store's file is damaged: stop the host and restore aop.sqlite from a backup"
        }
        Some(ErrorCode::ReadOnly) => "the data directory is read-only: make it writable",
        Some(ErrorCode::SystemIoFailure) => "the disk failed: check it and the system log",
        Some(ErrorCode::CannotOpen) => "the store's file cannot be opened: check its permissions",
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "another program holds the store's file: close it"
        }
        _ => return error.to_string(),
    };
    format!("{advice} ({error})")
}
