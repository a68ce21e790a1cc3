//! What is at a path below a directory of a guest: opened, or looked at before it is moved.
//!
//! wasmtime-wasi opens whatever is at a path, and waits for it: a pipe until somebody writes there, a device for as
//! long as that takes, on a thread that no deadline ends. So paths are opened here, as wasmtime-wasi does it and never
//! waiting, and only files and directories are. Where the kernel has no `openat2`, wasmtime-wasi opens.

use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path};
use std::sync::Arc;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, openat, openat2, readlinkat};
use rustix::io::Errno;
use wasmtime_wasi::filesystem::{Descriptor, Dir, File as WasiFile, OpenMode};

use super::desk::Worker;
use super::leads_down;
use super::walk::walk;

/// How often resolving is begun again when something is renamed meanwhile, anywhere on the machine.
const ATTEMPTS_MAX: u32 = 16;
/// Entries of a directory that are looked at before it is moved: ten times what a grant has room for by default.
const MOVED_MAX: usize = 100_000;

/// How a guest wants to open something: `CREATE`, `EXCL`, `TRUNC`, `DIRECTORY`, `NOFOLLOW` and `SYNC`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) flags: OFlags,
    pub(super) reads: bool,
    pub(super) writes: bool,
}

/// Why nothing was opened.
#[derive(Debug)]
pub(super) enum Unopened {
    /// wasmtime-wasi opens it, or says in its own words why not.
    Elsewhere,
    /// It is neither a file nor a directory.
    Special,
    Io(io::Error),
}

impl From<Errno> for Unopened {
    fn from(error: Errno) -> Self {
        match error {
            // Where system calls are filtered, the kernel does not say that it lacks one.
            Errno::NOSYS | Errno::PERM => Self::Elsewhere,
            Errno::XDEV => Self::Io(io::ErrorKind::PermissionDenied.into()),
            error => Self::Io(error.into()),
        }
    }
}

/// Opens a path below a directory.
pub(super) async fn open(
    worker: &Worker,
    directory: &Dir,
    path: String,
    wanted: Wanted,
) -> Result<Descriptor, Unopened> {
    let (flags, mode) = plan(directory, wanted).ok_or(Unopened::Elsewhere)?;
    let (below, perms) = (Arc::clone(&directory.dir), directory.perms);
    let is_directory = wanted.flags.contains(OFlags::DIRECTORY);
    let opening = worker.run(move || open_now(&below, &path, flags, is_directory));
    let (file, kind) = opening.await.map_err(Unopened::Io)??;
    Ok(match kind {
        FileType::Directory => Descriptor::Dir(Dir::new(file, perms, mode, false)),
        _ => Descriptor::File(WasiFile::new(file, perms, mode, false)),
    })
}

/// With what flags to open, and what the descriptor is then said to be open for; as wasmtime-wasi has it. None for what
/// that refuses before it opens anything.
fn plan(directory: &Dir, wanted: Wanted) -> Option<(OFlags, OpenMode)> {
    let making = OFlags::CREATE | OFlags::EXCL | OFlags::TRUNC;
    let asked = wanted.flags;
    if asked.contains(OFlags::SYNC)
        || (asked.contains(OFlags::DIRECTORY) && asked.intersects(making))
    {
        return None;
    }
    let reads = wanted.reads || !wanted.writes;
    let writes = wanted.writes || asked.intersects(OFlags::CREATE | OFlags::TRUNC);
    if writes && directory.perms.write_not_permitted() {
        return None;
    }
    let (access, mode) = match (reads, writes) {
        (true, true) => (OFlags::RDWR, OpenMode::READ | OpenMode::WRITE),
        (false, true) => (OFlags::WRONLY, OpenMode::WRITE),
        (_, false) => (OFlags::RDONLY, OpenMode::READ),
    };
    let mut flags = access | OFlags::CLOEXEC | (asked & (OFlags::NOFOLLOW | OFlags::CREATE));
    if asked.contains(OFlags::CREATE | OFlags::EXCL) {
        flags |= OFlags::EXCL;
    } else {
        flags |= asked & OFlags::TRUNC;
    }
    Some((flags, mode))
}

fn open_now(
    below: &File,
    path: &str,
    flags: OFlags,
    is_directory: bool,
) -> Result<(File, FileType), Unopened> {
    let fits = |kind| match kind {
        FileType::Directory => Ok(()),
        _ if is_directory => Err(Unopened::Io(Errno::NOTDIR.into())),
        FileType::RegularFile => Ok(()),
        _ => Err(Unopened::Special),
    };
    // To open a device can do something already, so it is looked at first.
    match beneath(below, path, OFlags::PATH | OFlags::CLOEXEC | (flags & OFlags::NOFOLLOW)) {
        // A link that is not followed: the kernel says so.
        Ok(found) if kind(&found)? == FileType::Symlink => {}
        Ok(found) => fits(kind(&found)?)?,
        Err(Errno::NOENT) if flags.contains(OFlags::CREATE) => {}
        Err(error) => return Err(error.into()),
    }
    let opened = beneath(below, path, flags | OFlags::NONBLOCK | OFlags::NOCTTY)?;
    let kind = kind(&opened)?;
    fits(kind)?;
    Ok((File::from(opened), kind))
}

fn kind(of: &OwnedFd) -> Result<FileType, Errno> {
    Ok(FileType::from_raw_mode(fstat(of)?.st_mode))
}

/// Opens a path that leads nowhere but below a directory.
fn beneath(directory: &File, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    let is_made = flags.contains(OFlags::CREATE);
    let mode = if is_made { Mode::from_raw_mode(0o666) } else { Mode::empty() };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let mut opened = Err(Errno::AGAIN);
    for _ in 0..ATTEMPTS_MAX {
        opened = openat2(directory.as_fd(), path, flags, mode, resolve);
        if !matches!(opened, Err(Errno::AGAIN)) {
            break;
        }
    }
    opened
}

/// Whether what is at a path may be renamed or get a further name: a link that leads elsewhere than down may not, nor a
/// directory with one in it, since the same link may lead out of the granted directory from another place. What is not
/// there may, and whoever does it says so.
///
/// # Errors
/// Why it may not.
pub(super) async fn may_move(worker: &Worker, directory: &Dir, path: String) -> Result<(), String> {
    let below = Arc::clone(&directory.dir);
    // What may turn out to be a directory is opened with a place to walk it.
    let looking = worker.walk(move || may_move_now(&below, &path));
    looking.await.unwrap_or_else(|error| Err(unknown(&error)))
}

fn may_move_now(below: &File, path: &str) -> Result<(), String> {
    // Who renames `link/` renames the link.
    let found = match look(below, path.trim_end_matches('/')) {
        Ok(found) => found,
        // The renaming itself says so, in its own words.
        Err(
            Errno::NOENT
            | Errno::NOTDIR
            | Errno::NAMETOOLONG
            | Errno::INVAL
            | Errno::XDEV
            | Errno::ACCESS
            | Errno::LOOP,
        ) => return Ok(()),
        Err(error) => return Err(unknown(&error)),
    };
    match kind(&found).map_err(|error| unknown(&error))? {
        FileType::Symlink => {
            let target = readlinkat(&found, c"", Vec::new()).map_err(|error| unknown(&error))?;
            stays(&target)
        }
        FileType::Directory => links_stay(found),
        _ => Ok(()),
    }
}

/// Whether all links in a directory and below lead down.
fn links_stay(directory: OwnedFd) -> Result<(), String> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = openat(&directory, c".", flags, Mode::empty()).map_err(|e| unknown(&e))?;
    let (mut count, mut all_stay) = (0, Ok(()));
    let walked = walk(directory, |entry| {
        count += 1;
        if count > MOVED_MAX {
            all_stay =
                Err(format!("a directory with more than {MOVED_MAX} entries is not renamed"));
        } else if entry.kind == FileType::Symlink
            && let Some(target) = entry.target()?
        {
            all_stay = stays(&target);
        }
        Ok(if all_stay.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    });
    walked.map_err(|unreadable| unknown(&unreadable))?;
    all_stay
}

fn stays(target: &CStr) -> Result<(), String> {
    if leads_down(Path::new(OsStr::from_bytes(target.to_bytes()))) {
        return Ok(());
    }
    Err("a link whose target is absolute or has `..` stays where it is, and so does a directory with one in it".to_owned())
}

fn unknown(error: &dyn std::fmt::Display) -> String {
    format!(
        "nothing is renamed or linked of which the host cannot see whether it leads out: {error}"
    )
}

/// What is at a path, without following a link that it may be.
fn look(below: &File, path: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match beneath(below, path, flags) {
        Err(Errno::NOSYS | Errno::PERM) => {}
        found => return found,
    }
    // Step by step, where the kernel cannot keep a path below a directory by itself: over no link at all.
    let mut found = openat(below, c".", flags, Mode::empty())?;
    for part in Path::new(path).components() {
        match part {
            Component::CurDir => {}
            Component::Normal(_) if kind(&found)? == FileType::Symlink => return Err(Errno::PERM),
            Component::Normal(name) => found = openat(&found, name, flags, Mode::empty())?,
            _ => return Err(Errno::PERM),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
