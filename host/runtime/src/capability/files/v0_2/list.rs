//! Directories that a guest of WASI 0.2 lists.

use rustix::fs::FileType;
use wasmtime::component::{LinkerInstance, Resource, ResourceType};
use wasmtime_wasi::p2::bindings::filesystem::types::{DescriptorType, DirectoryEntry, ErrorCode};
use wasmtime_wasi::p2::{FsError, FsResult};

use super::super::directory;
use super::super::listing::{Found, Listing, Ticket};
use super::{Answering, Fd, Store, answer};
use crate::state::State;

/// What lists directories.
pub(super) fn link_listing(types: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    let listing = ResourceType::host::<Listing>();
    types.resource("directory-entry-stream", listing, |mut store, listing| {
        store.data_mut().table.delete(Resource::<Listing>::new_own(listing))?;
        Ok(())
    })?;
    types
        .func_wrap("[method]descriptor.read-directory", |mut store: Store<'_>, (fd,): (Fd,)| {
            answer(list(store.data_mut(), &fd))
        })?;
    types.func_wrap_async(
        "[method]directory-entry-stream.read-directory-entry",
        |mut store: Store<'_>,
         (listing,): (Resource<Listing>,)|
         -> Answering<'_, Option<DirectoryEntry>> {
            Box::new(async move {
                let listing = store.data_mut().table.get_mut(&listing)?;
                answer(match listing.next().await {
                    Ok(found) => Ok(found.map(entry)),
                    Err(error) => Err(error.into()),
                })
            })
        },
    )
}

pub(super) fn list(state: &mut State, fd: &Fd) -> FsResult<Resource<Listing>> {
    let directory = directory(state, fd).map_err(FsError::trap)?;
    let directory = directory.ok_or(ErrorCode::NotDirectory)?;
    let ticket = Ticket::take(&mut state.guest)?;
    Ok(state.table.push(Listing::new(directory.dir, ticket))?)
}

fn entry(found: Found) -> DirectoryEntry {
    let type_ = match found.kind {
        FileType::RegularFile => DescriptorType::RegularFile,
        FileType::Directory => DescriptorType::Directory,
        FileType::Symlink => DescriptorType::SymbolicLink,
        FileType::BlockDevice => DescriptorType::BlockDevice,
        FileType::CharacterDevice => DescriptorType::CharacterDevice,
        _ => DescriptorType::Unknown,
    };
    DirectoryEntry { type_, name: found.name }
}
