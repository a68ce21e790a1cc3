//! The lock on a data directory: one host writes there at a time.
//!
//! The operating system's own file lock is used because it goes away with the process however that
//! ends; a file that merely exists would have to be removed by hand after a crash. The holder's
//! process id is written into the file for people only.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::Path;

use crate::OpenError;

const LOCK_FILE: &str = "aop.lock";

/// What of the lock file is read for the holder's process id; a longer one was not written by us.
const HOLDER_MAX_BYTES: u64 = 20;

/// Holds the data directory until it drops.
#[derive(Debug)]
pub(crate) struct DataDirectoryLock {
    _file: File,
}

impl DataDirectoryLock {
    /// Takes the lock, without waiting for it.
    pub(crate) fn take(directory: &Path) -> Result<Self, OpenError> {
        let path = directory.join(LOCK_FILE);
        let io = |source| OpenError::Io { path: path.clone(), source };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(OpenError::Locked {
                    directory: directory.to_owned(),
                    holder: holder(&mut file),
                });
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        file.set_len(0).map_err(io)?;
        write!(file, "{}", std::process::id()).map_err(io)?;
        Ok(Self { _file: file })
    }
}

fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.take(HOLDER_MAX_BYTES).read_to_string(&mut text);
    match (read, text.parse::<u32>()) {
        (Ok(_), Ok(pid)) => format!("process {pid}"),
        _ => "another process".to_owned(),
    }
}
