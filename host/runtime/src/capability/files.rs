//! `wasi:filesystem` with room for so much: what a guest adds to a directory that it may change is held against the
//! limits of its grant ([`room`]), before it is done.
//!
//! wasmtime-wasi has no hook for that, so the functions that can add something, or take something away, are linked
//! once more on top of its own, which they call; all others are its own. A descriptor belongs to the directory that
//! it was opened below, which is noted when it is made, since both versions make them in two functions only.
//! [`v0_2`] and [`v0_3`] have a version each; [`writer`] is the stream of 0.2.
//!
//! Links that guests make stay below themselves, and those that lead elsewhere stay where the operator made them:
//! wasmtime-wasi follows none that leads out, but a grant of a directory below one that guests change is opened by the
//! host, which follows all.
//!
//! What guests hold meanwhile is bounded: open files ([`opened`]), listings ([`listing`]) and threads at work ([`desk`]).
//! They open files and directories and nothing else ([`reach`]).
//!
//! A guest that finds no room gets `quota` (`EDQUOT`), the operator's log the grant. Names and links do not lead from
//! one granted directory into another (`cross-device`), since that would carry files past the limits.

mod desk;
mod listing;
mod opened;
mod reach;
mod room;
mod v0_2;
mod v0_3;
mod walk;
mod writer;

use std::collections::HashMap;
use std::path::{Component, Path};
use std::sync::Arc;

use aop_core::{Asked, GuestLevel};
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::filesystem::{Descriptor, Dir};

use desk::Worker;
use room::{Growth, Taken};

pub(crate) use desk::Desk;
pub(crate) use opened::Opened;
pub(crate) use room::{Room, Rooms};

use crate::engine::Model;
use crate::state::{State, Voice};

/// The setting that a refusal is counted by.
const SETTINGS: &[&str] = &["policy.directories"];

/// Which directory each descriptor of an instance belongs to. A number is used again only by a descriptor that is made
/// here, too, so what is dropped need not be noted.
#[derive(Debug, Default)]
pub(crate) struct Descriptors {
    rooms: HashMap<u32, Arc<Room>>,
    /// The place of its grant in the policy; noted for a witness only.
    grants: HashMap<u32, usize>,
}

impl Descriptors {
    fn room(&self, descriptor: &Resource<Descriptor>) -> Option<Arc<Room>> {
        self.rooms.get(&descriptor.rep()).cloned()
    }

    fn enter(&mut self, descriptor: &Resource<Descriptor>, room: Option<Arc<Room>>) {
        match room {
            Some(room) => drop(self.rooms.insert(descriptor.rep(), room)),
            None => drop(self.rooms.remove(&descriptor.rep())),
        }
    }

    /// Whether something may go from below one descriptor to below another.
    fn are_together(&self, from: &Resource<Descriptor>, to: &Resource<Descriptor>) -> bool {
        match (self.rooms.get(&from.rep()), self.rooms.get(&to.rep())) {
            (Some(from), Some(to)) => from.is(to),
            (None, None) => true,
            _ => false,
        }
    }
}

/// Enters the directories that a guest begins with, in the order of its grants.
fn begin(state: &mut State, directories: &[(Resource<Descriptor>, String)]) {
    let is_witnessed = state.guest.voice.is_witnessed();
    let rooms = &state.guest.grants.rooms;
    for (index, ((descriptor, _), room)) in directories.iter().zip(rooms).enumerate() {
        state.descriptors.enter(descriptor, room.clone());
        if is_witnessed {
            state.descriptors.grants.insert(descriptor.rep(), index);
        }
    }
}

/// Enters what was opened below a descriptor: it belongs where that does.
fn enter(state: &mut State, opened: &Resource<Descriptor>, below: u32, room: Option<Arc<Room>>) {
    let descriptors = &mut state.descriptors;
    descriptors.enter(opened, room);
    match descriptors.grants.get(&below).copied() {
        Some(grant) => drop(descriptors.grants.insert(opened.rep(), grant)),
        None => drop(descriptors.grants.remove(&opened.rep())),
    }
}

/// Tells the witness what a guest does below a descriptor.
fn saw(state: &State, descriptor: &Resource<Descriptor>, writes: bool) {
    let Some(index) = state.descriptors.grants.get(&descriptor.rep()) else { return };
    let Some(grant) = state.guest.grants.policy.directories.get(*index) else { return };
    let voice = &state.guest.voice;
    if writes {
        voice.saw(Asked::Write(&grant.guest), grant.writable);
    } else {
        voice.saw(Asked::Read(&grant.guest), true);
    }
}

/// Links it on top of wasmtime-wasi's.
pub(crate) fn add_to_linker(linker: &mut Linker<State>, model: Model) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    v0_2::add_to_linker(linker)?;
    if model == Model::Concurrent {
        v0_3::add_to_linker(linker)?;
    }
    linker.allow_shadowing(false);
    Ok(())
}

/// There is no room.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the directory has no room left")]
struct NoRoom;

/// The guest has as much of something as it may, or its tenant or host have.
#[derive(Debug, Clone, Copy)]
struct TooMany;

/// The room of one descriptor, for whoever writes there.
#[derive(Clone)]
struct Place {
    room: Arc<Room>,
    voice: Arc<Voice>,
    worker: Worker,
}

impl Place {
    /// Where a descriptor belongs to, if that has limits. For whoever is about to change something there.
    fn of(state: &State, descriptor: &Resource<Descriptor>) -> Option<Self> {
        saw(state, descriptor, true);
        Self::below(state, descriptor)
    }

    /// The same, for whoever may only read.
    fn below(state: &State, descriptor: &Resource<Descriptor>) -> Option<Self> {
        let room = state.descriptors.room(descriptor)?;
        let guest = &state.guest;
        Some(Self { room, voice: Arc::clone(&guest.voice), worker: Worker::of(guest) })
    }

    async fn take(&self, growth: Growth) -> Result<Taken, NoRoom> {
        self.room.take(growth, &self.worker).await.map_err(|rule| {
            self.voice.refuse(&rule, SETTINGS);
            NoRoom
        })
    }

    /// Room for writing so many bytes into a file: at a position, or at its end.
    async fn take_for_write(
        &self,
        file: &Arc<std::fs::File>,
        at: Option<u64>,
        count: usize,
    ) -> Result<Taken, NoRoom> {
        let length = self.length(file).await;
        let end = at.unwrap_or(length).saturating_add(count as u64);
        self.take(Growth::bytes(end.saturating_sub(length))).await
    }

    /// How long a file is; 0 when the file system does not say, so that everything written counts.
    async fn length(&self, file: &Arc<std::fs::File>) -> u64 {
        let file = Arc::clone(file);
        let metadata = self.worker.run(move || file.metadata()).await;
        metadata.ok().and_then(Result::ok).map_or(0, |metadata| metadata.len())
    }

    /// Room for giving a file a length.
    async fn take_for_length(
        &self,
        file: &Arc<std::fs::File>,
        wanted: u64,
    ) -> Result<Taken, NoRoom> {
        self.take(Growth::bytes(wanted.saturating_sub(self.length(file).await))).await
    }
}

/// Tells the operator that a path was not opened, which no setting permits.
fn note_special(voice: &Voice) {
    let text = "a path was not opened: what is there is neither a file nor a directory";
    voice.say("files", GuestLevel::Warn, text);
}

/// Forgets a descriptor that a guest gave up.
fn forget(state: &mut State, descriptor: u32) -> wasmtime::Result<()> {
    state.table.delete(Resource::<Descriptor>::new_own(descriptor))?;
    state.guest.opened.sweep();
    Ok(())
}

/// A directory that a guest wants to list; none if the descriptor is of none.
fn directory(state: &State, descriptor: &Resource<Descriptor>) -> wasmtime::Result<Option<Dir>> {
    Ok(match state.table.get(descriptor)? {
        Descriptor::Dir(directory) => Some(directory.clone()),
        Descriptor::File(_) => None,
    })
}

/// Tells the operator that a path could not be opened, which may be for what the policy says. The agent gets a code
/// without words, and so does the host: who refused it is not in there.
fn note_denied(voice: &Voice) {
    let rule = "a path could not be opened: it leads out of its directory, the agent may only read below it, or the system forbids it";
    voice.refuse(rule, SETTINGS);
}

/// Whether the target of a link that a guest makes leads nowhere but below the link, wherever that is moved to. If not, the
/// operator is told.
fn stays_below(voice: &Voice, target: &str) -> bool {
    let leads_down = leads_down(Path::new(target));
    if !leads_down {
        let rule = "a link that an agent makes must lead to something below it: its target is absolute or has `..`";
        voice.refuse(rule, SETTINGS);
    }
    leads_down
}

fn leads_down(target: &Path) -> bool {
    let mut parts = target.components();
    parts.all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}

/// The file of a descriptor, if it is one that may be written.
fn writable(descriptor: &Descriptor) -> Option<Arc<std::fs::File>> {
    match descriptor {
        Descriptor::File(file) if !file.perms.write_not_permitted() => Some(Arc::clone(&file.file)),
        Descriptor::File(_) | Descriptor::Dir(_) => None,
    }
}

#[cfg(test)]
mod tests;
