//! Decides, from what the directories hold now and what was handed on before, which agents to load
//! and which to unload. Pure: time is passed in.
//!
//! State is compared rather than events followed: however many events are lost, doubled or reordered,
//! the next look finds the same difference. A difference counts once it stayed the same for the
//! settling time, so a half-written file is not read and a file that is replaced by removing and
//! writing it is not unloaded in between.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use aop_core::AgentName;

use crate::source::{Directory, Found, Listing};

/// What became of an agent's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// It is new or different.
    Load(AgentName, Box<Found>),
    /// It is gone. `forget` when it was removed, not when its whole directory is away.
    Gone(AgentName, Forget),
}

/// Whether an agent that goes is forgotten in the store as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Forget {
    /// It is; its id and revisions go.
    Yes,
    /// It is not; it continues where it was when it comes back.
    No,
}

/// What was handed on before.
#[derive(Debug, Default)]
pub(crate) struct Reconciler {
    known: BTreeMap<AgentName, Known>,
    pending: BTreeMap<AgentName, Pending>,
    directories: BTreeMap<PathBuf, Directory>,
}

#[derive(Debug)]
struct Known {
    path: PathBuf,
    // None: to be loaded whatever the file is.
    found: Option<Found>,
}

#[derive(Debug)]
struct Pending {
    seen: Option<Found>,
    since: Instant,
}

/// The moment of a look.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    pub(crate) clock: Instant,
    /// Compared with modification times only.
    pub(crate) wall: SystemTime,
}

/// What a look found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) changes: Vec<Change>,
    /// Whether something changed that has not settled yet.
    pub(crate) unsettled: bool,
}

impl Reconciler {
    /// An agent of which the store knows that it came from this file.
    pub(crate) fn expect(&mut self, name: AgentName, path: PathBuf) {
        self.known.insert(name, Known { path, found: None });
    }

    /// Has an agent loaded again at the next look, although its file did not change.
    pub(crate) fn again(&mut self, name: &AgentName) {
        if let Some(known) = self.known.get_mut(name) {
            known.found = None;
        }
    }

    /// The files that agents come from.
    pub(crate) fn files(&self) -> BTreeSet<PathBuf> {
        self.known.values().map(|known| known.path.clone()).collect()
    }

    /// Whether nothing newer than `found` was handed on.
    pub(crate) fn is_current(&self, name: &AgentName, found: &Found) -> bool {
        self.known.get(name).is_some_and(|known| known.found.as_ref() == Some(found))
    }

    /// Whether the agent's file was handed on as gone and nothing since.
    pub(crate) fn is_gone(&self, name: &AgentName) -> bool {
        !self.known.contains_key(name)
    }

    /// The directories that are otherwise than at the last look.
    pub(crate) fn note_directories(&mut self, listing: &Listing) -> Vec<(PathBuf, Directory)> {
        let is_new = |(path, directory): &(&PathBuf, &Directory)| {
            self.directories.get(*path) != Some(*directory)
        };
        let changed = listing.directories.iter().filter(is_new);
        let changed = changed.map(|(path, directory)| (path.clone(), directory.clone())).collect();
        self.directories.clone_from(&listing.directories);
        changed
    }

    /// Why the directory of a file could not be read at the last look, if it could not.
    pub(crate) fn why_unreadable(&self, file: &Path) -> Option<String> {
        match self.directories.get(file.parent()?)? {
            Directory::Unreadable(reason) => Some(reason.clone()),
            Directory::Read | Directory::Missing => None,
        }
    }

    /// Compares.
    pub(crate) fn look(&mut self, listing: &Listing, now: Now, settle: Duration) -> Difference {
        let names: BTreeSet<AgentName> =
            listing.agents.keys().chain(self.known.keys()).cloned().collect();
        let mut difference = Difference::default();
        for name in names {
            let seen = listing.agents.get(&name);
            if self.is_as_known(&name, seen, listing) {
                self.pending.remove(&name);
            } else if self.has_settled(&name, seen, now, settle) {
                self.pending.remove(&name);
                difference.changes.push(self.hand_on(name, seen, listing));
            } else {
                difference.unsettled = true;
            }
        }
        // What appeared and went before it settled.
        self.pending
            .retain(|name, _| listing.agents.contains_key(name) || self.known.contains_key(name));
        difference
    }

    fn is_as_known(&self, name: &AgentName, seen: Option<&Found>, listing: &Listing) -> bool {
        match (self.known.get(name), seen) {
            (Some(known), Some(seen)) => known.found.as_ref() == Some(seen),
            (Some(known), None) => {
                // Only a file that is really gone is removed, not one that cannot be looked at now.
                matches!(listing.directory_of(&known.path), Some(Directory::Unreadable(_)))
                    || !is_gone(&known.path)
            }
            (None, Some(_)) => false,
            (None, None) => true,
        }
    }

    fn has_settled(
        &mut self,
        name: &AgentName,
        seen: Option<&Found>,
        now: Now,
        settle: Duration,
    ) -> bool {
        // A file that nobody touched for long enough need not be watched for it.
        let is_old = seen
            .and_then(Found::modified)
            .and_then(|modified| now.wall.duration_since(modified).ok())
            .is_some_and(|age| age >= settle);
        match self.pending.get_mut(name) {
            Some(pending) if pending.seen.as_ref() == seen => {
                is_old || now.clock.duration_since(pending.since) >= settle
            }
            Some(pending) => {
                *pending = Pending { seen: seen.cloned(), since: now.clock };
                is_old
            }
            None => {
                self.pending
                    .insert(name.clone(), Pending { seen: seen.cloned(), since: now.clock });
                is_old
            }
        }
    }

    fn hand_on(&mut self, name: AgentName, seen: Option<&Found>, listing: &Listing) -> Change {
        if let Some(found) = seen {
            let known = Known { path: found.path.clone(), found: Some(found.clone()) };
            self.known.insert(name.clone(), known);
            return Change::Load(name, Box::new(found.clone()));
        }
        let was_removed = self
            .known
            .remove(&name)
            .is_some_and(|known| listing.directory_of(&known.path) == Some(&Directory::Read));
        Change::Gone(name, if was_removed { Forget::Yes } else { Forget::No })
    }
}

fn is_gone(path: &Path) -> bool {
    let looked = std::fs::symlink_metadata(path);
    looked.is_err_and(|error| {
        matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
    })
}

#[cfg(test)]
mod tests;
