//! A directory and all below it, looked at by descriptors.
//!
//! By paths it would not do: a guest makes directories relative to others, so that what lies deep in a directory has
//! a path longer than the system takes, and would be overlooked.
//!
//! Bounds: as many descriptors as [`DEPTH_MAX`] in each of the few walks that are under way (`Worker::walk`), and as many entries as whoever looks wants. What cannot be looked at
//! ends the walk with the reason, so that nobody takes it for empty.

use std::ffi::{CStr, CString};
use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    Access, AtFlags, CWD, Dir, FileType, Mode, OFlags, accessat, openat, readlinkat, statat,
};
use rustix::io::Errno;

/// How deep a walk goes: deeper than any tree that people make, and a descriptor each.
pub(super) const DEPTH_MAX: usize = 64;

/// Directories are opened to be read, and nothing else is opened at all.
const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);

/// Why a directory could not be looked at whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("{0:?} in it cannot be read: {error}", error = io::Error::from(*.1))]
    Entry(CString, Errno),
    #[error("{0:?} in it lies more than {DEPTH_MAX} directories deep")]
    TooDeep(CString),
}

/// Something in the directory.
pub(super) struct Entry<'a> {
    parent: BorrowedFd<'a>,
    name: &'a CStr,
    pub(super) kind: FileType,
    /// How long a file or a link is; 0 for a directory.
    pub(super) length: u64,
}

impl Entry<'_> {
    /// Where a link leads. None when it is gone.
    pub(super) fn target(&self) -> Result<Option<CString>, Unreadable> {
        match readlinkat(self.parent, self.name, Vec::new()) {
            Ok(target) => Ok(Some(target)),
            Err(error) if is_gone(error) => Ok(None),
            Err(error) => Err(Unreadable::Entry(self.name.to_owned(), error)),
        }
    }
}

/// Opens a directory by its path. None when there is none.
pub(super) fn open(path: &Path) -> Result<Option<OwnedFd>, Unreadable> {
    match openat(CWD, path, DIRECTORY, Mode::empty()) {
        Ok(directory) => Ok(Some(directory)),
        Err(error) if is_gone(error) => Ok(None),
        Err(error) => Err(Unreadable::Entry(CString::from(c"."), error)),
    }
}

/// Shows everything in a directory and below until `see` has enough; links are not followed.
///
/// # Errors
/// What could not be looked at, or what `see` says.
pub(super) fn walk(
    directory: OwnedFd,
    mut see: impl FnMut(&Entry<'_>) -> Result<ControlFlow<()>, Unreadable>,
) -> Result<(), Unreadable> {
    let unreadable = |name: &CStr, error| Unreadable::Entry(name.to_owned(), error);
    let mut open = vec![Dir::new(directory).map_err(|error| unreadable(c".", error))?];
    while let Some(directory) = open.last_mut() {
        let Some(entry) = directory.read() else {
            open.pop();
            continue;
        };
        let entry = entry.map_err(|error| unreadable(c".", error))?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let parent = directory.fd().map_err(|error| unreadable(name, error))?;
        let (kind, length) = match look(parent, name, entry.file_type()) {
            Ok(found) => found,
            Err(error) if is_gone(error) => continue,
            // Whoever may not enter a directory reaches nothing that is in it, agents included.
            Err(Errno::ACCESS) => continue,
            Err(error) => return Err(unreadable(name, error)),
        };
        if see(&Entry { parent, name, kind, length })?.is_break() {
            return Ok(());
        }
        if kind != FileType::Directory {
            continue;
        }
        let below = match openat(parent, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty()) {
            Ok(below) => below,
            Err(error) if is_gone(error) => continue,
            // `lost+found`, say. What can be entered and not be listed may grow unseen, and is unreadable.
            Err(Errno::ACCESS) if !may_enter(parent, name) => continue,
            Err(error) => return Err(unreadable(name, error)),
        };
        if open.len() == DEPTH_MAX {
            return Err(Unreadable::TooDeep(name.to_owned()));
        }
        open.push(Dir::new(below).map_err(|error| unreadable(name, error))?);
    }
    Ok(())
}

/// What an entry is and how long. File systems that do not say the former with the name are asked.
fn look(parent: BorrowedFd<'_>, name: &CStr, kind: FileType) -> Result<(FileType, u64), Errno> {
    if kind == FileType::Directory {
        return Ok((kind, 0));
    }
    let found = statat(parent.as_fd(), name, AtFlags::SYMLINK_NOFOLLOW)?;
    let kind = FileType::from_raw_mode(found.st_mode);
    let length = u64::try_from(found.st_size).unwrap_or(0);
    Ok((kind, if kind == FileType::Directory { 0 } else { length }))
}

fn may_enter(parent: BorrowedFd<'_>, name: &CStr) -> bool {
    accessat(parent, name, Access::EXEC_OK, AtFlags::EACCESS) != Err(Errno::ACCESS)
}

/// Whether something was there a moment ago, or was a directory then.
const fn is_gone(error: Errno) -> bool {
    matches!(error, Errno::NOENT | Errno::NOTDIR | Errno::LOOP)
}

#[cfg(test)]
pub(super) mod tests;
