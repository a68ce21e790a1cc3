//! The functions of `wasi:filesystem` 0.3 that change a directory, open something or list it.

mod list;
mod write;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use rustix::fs::OFlags;
use wasmtime::StoreContextMut;
use wasmtime::component::{Accessor, Linker, LinkerInstance, Resource, ResourceType, StreamReader};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystem, WasiFilesystemView as _};
use wasmtime_wasi::p3::bindings::filesystem::preopens;
use wasmtime_wasi::p3::bindings::filesystem::types::{
    DescriptorFlags, DescriptorStat, DescriptorType, ErrorCode, Filesize,
    HostDescriptorWithStore as _, OpenFlags, PathFlags,
};
use wasmtime_wasi::p3::filesystem::{FilesystemError, FilesystemResult};

use super::desk::Worker;
use super::opened::opening;
use super::reach::{self, Unopened, Wanted};
use super::{
    Growth, NoRoom, Place, TooMany, begin, directory, enter, forget, note_denied, note_special,
    saw, stays_below, writable,
};
use crate::state::State;

use list::list;
use write::write;

type Fd = Resource<Descriptor>;
type Store<'a> = &'a Accessor<State>;
type Answer<T> = wasmtime::Result<(Result<T, ErrorCode>,)>;
type Answering<'a, T> = Pin<Box<dyn Future<Output = Answer<T>> + Send + 'a>>;
/// What becomes of a stream.
type Written = Result<(), ErrorCode>;

impl From<TooMany> for ErrorCode {
    fn from(_: TooMany) -> Self {
        Self::InsufficientMemory
    }
}

impl From<TooMany> for FilesystemError {
    fn from(too_many: TooMany) -> Self {
        ErrorCode::from(too_many).into()
    }
}

impl From<NoRoom> for ErrorCode {
    fn from(_: NoRoom) -> Self {
        Self::Quota
    }
}

impl From<NoRoom> for FilesystemError {
    fn from(_: NoRoom) -> Self {
        ErrorCode::Quota.into()
    }
}

pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let mut preopens = linker.instance("wasi:filesystem/preopens@0.3.0")?;
    preopens.func_wrap("get-directories", |mut store: StoreContextMut<'_, State>, (): ()| {
        let state = store.data_mut();
        let directories = preopens::Host::get_directories(&mut state.filesystem())?;
        begin(state, &directories);
        Ok((directories,))
    })?;
    let mut types = linker.instance("wasi:filesystem/types@0.3.0")?;
    types.func_wrap_concurrent(
        "[method]descriptor.stat-at",
        |store: Store<'_>,
         (fd, at, path): (Fd, PathFlags, String)|
         -> Answering<'_, DescriptorStat> {
            Box::pin(async move {
                store.with(|mut access| saw(access.get(), &fd, false));
                answer(WasiFilesystem::stat_at(&files(store), fd, at, path).await)
            })
        },
    )?;
    types.resource("descriptor", ResourceType::host::<Descriptor>(), |mut store, descriptor| {
        forget(store.data_mut(), descriptor)
    })?;
    types.func_wrap(
        "[method]descriptor.read-directory",
        |store: StoreContextMut<'_, State>, (fd,): (Fd,)| Ok((list(store, fd)?,)),
    )?;
    link_making(&mut types)?;
    link_removing(&mut types)?;
    link_contents(&mut types)
}

/// What makes files and names.
fn link_making(types: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    types.func_wrap_concurrent(
        "[method]descriptor.open-at",
        |store: Store<'_>,
         (fd, at, path, how, flags): (Fd, PathFlags, String, OpenFlags, DescriptorFlags)|
         -> Answering<'_, Fd> {
            Box::pin(async move { answer(open(store, fd, at, path, how, flags).await) })
        },
    )?;
    types.func_wrap_concurrent(
        "[method]descriptor.create-directory-at",
        |store: Store<'_>, (fd, path): (Fd, String)| -> Answering<'_, ()> {
            Box::pin(async move {
                let (place, files) = (place_of(store, &fd), files(store));
                let doing = WasiFilesystem::create_directory_at(&files, fd, path);
                answer(add(place.as_ref(), Growth::FILE, doing).await)
            })
        },
    )?;
    types.func_wrap_concurrent(
        "[method]descriptor.symlink-at",
        |store: Store<'_>, (fd, to, path): (Fd, String, String)| -> Answering<'_, ()> {
            Box::pin(async move {
                let (place, files) = (place_of(store, &fd), files(store));
                if !store.with(|mut access| stays_below(&access.get().guest.voice, &to)) {
                    return Ok((Err(ErrorCode::NotPermitted),));
                }
                let growth = Growth { bytes: to.len() as u64, files: 1 };
                let doing = WasiFilesystem::symlink_at(&files, fd, to, path);
                answer(add(place.as_ref(), growth, doing).await)
            })
        },
    )?;
    types.func_wrap_concurrent(
        "[method]descriptor.link-at",
        |store: Store<'_>,
         (fd, at, old, new_fd, new): (Fd, PathFlags, String, Fd, String)|
         -> Answering<'_, ()> {
            Box::pin(async move {
                if !are_together(store, &fd, &new_fd) {
                    return Ok((Err(ErrorCode::CrossDevice),));
                }
                let (place, files) = (place_of(store, &fd), files(store));
                // Each name of a file counts with all of it.
                let old_is = WasiFilesystem::stat_at(&files, borrowed(&fd), at, old.clone()).await;
                let growth = Growth { bytes: old_is.map_or(0, |stat| stat.size), files: 1 };
                let doing = WasiFilesystem::link_at(&files, fd, at, old, new_fd, new);
                answer(add(place.as_ref(), growth, doing).await)
            })
        },
    )
}

/// What renames and removes them.
fn link_removing(types: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    types.func_wrap_concurrent(
        "[method]descriptor.rename-at",
        |store: Store<'_>, (fd, old, new_fd, new): (Fd, String, Fd, String)| -> Answering<'_, ()> {
            Box::pin(async move {
                if !are_together(store, &fd, &new_fd) {
                    return Ok((Err(ErrorCode::CrossDevice),));
                }
                let (place, files) = (place_of(store, &fd), files(store));
                let done = WasiFilesystem::rename_at(&files, fd, old, new_fd, new).await;
                answer(removed(place.as_ref(), done))
            })
        },
    )?;
    types.func_wrap_concurrent(
        "[method]descriptor.unlink-file-at",
        |store: Store<'_>, (fd, path): (Fd, String)| -> Answering<'_, ()> {
            Box::pin(async move {
                let (place, files) = (place_of(store, &fd), files(store));
                let done = WasiFilesystem::unlink_file_at(&files, fd, path).await;
                answer(removed(place.as_ref(), done))
            })
        },
    )?;
    types.func_wrap_concurrent(
        "[method]descriptor.remove-directory-at",
        |store: Store<'_>, (fd, path): (Fd, String)| -> Answering<'_, ()> {
            Box::pin(async move {
                let (place, files) = (place_of(store, &fd), files(store));
                let done = WasiFilesystem::remove_directory_at(&files, fd, path).await;
                answer(removed(place.as_ref(), done))
            })
        },
    )
}

/// What changes their contents.
fn link_contents(types: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    types.func_wrap_concurrent(
        "[method]descriptor.set-size",
        |store: Store<'_>, (fd, size): (Fd, Filesize)| -> Answering<'_, ()> {
            Box::pin(async move { answer(set_size(store, fd, size).await) })
        },
    )?;
    types.func_wrap(
        "[method]descriptor.write-via-stream",
        |store: StoreContextMut<'_, State>, (fd, data, at): (Fd, StreamReader<u8>, Filesize)| {
            Ok((write(store, fd, data, Some(at))?,))
        },
    )?;
    types.func_wrap(
        "[method]descriptor.append-via-stream",
        |store: StoreContextMut<'_, State>, (fd, data): (Fd, StreamReader<u8>)| {
            Ok((write(store, fd, data, None)?,))
        },
    )
}

async fn open(
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
    let (directory, worker) = store.with(|mut access| {
        let state = access.get();
        (directory(state, &fd), Worker::of(&state.guest))
    });
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

async fn set_size(store: Store<'_>, fd: Fd, size: Filesize) -> FilesystemResult<()> {
    let place = place_of(store, &fd);
    let file =
        store.with(|mut access| file_of(access.get(), &fd)).map_err(FilesystemError::trap)?;
    let _taken = match (&place, &file) {
        (Some(place), Some(file)) => Some(place.take_for_length(file, size).await?),
        _ => None,
    };
    let done = WasiFilesystem::set_size(&files(store), fd, size).await;
    freed(place.as_ref(), done)
}

/// Does what adds something, if there is room for it.
async fn add<T>(
    place: Option<&Place>,
    growth: Growth,
    doing: impl Future<Output = FilesystemResult<T>>,
) -> FilesystemResult<T> {
    let Some(place) = place.filter(|_| growth != Growth::default()) else { return doing.await };
    let _taken = place.take(growth).await?;
    let done = doing.await;
    if done.is_err() {
        place.room.freed();
    }
    done
}

/// After what took something away, if it did.
fn removed<T>(place: Option<&Place>, done: FilesystemResult<T>) -> FilesystemResult<T> {
    if let Some(place) = place.filter(|_| done.is_ok()) {
        place.room.freed();
    }
    done
}

/// After what took away from a file, or added less to it than there was room for.
fn freed<T>(place: Option<&Place>, done: FilesystemResult<T>) -> FilesystemResult<T> {
    if let Some(place) = place {
        place.room.freed();
    }
    done
}

/// wasmtime-wasi's own view of a store.
fn files(store: Store<'_>) -> Accessor<State, WasiFilesystem> {
    store.with_getter::<WasiFilesystem>(|state| state.filesystem())
}

fn place_of(store: Store<'_>, fd: &Fd) -> Option<Place> {
    store.with(|mut access| Place::of(access.get(), fd))
}

fn are_together(store: Store<'_>, from: &Fd, to: &Fd) -> bool {
    store.with(|mut access| access.get().descriptors.are_together(from, to))
}

fn file_of(state: &mut State, fd: &Fd) -> wasmtime::Result<Option<Arc<std::fs::File>>> {
    Ok(writable(state.table.get(fd)?))
}

fn borrowed(fd: &Fd) -> Fd {
    Resource::new_borrow(fd.rep())
}

fn answer<T>(done: FilesystemResult<T>) -> Answer<T> {
    Ok((match done {
        Ok(value) => Ok(value),
        Err(error) => Err(error.downcast()?),
    },))
}
