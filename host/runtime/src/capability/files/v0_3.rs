//! The functions of `wasi:filesystem` 0.3 that change a directory, open something or list it.

mod list;
mod open;
mod write;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use wasmtime::StoreContextMut;
use wasmtime::component::{Accessor, Linker, LinkerInstance, Resource, ResourceType, StreamReader};
use wasmtime_wasi::filesystem::{Descriptor, Dir, WasiFilesystem, WasiFilesystemView as _};
use wasmtime_wasi::p3::bindings::filesystem::preopens;
use wasmtime_wasi::p3::bindings::filesystem::types::{
    DescriptorFlags, DescriptorStat, ErrorCode, Filesize, HostDescriptorWithStore as _,
    MetadataHashValue, NewTimestamp, OpenFlags, PathFlags,
};
use wasmtime_wasi::p3::filesystem::{FilesystemError, FilesystemResult};

use super::desk::Worker;
use super::{
    Growth, NoRoom, Place, SETTINGS, TooMany, begin, directory, forget, opened, reach, saw,
    stays_below, writable,
};
use crate::guest::Bounded;
use crate::state::State;

use list::list;
use open::open;
use write::write;

/// Longer paths lead nowhere: Linux takes as much.
const PATH_MAX_BYTES: usize = 4096;

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
                let (files, longest) = (files(store), path.len());
                let doing = WasiFilesystem::stat_at(&files, fd, at, path);
                answer(bounded(store, longest, doing).await)
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
    link_naming(&mut types)?;
    link_making(&mut types)?;
    link_removing(&mut types)?;
    link_contents(&mut types)
}

/// What takes a path and changes nothing that has limits.
fn link_naming(types: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    types.func_wrap_concurrent(
        "[method]descriptor.set-times-at",
        |store: Store<'_>,
         (fd, at, path, read, written): (Fd, PathFlags, String, NewTimestamp, NewTimestamp)|
         -> Answering<'_, ()> {
            Box::pin(async move {
                let (files, longest) = (files(store), path.len());
                let doing = WasiFilesystem::set_times_at(&files, fd, at, path, read, written);
                answer(bounded(store, longest, doing).await)
            })
        },
    )?;
    types.func_wrap_concurrent(
        "[method]descriptor.readlink-at",
        |store: Store<'_>, (fd, path): (Fd, String)| -> Answering<'_, String> {
            Box::pin(async move {
                let (files, longest) = (files(store), path.len());
                let doing = WasiFilesystem::readlink_at(&files, fd, path);
                answer(bounded(store, longest, doing).await)
            })
        },
    )?;
    types.func_wrap_concurrent(
        "[method]descriptor.metadata-hash-at",
        |store: Store<'_>,
         (fd, at, path): (Fd, PathFlags, String)|
         -> Answering<'_, MetadataHashValue> {
            Box::pin(async move {
                let (files, longest) = (files(store), path.len());
                let doing = WasiFilesystem::metadata_hash_at(&files, fd, at, path);
                answer(bounded(store, longest, doing).await)
            })
        },
    )
}

/// What makes files and names.
fn link_making(types: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    types.func_wrap_concurrent(
        "[method]descriptor.open-at",
        |store: Store<'_>,
         (fd, at, path, how, flags): (Fd, PathFlags, String, OpenFlags, DescriptorFlags)|
         -> Answering<'_, Fd> {
            Box::pin(async move {
                let longest = path.len();
                let doing = open(store, fd, at, path, how, flags);
                answer(bounded(store, longest, doing).await)
            })
        },
    )?;
    types.func_wrap_concurrent(
        "[method]descriptor.create-directory-at",
        |store: Store<'_>, (fd, path): (Fd, String)| -> Answering<'_, ()> {
            Box::pin(async move {
                let (place, files) = (place_of(store, &fd), files(store));
                let longest = path.len();
                let doing = WasiFilesystem::create_directory_at(&files, fd, path);
                let doing = add(place.as_ref(), Growth::FILE, doing);
                answer(bounded(store, longest, doing).await)
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
                let longest = to.len().max(path.len());
                let doing = WasiFilesystem::symlink_at(&files, fd, to, path);
                let doing = add(place.as_ref(), growth, doing);
                answer(bounded(store, longest, doing).await)
            })
        },
    )?;
    types.func_wrap_concurrent(
        "[method]descriptor.link-at",
        |store: Store<'_>,
         (fd, at, old, new_fd, new): (Fd, PathFlags, String, Fd, String)|
         -> Answering<'_, ()> {
            Box::pin(async move {
                let longest = old.len().max(new.len());
                answer(bounded(store, longest, link(store, (fd, at, old), (new_fd, new))).await)
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
                let longest = old.len().max(new.len());
                answer(bounded(store, longest, rename(store, (fd, old), (new_fd, new))).await)
            })
        },
    )?;
    types.func_wrap_concurrent(
        "[method]descriptor.unlink-file-at",
        |store: Store<'_>, (fd, path): (Fd, String)| -> Answering<'_, ()> {
            Box::pin(async move {
                let (place, files) = (place_of(store, &fd), files(store));
                let longest = path.len();
                let doing = WasiFilesystem::unlink_file_at(&files, fd, path);
                answer(removed(place.as_ref(), bounded(store, longest, doing).await))
            })
        },
    )?;
    types.func_wrap_concurrent(
        "[method]descriptor.remove-directory-at",
        |store: Store<'_>, (fd, path): (Fd, String)| -> Answering<'_, ()> {
            Box::pin(async move {
                let (place, files) = (place_of(store, &fd), files(store));
                let longest = path.len();
                let doing = WasiFilesystem::remove_directory_at(&files, fd, path);
                answer(removed(place.as_ref(), bounded(store, longest, doing).await))
            })
        },
    )
}

/// What changes their contents.
fn link_contents(types: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    types.func_wrap_concurrent(
        "[method]descriptor.set-size",
        |store: Store<'_>, (fd, size): (Fd, Filesize)| -> Answering<'_, ()> {
            Box::pin(async move { answer(bounded(store, 0, set_size(store, fd, size)).await) })
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

async fn link(
    store: Store<'_>,
    (fd, at, old): (Fd, PathFlags, String),
    (new_fd, new): (Fd, String),
) -> FilesystemResult<()> {
    if !are_together(store, &fd, &new_fd) {
        return Err(ErrorCode::CrossDevice.into());
    }
    let (place, files) = (place_of(store, &fd), files(store));
    may_move(store, &fd, &old).await?;
    // Each name of a file counts with all of it.
    let old_is = WasiFilesystem::stat_at(&files, borrowed(&fd), at, old.clone()).await;
    let growth = Growth { bytes: old_is.map_or(0, |stat| stat.size), files: 1 };
    let doing = WasiFilesystem::link_at(&files, fd, at, old, new_fd, new);
    add(place.as_ref(), growth, doing).await
}

async fn rename(
    store: Store<'_>,
    (fd, old): (Fd, String),
    (new_fd, new): (Fd, String),
) -> FilesystemResult<()> {
    if !are_together(store, &fd, &new_fd) {
        return Err(ErrorCode::CrossDevice.into());
    }
    let (place, files) = (place_of(store, &fd), files(store));
    may_move(store, &fd, &old).await?;
    removed(place.as_ref(), WasiFilesystem::rename_at(&files, fd, old, new_fd, new).await)
}

/// Refuses to move a link that leads elsewhere than down, wherever it is; the operator is told.
async fn may_move(store: Store<'_>, fd: &Fd, path: &str) -> FilesystemResult<()> {
    let (found, worker) = directory_of(store, fd);
    let directory = found.map_err(FilesystemError::trap)?;
    let Some(directory) = directory.filter(|of| !of.perms.write_not_permitted()) else {
        // wasmtime-wasi says why not.
        return Ok(());
    };
    let refused = reach::may_move(&worker, &directory, path.to_owned()).await;
    refused.map_err(|rule| {
        store.with(|mut access| access.get().guest.voice.refuse(&rule, SETTINGS));
        ErrorCode::NotPermitted.into()
    })
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

/// Does what holds what a guest said until it is done: paths no longer than any system takes, and not too much at one
/// time.
async fn bounded<T>(
    store: Store<'_>,
    longest: usize,
    doing: impl Future<Output = FilesystemResult<T>>,
) -> FilesystemResult<T> {
    if longest > PATH_MAX_BYTES {
        return Err(ErrorCode::NameTooLong.into());
    }
    let _under_way =
        store.with(|mut access| opened::place(&mut access.get().guest, Bounded::FileWork))?;
    doing.await
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

fn directory_of(store: Store<'_>, fd: &Fd) -> (wasmtime::Result<Option<Dir>>, Worker) {
    store.with(|mut access| {
        let state = access.get();
        (directory(state, fd), Worker::of(&state.guest))
    })
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

#[cfg(test)]
mod tests;
