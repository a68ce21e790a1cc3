//! What a guest of WASI 0.3 opens.

use std::sync::Arc;

use rustix::fs::OFlags;
use wasmtime_wasi::filesystem::WasiFilesystem;
use wasmtime_wasi::p3::bindings::filesystem::types::{
    DescriptorFlags, DescriptorType, ErrorCode, HostDescriptorWithStore as _, OpenFlags, PathFlags,
};
use wasmtime_wasi::p3::filesystem::{FilesystemError, FilesystemResult};

use super::super::opened::opening;
use super::super::reach::{self, Unopened, Wanted};
use super::super::{Growth, Place, enter, note_denied, note_special, saw, writable};
use super::{Fd, Store, add, borrowed, directory_of, files};

pub(super) async fn open(
    store: Store<'_>,
    fd: Fd,
    at: PathFlags,
    path: String,
    how: OpenFlags,
    flags: DescriptorFlags,
) -> FilesystemResult<Fd> {
    let below = fd.rep();
    let place = store.with(|mut access| {
        let state = access.get();
        saw(state, &fd, writes(how, flags));
        Place::below(state, &fd)
    });
    let opening = store.with(|mut access| opening(&mut access.get().guest))?;
    let files = files(store);
    let growth = match &place {
        Some(_) if how.contains(OpenFlags::CREATE) => {
            let found = WasiFilesystem::stat_at(&files, borrowed(&fd), at, path.clone()).await;
            if found.is_ok() { Growth::default() } else { Growth::FILE }
        }
        _ => Growth::default(),
    };
    let doing = open_here(store, fd, at, path, how, flags);
    let opened = add(place.as_ref(), growth, doing).await.inspect_err(|error| {
        if matches!(error.downcast_ref(), Some(ErrorCode::NotPermitted | ErrorCode::ReadOnly)) {
            store.with(|mut access| note_denied(&access.get().guest.voice));
        }
    })?;
    store.with(|mut access| {
        let state = access.get();
        enter(state, &opened, below, place.as_ref().map(|place| Arc::clone(&place.room)));
        state.guest.opened.enter(state.table.get(&opened)?, opening);
        let Some(place) = &place else { return Ok(()) };
        if how.contains(OpenFlags::TRUNCATE) {
            place.room.freed();
        }
        if let Some(file) = writable(state.table.get(&opened)?) {
            place.room.opened(&file);
        }
        FilesystemResult::Ok(())
    })?;
    Ok(opened)
}

/// Opens what is a file or a directory.
async fn open_here(
    store: Store<'_>,
    fd: Fd,
    at: PathFlags,
    path: String,
    how: OpenFlags,
    flags: DescriptorFlags,
) -> FilesystemResult<Fd> {
    let (directory, worker) = directory_of(store, &fd);
    let opened = match &directory.map_err(FilesystemError::trap)? {
        Some(of) => reach::open(&worker, of, path.clone(), wanted(at, how, flags)).await,
        None => Err(Unopened::Elsewhere),
    };
    match opened {
        Ok(descriptor) => {
            return Ok(store.with(|mut access| access.get().table.push(descriptor))?);
        }
        Err(Unopened::Io(error)) => return Err(error.into()),
        Err(Unopened::Special) => {}
        Err(Unopened::Elsewhere) => {
            let files = files(store);
            let found = WasiFilesystem::stat_at(&files, borrowed(&fd), at, path.clone()).await;
            if !found.is_ok_and(|stat| is_special(&stat.type_)) {
                return WasiFilesystem::open_at(&files, fd, at, path, how, flags).await;
            }
        }
    }
    store.with(|mut access| note_special(&access.get().guest.voice));
    Err(ErrorCode::Unsupported.into())
}

const fn is_special(kind: &DescriptorType) -> bool {
    use DescriptorType::{Directory, RegularFile, SymbolicLink};
    !matches!(kind, Directory | RegularFile | SymbolicLink)
}

fn wanted(at: PathFlags, how: OpenFlags, flags: DescriptorFlags) -> Wanted {
    let syncs = DescriptorFlags::FILE_INTEGRITY_SYNC
        | DescriptorFlags::DATA_INTEGRITY_SYNC
        | DescriptorFlags::REQUESTED_WRITE_SYNC;
    let asked = [
        (OFlags::NOFOLLOW, !at.contains(PathFlags::SYMLINK_FOLLOW)),
        (OFlags::CREATE, how.contains(OpenFlags::CREATE)),
        (OFlags::EXCL, how.contains(OpenFlags::EXCLUSIVE)),
        (OFlags::TRUNC, how.contains(OpenFlags::TRUNCATE)),
        (OFlags::DIRECTORY, how.contains(OpenFlags::DIRECTORY)),
        (OFlags::SYNC, flags.intersects(syncs)),
    ];
    Wanted {
        flags: asked.into_iter().filter_map(|(flag, is_asked)| is_asked.then_some(flag)).collect(),
        reads: flags.contains(DescriptorFlags::READ),
        writes: flags.contains(DescriptorFlags::WRITE),
    }
}

/// Whether opening something so is for changing it.
fn writes(how: OpenFlags, flags: DescriptorFlags) -> bool {
    how.intersects(OpenFlags::CREATE | OpenFlags::TRUNCATE)
        || flags.contains(DescriptorFlags::WRITE)
}
