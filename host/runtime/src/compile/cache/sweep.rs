//! Keeps the cache's directory within its bound, and free of what crashed processes left.
//!
//! Several processes share a cache: one host per stdio client, and every `aop run`. So nothing here
//! trusts what this process remembers. Each use of an entry renews the time of its interface file,
//! the longest unused entries go first, and a temporary file is locked for as long as somebody works
//! with it. Removing the code of a running agent is harmless: what is mapped outlives its name.

use std::collections::HashMap;
use std::fs::{self, DirEntry, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

pub(super) const CODE: &str = "cwasm";
pub(super) const INTERFACE: &str = "interface";
/// How the names of temporary files begin: of code and of interfaces that are being written, of the
/// key, and of components that a command compiles without a host.
const TEMPORARY: [&str; 4] = ["compiling-", "sealing-", "key-", "preparing-"];

/// A temporary file that nobody has locked is left over once it is this old. It is locked right after
/// it is made; the minute covers the moment in between.
pub(super) const ABANDONED_AFTER: Duration = Duration::from_secs(60);

/// A sweep leaves this part of the bound free, so that not every new entry needs another one: it
/// looks at every file.
const ROOM_FRACTION: u64 = 16;

/// What may be written after a sweep before the next one is due.
pub(super) const fn room(bytes_max: u64) -> u64 {
    bytes_max / ROOM_FRACTION
}

/// One compiled component, of whichever engine version.
struct Stored {
    bytes: u64,
    used: SystemTime,
}

/// Removes what was left over, and the longest unused entries beyond the bound, but never `spared`
/// (the path of an entry without its extension). How many bytes are left.
pub(super) fn sweep(root: &Path, bytes_max: u64, spared: Option<&Path>) -> io::Result<u64> {
    let mut entries = HashMap::new();
    collect(root, &mut entries)?;
    for directory in fs::read_dir(root)?.flatten() {
        if directory.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&directory.path(), &mut entries)?;
        }
    }
    let mut total: u64 = entries.values().map(|entry: &Stored| entry.bytes).sum();
    if total <= bytes_max {
        return Ok(total);
    }
    let mut oldest: Vec<_> =
        entries.into_iter().filter(|(path, _)| spared != Some(path.as_path())).collect();
    oldest.sort_by_key(|(_, entry)| entry.used);
    let target = bytes_max - room(bytes_max);
    let mut removed = 0_u32;
    for (path, entry) in oldest {
        if total <= target {
            break;
        }
        // The interface first: code without it is no entry, and nobody would map it half-gone.
        for extension in [INTERFACE, CODE] {
            remove(&path.with_extension(extension))?;
        }
        total -= entry.bytes;
        removed += 1;
    }
    tracing::info!(
        removed,
        bytes_max,
        "removed compiled components that were unused for longest: `runtime.cache_max` keeps more"
    );
    Ok(total)
}

/// Adds up the entries of one directory and removes what was left over in it.
fn collect(directory: &Path, entries: &mut HashMap<PathBuf, Stored>) -> io::Result<()> {
    for file in fs::read_dir(directory)?.flatten() {
        let path = file.path();
        let name = file.file_name();
        let is_temporary =
            name.to_str().is_some_and(|name| TEMPORARY.iter().any(|t| name.starts_with(t)));
        let extension = path.extension().and_then(|extension| extension.to_str());
        match extension {
            _ if is_temporary => remove_if_abandoned(&file, &path)?,
            Some(CODE | INTERFACE) => {
                // Another process may remove it at any time.
                let Ok(metadata) = file.metadata() else { continue };
                let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                let entry = entries
                    .entry(path.with_extension(""))
                    .or_insert(Stored { bytes: 0, used: modified });
                entry.bytes += metadata.len();
                // The interface's time is the newer one, since it is the one that is renewed.
                entry.used = entry.used.max(modified);
            }
            _ => {}
        }
    }
    Ok(())
}

fn remove_if_abandoned(file: &DirEntry, path: &Path) -> io::Result<()> {
    let age = file.metadata().and_then(|metadata| metadata.modified()).map(|at| at.elapsed());
    let is_old = matches!(age, Ok(Ok(age)) if age >= ABANDONED_AFTER);
    if is_old && File::open(path).is_ok_and(|file| file.try_lock().is_ok()) {
        remove(path)?;
    }
    Ok(())
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
