//! The functions of `wasi:filesystem` 0.2 that change a directory.

mod list;

use std::future::Future;

use rustix::fs::OFlags;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, LinkerInstance, Resource, ResourceType};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemView as _};
use wasmtime_wasi::p2::bindings::filesystem::preopens;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    DescriptorFlags, DescriptorStat, DescriptorType, ErrorCode, Filesize, Host as _,
    HostDescriptor as _, OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::{DynOutputStream, FsError, FsResult};

use super::desk::Worker;
use super::opened::{self, opening};
use super::reach::{self, Unopened, Wanted};
use super::writer::Writer;
use super::{
    Growth, NoRoom, Place, SETTINGS, TooMany, begin, directory, enter, forget, note_denied,
    note_special, saw, stays_below, writable,
};
use crate::guest::Bounded;
use crate::state::State;

type Fd = Resource<Descriptor>;
type Store<'a> = StoreContextMut<'a, State>;
/// What such a function gives back: its result, or an error of the guest.
type Answer<T> = wasmtime::Result<(Result<T, ErrorCode>,)>;
type Answering<'a, T> = Box<dyn Future<Output = Answer<T>> + Send + 'a>;

impl From<TooMany> for FsError {
    fn from(_: TooMany) -> Self {
        ErrorCode::InsufficientMemory.into()
    }
}

impl From<NoRoom> for FsError {
    fn from(_: NoRoom) -> Self {
        ErrorCode::Quota.into()
    }
}

pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let mut preopens = linker.instance("wasi:filesystem/preopens@0.2.12")?;
    preopens.func_wrap("get-directories", |mut store: Store<'_>, (): ()| {
        let state = store.data_mut();
        let directories = preopens::Host::get_directories(&mut state.filesystem())?;
        begin(state, &directories);
        Ok((directories,))
    })?;
    let mut types = linker.instance("wasi:filesystem/types@0.2.12")?;
    types.func_wrap_async(
        "[method]descriptor.stat-at",
        |mut store: Store<'_>,
         (fd, at, path): (Fd, PathFlags, String)|
         -> Answering<'_, DescriptorStat> {
            Box::new(async move {
                let state = store.data_mut();
                saw(state, &fd, false);
                answer(state.filesystem().stat_at(fd, at, path).await)
            })
        },
    )?;
    types.resource("descriptor", ResourceType::host::<Descriptor>(), |mut store, descriptor| {
        forget(store.data_mut(), descriptor)
    })?;
    list::link_listing(&mut types)?;
    link_making(&mut types)?;
    link_removing(&mut types)?;
    link_contents(&mut types)
}

/// What makes files and names.
fn link_making(types: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    types.func_wrap_async(
        "[method]descriptor.open-at",
        |mut store: Store<'_>,
         (fd, at, path, how, flags): (Fd, PathFlags, String, OpenFlags, DescriptorFlags)|
         -> Answering<'_, Fd> {
            Box::new(async move {
                let opened = open(store.data_mut(), fd, at, path, how, flags).await;
                answer(opened)
            })
        },
    )?;
    types.func_wrap_async(
        "[method]descriptor.create-directory-at",
        |mut store: Store<'_>, (fd, path): (Fd, String)| -> Answering<'_, ()> {
            Box::new(async move {
                let state = store.data_mut();
                let place = Place::of(state, &fd);
                let done = add(place.as_ref(), Growth::FILE, async {
                    state.filesystem().create_directory_at(fd, path).await
                });
                answer(done.await)
            })
        },
    )?;
    types.func_wrap_async(
        "[method]descriptor.symlink-at",
        |mut store: Store<'_>, (fd, to, path): (Fd, String, String)| -> Answering<'_, ()> {
            Box::new(async move {
                let state = store.data_mut();
                let place = Place::of(state, &fd);
                if !stays_below(&state.guest.voice, &to) {
                    return Ok((Err(ErrorCode::NotPermitted),));
                }
                let growth = Growth { bytes: to.len() as u64, files: 1 };
                let done = add(place.as_ref(), growth, async {
                    state.filesystem().symlink_at(fd, to, path).await
                });
                answer(done.await)
            })
        },
    )?;
    types.func_wrap_async(
        "[method]descriptor.link-at",
        |mut store: Store<'_>,
         (fd, at, old, new_fd, new): (Fd, PathFlags, String, Fd, String)|
         -> Answering<'_, ()> {
            Box::new(async move {
                let state = store.data_mut();
                if !state.descriptors.are_together(&fd, &new_fd) {
                    return Ok((Err(ErrorCode::CrossDevice),));
                }
                let place = Place::of(state, &fd);
                if let Err(error) = may_move(state, &fd, &old).await {
                    return answer(Err(error));
                }
                // Each name of a file counts with all of it.
                let old_is = state.filesystem().stat_at(borrowed(&fd), at, old.clone()).await;
                let bytes = old_is.map_or(0, |stat| stat.size);
                let done = add(place.as_ref(), Growth { bytes, files: 1 }, async {
                    state.filesystem().link_at(fd, at, old, new_fd, new).await
                });
                answer(done.await)
            })
        },
    )
}

/// What renames and removes them.
fn link_removing(types: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    types.func_wrap_async(
        "[method]descriptor.rename-at",
        |mut store: Store<'_>,
         (fd, old, new_fd, new): (Fd, String, Fd, String)|
         -> Answering<'_, ()> {
            Box::new(async move {
                let state = store.data_mut();
                if !state.descriptors.are_together(&fd, &new_fd) {
                    return Ok((Err(ErrorCode::CrossDevice),));
                }
                let place = Place::of(state, &fd);
                if let Err(error) = may_move(state, &fd, &old).await {
                    return answer(Err(error));
                }
                let done = state.filesystem().rename_at(fd, old, new_fd, new).await;
                answer(removed(place.as_ref(), done))
            })
        },
    )?;
    types.func_wrap_async(
        "[method]descriptor.unlink-file-at",
        |mut store: Store<'_>, (fd, path): (Fd, String)| -> Answering<'_, ()> {
            Box::new(async move {
                let state = store.data_mut();
                let place = Place::of(state, &fd);
                answer(removed(place.as_ref(), state.filesystem().unlink_file_at(fd, path).await))
            })
        },
    )?;
    types.func_wrap_async(
        "[method]descriptor.remove-directory-at",
        |mut store: Store<'_>, (fd, path): (Fd, String)| -> Answering<'_, ()> {
            Box::new(async move {
                let state = store.data_mut();
                let place = Place::of(state, &fd);
                answer(removed(
                    place.as_ref(),
                    state.filesystem().remove_directory_at(fd, path).await,
                ))
            })
        },
    )
}

/// What changes their contents.
fn link_contents(types: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    types.func_wrap_async(
        "[method]descriptor.set-size",
        |mut store: Store<'_>, (fd, size): (Fd, Filesize)| -> Answering<'_, ()> {
            Box::new(async move { answer(set_size(store.data_mut(), fd, size).await) })
        },
    )?;
    types.func_wrap_async(
        "[method]descriptor.write",
        |mut store: Store<'_>,
         (fd, bytes, at): (Fd, Vec<u8>, Filesize)|
         -> Answering<'_, Filesize> {
            Box::new(async move { answer(write(store.data_mut(), fd, bytes, at).await) })
        },
    )?;
    types.func_wrap(
        "[method]descriptor.write-via-stream",
        |mut store: Store<'_>, (fd, at): (Fd, Filesize)| {
            let state = store.data_mut();
            let made = state.filesystem().write_via_stream(borrowed(&fd), at);
            answer(made.and_then(|stream| bounded(state, &fd, stream, Some(at))))
        },
    )?;
    types.func_wrap(
        "[method]descriptor.append-via-stream",
        |mut store: Store<'_>, (fd,): (Fd,)| {
            let state = store.data_mut();
            let made = state.filesystem().append_via_stream(borrowed(&fd));
            answer(made.and_then(|stream| bounded(state, &fd, stream, None)))
        },
    )?;
    types.func_wrap(
        "filesystem-error-code",
        |mut store: Store<'_>, (error,): (Resource<wasmtime::Error>,)| {
            let state = store.data_mut();
            if state.table.get(&error)?.is::<NoRoom>() {
                return Ok((Some(ErrorCode::Quota),));
            }
            Ok((state.filesystem().filesystem_error_code(error)?,))
        },
    )
}

async fn open(
    state: &mut State,
    fd: Fd,
    at: PathFlags,
    path: String,
    how: OpenFlags,
    flags: DescriptorFlags,
) -> FsResult<Fd> {
    let (below, place) = (fd.rep(), Place::below(state, &fd));
    saw(state, &fd, writes(how, flags));
    let opening = opening(&mut state.guest)?;
    let growth = match &place {
        Some(_) if how.contains(OpenFlags::CREATE) => {
            let found = state.filesystem().stat_at(borrowed(&fd), at, path.clone()).await;
            if found.is_ok() { Growth::default() } else { Growth::FILE }
        }
        _ => Growth::default(),
    };
    let opened =
        add(place.as_ref(), growth, async { open_here(state, fd, at, path, how, flags).await });
    let opened = opened.await.inspect_err(|error| {
        if matches!(error.downcast_ref(), Some(ErrorCode::NotPermitted | ErrorCode::ReadOnly)) {
            note_denied(&state.guest.voice);
        }
    })?;
    enter(state, &opened, below, place.as_ref().map(|place| place.room.clone()));
    state.guest.opened.enter(state.table.get(&opened)?, opening);
    if let Some(place) = &place {
        if how.contains(OpenFlags::TRUNCATE) {
            place.room.freed();
        }
        if let Some(file) = writable(state.table.get(&opened)?) {
            place.room.opened(&file);
        }
    }
    Ok(opened)
}

/// Opens what is a file or a directory.
async fn open_here(
    state: &mut State,
    fd: Fd,
    at: PathFlags,
    path: String,
    how: OpenFlags,
    flags: DescriptorFlags,
) -> FsResult<Fd> {
    let directory = directory(state, &fd).map_err(FsError::trap)?;
    let worker = Worker::of(&state.guest);
    let opened = match &directory {
        Some(of) => reach::open(&worker, of, path.clone(), wanted(at, how, flags)).await,
        None => Err(Unopened::Elsewhere),
    };
    match opened {
        Ok(descriptor) => return Ok(state.table.push(descriptor)?),
        Err(Unopened::Io(error)) => return Err(error.into()),
        Err(Unopened::Special) => {}
        Err(Unopened::Elsewhere) => {
            let found = state.filesystem().stat_at(borrowed(&fd), at, path.clone()).await;
            if !found.is_ok_and(|stat| is_special(stat.type_)) {
                return state.filesystem().open_at(fd, at, path, how, flags).await;
            }
        }
    }
    note_special(&state.guest.voice);
    Err(ErrorCode::Unsupported.into())
}

const fn is_special(kind: DescriptorType) -> bool {
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

async fn set_size(state: &mut State, fd: Fd, size: Filesize) -> FsResult<()> {
    let place = Place::of(state, &fd);
    let file = writable(state.table.get(&fd)?);
    let _taken = match (&place, &file) {
        (Some(place), Some(file)) => Some(place.take_for_length(file, size).await?),
        _ => None,
    };
    let done = state.filesystem().set_size(fd, size).await;
    freed(place.as_ref(), done)
}

async fn write(state: &mut State, fd: Fd, bytes: Vec<u8>, at: Filesize) -> FsResult<Filesize> {
    let place = Place::of(state, &fd);
    let file = writable(state.table.get(&fd)?);
    let _taken = match (&place, &file) {
        (Some(place), Some(file)) => Some(place.take_for_write(file, Some(at), bytes.len()).await?),
        _ => None,
    };
    let wanted = bytes.len() as u64;
    let done = state.filesystem().write(fd, bytes, at).await;
    match done {
        Ok(written) if written == wanted => Ok(written),
        less => freed(place.as_ref(), less),
    }
}

/// The stream of a file, with limits if its directory has any.
fn bounded(
    state: &mut State,
    fd: &Fd,
    stream: Resource<DynOutputStream>,
    at: Option<Filesize>,
) -> FsResult<Resource<DynOutputStream>> {
    let place = Place::of(state, fd);
    let file = writable(state.table.get(fd)?);
    let (Some(place), Some(file)) = (place, file) else { return Ok(stream) };
    let inner = state.table.delete(stream)?;
    let of_guest = opened::place(&mut state.guest, Bounded::FileStreams)?;
    let stream: DynOutputStream = Box::new(Writer::new(inner, place, file, at, of_guest));
    Ok(state.table.push(stream)?)
}

/// Does what adds something, if there is room for it.
async fn add<T>(
    place: Option<&Place>,
    growth: Growth,
    doing: impl Future<Output = FsResult<T>>,
) -> FsResult<T> {
    let Some(place) = place.filter(|_| growth != Growth::default()) else { return doing.await };
    let _taken = place.take(growth).await?;
    let done = doing.await;
    if done.is_err() {
        place.room.freed();
    }
    done
}

/// Refuses to move a link that leads elsewhere than down, wherever it is; the operator is told.
async fn may_move(state: &mut State, fd: &Fd, path: &str) -> FsResult<()> {
    let directory = directory(state, fd).map_err(FsError::trap)?;
    let Some(directory) = directory.filter(|of| !of.perms.write_not_permitted()) else {
        // wasmtime-wasi says why not.
        return Ok(());
    };
    let worker = Worker::of(&state.guest);
    let refused = reach::may_move(&worker, &directory, path.to_owned()).await;
    refused.map_err(|rule| {
        state.guest.voice.refuse(&rule, SETTINGS);
        ErrorCode::NotPermitted.into()
    })
}

/// After what took something away, if it did.
fn removed<T>(place: Option<&Place>, done: FsResult<T>) -> FsResult<T> {
    if let Some(place) = place.filter(|_| done.is_ok()) {
        place.room.freed();
    }
    done
}

/// After what took away from a file, or added less to it than there was room for.
fn freed<T>(place: Option<&Place>, done: FsResult<T>) -> FsResult<T> {
    if let Some(place) = place {
        place.room.freed();
    }
    done
}

fn borrowed(fd: &Fd) -> Fd {
    Resource::new_borrow(fd.rep())
}

fn answer<T>(done: FsResult<T>) -> Answer<T> {
    Ok((match done {
        Ok(value) => Ok(value),
        Err(error) => Err(error.downcast()?),
    },))
}

#[cfg(test)]
mod tests;
