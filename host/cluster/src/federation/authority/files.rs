//! The files of a zone, and what is read of them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use aop_core::Digest;
use serde::{Deserialize, Serialize};

use super::{AuthorityError, Presence, State, apex};
use crate::durable;
use crate::federation::book::Book;
use crate::federation::key;
use crate::federation::record::Apex;

/// Names, sizes and times of files.
pub(super) type Fingerprint = Vec<(PathBuf, u64, Option<SystemTime>)>;

/// Where a zone's files are, below the data directory.
#[derive(Debug, Clone)]
pub struct ZoneFiles {
    directory: PathBuf,
}

impl ZoneFiles {
    /// The files below a data directory.
    #[must_use]
    pub fn new(data: &Path) -> Self {
        Self { directory: data.join("zone") }
    }

    /// The directory of keys.
    #[must_use]
    pub fn keys(&self) -> PathBuf {
        self.directory.join("keys")
    }

    /// The other zones.
    #[must_use]
    pub fn book(&self) -> PathBuf {
        self.directory.join("peers.json")
    }

    fn serial(&self) -> PathBuf {
        self.directory.join("serial.json")
    }

    /// What tells that something changed: names, sizes and times.
    pub(super) fn fingerprint(&self) -> Fingerprint {
        let keys = fs::read_dir(self.keys()).into_iter().flatten().flatten();
        let mut paths: Vec<_> = keys.map(|entry| entry.path()).chain([self.book()]).collect();
        paths.sort();
        let about = |path: PathBuf| {
            let metadata = fs::metadata(&path).ok();
            let modified = metadata.as_ref().and_then(|metadata| metadata.modified().ok());
            (path, metadata.map_or(0, |metadata| metadata.len()), modified)
        };
        paths.into_iter().map(about).collect()
    }
}

/// What the serial was, and of what.
#[derive(Serialize, Deserialize)]
struct Serial {
    serial: u64,
    of: Digest,
}

/// Reads the keys and the book, and gives the zone's word a serial.
///
/// # Errors
/// [`AuthorityError`].
pub(super) fn read(
    presence: &Presence,
    files: &ZoneFiles,
    now: u64,
) -> Result<State, AuthorityError> {
    let keys: Vec<_> = key::read(&files.keys())?.into_iter().map(|file| file.key).collect();
    if keys.is_empty() {
        return Err(AuthorityError::NoKey);
    }
    let mut state = State::new(presence, keys, Book::read(&files.book())?, 0);
    state.serial = serial(presence, &state, files, now)?;
    Ok(state)
}

/// The serial of what the zone says now: the old one, or a higher one when it changed.
fn serial(
    presence: &Presence,
    state: &State,
    files: &ZoneFiles,
    now: u64,
) -> Result<u64, AuthorityError> {
    let path = files.serial();
    let failed = |error: &dyn std::fmt::Display| {
        AuthorityError::Serial(format!("{}: {error}", path.display()))
    };
    let said = Apex { iat: 0, exp: 0, ..apex(presence, state, 0) };
    let of = Digest::of(&serde_json::to_vec(&said).map_err(|error| failed(&error))?);
    let old: Option<Serial> = match fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text).ok(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(failed(&error)),
    };
    match old {
        Some(old) if old.of == of => return Ok(old.serial),
        _ => {}
    }
    // Time makes a zone whose serial was lost higher than it was.
    let serial = old.map_or(0, |old| old.serial.saturating_add(1)).max(now);
    let text = serde_json::to_vec(&Serial { serial, of }).map_err(|error| failed(&error))?;
    durable::write(&path, &text).map_err(|error| failed(&error))?;
    Ok(serial)
}
