//! How many files and directories a guest has open, and how many of them a tenant and the host have.
//!
//! Each is a descriptor of the process, which all of the host shares. What a guest gave up may be open for longer, as
//! long as a stream or a thread works on it, so it is the file that is counted and not the guest's name for it.

use std::fs::File;
use std::sync::{Arc, Weak};

use aop_core::GuestLevel;
use aop_core::fair::Place;
use tokio::sync::OwnedSemaphorePermit;
use wasmtime_wasi::filesystem::Descriptor;

use super::TooMany;
use super::desk::Worker;
use crate::guest::{Bounded, Guest};

/// Files and directories that a guest opened, and that are open.
pub(crate) struct Opened(Vec<(Weak<File>, Opening)>);

/// A place for something open: of the guest, and of the host.
pub(super) struct Opening {
    _of_guest: OwnedSemaphorePermit,
    _of_host: Place,
}

impl Opened {
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(|(file, _)| file.strong_count() == 0)
    }

    pub(super) fn enter(&mut self, descriptor: &Descriptor, opening: Opening) {
        let file = match descriptor {
            Descriptor::File(file) => &file.file,
            Descriptor::Dir(directory) => &directory.dir,
        };
        self.0.push((Arc::downgrade(file), opening));
    }

    /// Gives the places back of what is open no more.
    pub(super) fn sweep(&mut self) {
        self.0.retain(|(file, _)| file.strong_count() > 0);
    }
}

/// A place for something that a guest is about to open.
///
/// # Errors
/// It has as much open as it may, or those of its tenant have, or all; the operator is told.
pub(super) fn opening(guest: &mut Guest) -> Result<Opening, TooMany> {
    guest.opened.sweep();
    let of_guest = place(guest, Bounded::Files)?;
    let Some(of_host) = Worker::of(guest).try_open() else {
        let rule =
            "the agents of this tenant, or of all, have as many files open as the host lets them";
        guest.voice.say("files", GuestLevel::Warn, rule);
        return Err(TooMany);
    };
    Ok(Opening { _of_guest: of_guest, _of_host: of_host })
}

/// A place for one more of something that a guest may have few of.
///
/// # Errors
/// It has as many as it may; the operator is told.
pub(super) fn place(guest: &mut Guest, of: Bounded) -> Result<OwnedSemaphorePermit, TooMany> {
    guest.place(of).map_err(|rule| {
        guest.voice.say("files", GuestLevel::Warn, &rule);
        TooMany
    })
}

#[cfg(test)]
pub(super) mod tests;
