//! A directory that a guest lists: read in pieces, as the guest takes them.
//!
//! wasmtime-wasi holds a whole directory in memory for every listing of 0.2, and a thread for every listing of 0.3 for
//! as long as the guest does not read on. Here a listing has a descriptor and [`PIECE_MAX`] entries, and a thread only
//! while it reads a piece; a guest has few listings, and each is counted as an open file, too.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::vec;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, openat, statat};
use rustix::io::Errno;
use tokio::sync::OwnedSemaphorePermit;

use super::TooMany;
use super::desk::Worker;
use super::opened::{Opening, opening, place};
use crate::guest::{Bounded, Guest};

/// Entries that are read at one time: at most 18 KiB of names.
const PIECE_MAX: usize = 64;

/// An entry of a directory.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) name: String,
    pub(super) kind: FileType,
}

/// What a listing costs, before it is begun.
pub(super) struct Ticket {
    worker: Worker,
    _of_guest: OwnedSemaphorePermit,
    _open: Opening,
}

impl Ticket {
    /// # Errors
    /// The guest has as many listings as it may.
    pub(super) fn take(guest: &mut Guest) -> Result<Self, TooMany> {
        let of_guest = place(guest, Bounded::Listings)?;
        let open = opening(guest)?;
        Ok(Self { worker: Worker::of(guest), _of_guest: of_guest, _open: open })
    }
}

/// A directory that is being listed.
pub(super) struct Listing {
    ticket: Ticket,
    source: Source,
    piece: vec::IntoIter<io::Result<Found>>,
}

enum Source {
    /// Nothing was read yet.
    New(Arc<File>),
    Begun(Dir),
    /// Everything was read, or a piece got lost.
    Ended,
}

impl Listing {
    pub(super) fn new(directory: Arc<File>, ticket: Ticket) -> Self {
        Self { ticket, source: Source::New(directory), piece: Vec::new().into_iter() }
    }

    /// The next entry; none at the end.
    ///
    /// # Errors
    /// An entry, or all that are left, cannot be read.
    pub(super) async fn next(&mut self) -> io::Result<Option<Found>> {
        loop {
            if let Some(entry) = self.piece.next() {
                return entry.map(Some);
            }
            let directory = match std::mem::replace(&mut self.source, Source::Ended) {
                Source::Ended => return Ok(None),
                source => source,
            };
            let (source, piece) = self.ticket.worker.run(move || read(directory)).await??;
            (self.source, self.piece) = (source, piece.into_iter());
        }
    }
}

/// The next piece of a directory.
fn read(source: Source) -> io::Result<(Source, Vec<io::Result<Found>>)> {
    let mut directory = match source {
        Source::New(directory) => Dir::new(again(&directory)?)?,
        Source::Begun(directory) => directory,
        Source::Ended => return Ok((Source::Ended, Vec::new())),
    };
    let mut piece = Vec::new();
    while piece.len() < PIECE_MAX {
        let Some(entry) = directory.read() else { return Ok((Source::Ended, piece)) };
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        match kind(&directory, name, entry.file_type()) {
            Ok(kind) => piece.push(found(name, kind)),
            // It was removed meanwhile.
            Err(Errno::NOENT) => {}
            Err(error) => piece.push(Err(error.into())),
        }
    }
    Ok((Source::Begun(directory), piece))
}

/// The directory once more: a descriptor has one position in it.
fn again(directory: &File) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(openat(directory, c".", flags, Mode::empty())?)
}

/// What an entry is. File systems that do not say it with the name are asked.
fn kind(directory: &Dir, name: &CStr, kind: FileType) -> Result<FileType, Errno> {
    if kind != FileType::Unknown {
        return Ok(kind);
    }
    let found = statat(directory.fd()?, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(found.st_mode))
}

fn found(name: &CStr, kind: FileType) -> io::Result<Found> {
    let name = name.to_str().map_err(|_| Errno::ILSEQ)?;
    Ok(Found { name: name.to_owned(), kind })
}

#[cfg(test)]
mod tests;
