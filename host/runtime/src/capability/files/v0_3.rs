//! The functions of `wasi:filesystem` 0.3 that change a directory.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use aop_core::BoxFuture;
use rustix::io::{Errno, ReadWriteFlags, pwritev2};
use tokio::sync::oneshot;
use wasmtime::StoreContextMut;
use wasmtime::component::{
    Access, Accessor, FutureReader, Linker, LinkerInstance, Resource, Source, StreamConsumer,
    StreamReader, StreamResult,
};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystem, WasiFilesystemView as _};
use wasmtime_wasi::p3::bindings::filesystem::preopens;
use wasmtime_wasi::p3::bindings::filesystem::types::{
    DescriptorFlags, DescriptorStat, ErrorCode, Filesize, HostDescriptorWithStore as _, OpenFlags,
    PathFlags,
};
use wasmtime_wasi::p3::filesystem::{FilesystemError, FilesystemResult};

use super::{Growth, NoRoom, Place, Taken, begin, enter, note_denied, saw, stays_below, writable};
use crate::state::State;

/// What a guest writes is taken from it in pieces of this size at most.
const PIECE_MAX_BYTES: usize = 64 << 10;

type Fd = Resource<Descriptor>;
type Store<'a> = &'a Accessor<State>;
type Answer<T> = wasmtime::Result<(Result<T, ErrorCode>,)>;
type Answering<'a, T> = Pin<Box<dyn Future<Output = Answer<T>> + Send + 'a>>;
/// What becomes of a stream.
type Written = Result<(), ErrorCode>;

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
    let files = files(store);
    let growth = match &place {
        Some(_) if how.contains(OpenFlags::CREATE) => {
            let found = WasiFilesystem::stat_at(&files, borrowed(&fd), at, path.clone()).await;
            if found.is_ok() { Growth::default() } else { Growth::FILE }
        }
        _ => Growth::default(),
    };
    let doing = WasiFilesystem::open_at(&files, fd, at, path, how, flags);
    let opened = add(place.as_ref(), growth, doing).await.inspect_err(|error| {
        if matches!(error.downcast_ref(), Some(ErrorCode::NotPermitted | ErrorCode::ReadOnly)) {
            store.with(|mut access| note_denied(&access.get().guest.voice));
        }
    })?;
    store.with(|mut access| {
        let state = access.get();
        enter(state, &opened, below, place.as_ref().map(|place| Arc::clone(&place.room)));
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

/// Writes a stream into a file, at a position or at its end.
fn write(
    mut store: StoreContextMut<'_, State>,
    fd: Fd,
    data: StreamReader<u8>,
    at: Option<Filesize>,
) -> wasmtime::Result<FutureReader<Written>> {
    let state = store.data_mut();
    let (place, file) = (Place::of(state, &fd), file_of(state, &fd)?);
    let (Some(place), Some(file)) = (place, file) else {
        let files = Access::<State, WasiFilesystem>::new(store, |state| state.filesystem());
        return match at {
            Some(at) => WasiFilesystem::write_via_stream(files, fd, data, at),
            None => WasiFilesystem::append_via_stream(files, fd, data),
        };
    };
    let (told, written) = oneshot::channel();
    data.pipe(&mut store, Consumer { place, file, at, told: Some(told), writing: None })?;
    FutureReader::new(&mut store, written)
}

/// Writes what a guest sends, a piece at a time.
struct Consumer {
    place: Place,
    file: Arc<std::fs::File>,
    at: Option<u64>,
    told: Option<oneshot::Sender<Written>>,
    writing: Option<BoxFuture<'static, Result<usize, ErrorCode>>>,
}

impl Consumer {
    fn tell(&mut self, written: Written) {
        if let Some(told) = self.told.take() {
            // A guest that does not ask what became of it has no use for an answer.
            let _ = told.send(written);
        }
    }
}

impl<D> StreamConsumer<D> for Consumer {
    type Item = u8;

    fn poll_consume(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        store: StoreContextMut<'_, D>,
        source: Source<'_, u8>,
        _finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let mut source = source.as_direct(store);
        let me = &mut *self;
        let writing = me.writing.get_or_insert_with(|| {
            let rest = source.remaining();
            let piece = rest[..rest.len().min(PIECE_MAX_BYTES)].to_vec();
            Box::pin(write_piece(me.place.clone(), Arc::clone(&me.file), me.at, piece))
        });
        // A write cannot be taken back, so whoever cancels waits for it.
        let written = ready!(writing.as_mut().poll(cx));
        me.writing = None;
        match written {
            Ok(count) => {
                source.mark_read(count);
                me.at = me.at.map(|at| at.saturating_add(count as u64));
                Poll::Ready(Ok(StreamResult::Completed))
            }
            Err(code) => {
                me.place.room.freed();
                me.tell(Err(code));
                Poll::Ready(Ok(StreamResult::Dropped))
            }
        }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.tell(Ok(()));
    }
}

async fn write_piece(
    place: Place,
    file: Arc<std::fs::File>,
    at: Option<u64>,
    piece: Vec<u8>,
) -> Result<usize, ErrorCode> {
    if piece.is_empty() {
        return Ok(0);
    }
    let taken = place.take_for_write(&file, at, piece.len()).await?;
    let writing = tokio::task::spawn_blocking(move || {
        // Until it is written, also when nobody waits for it any more.
        let _taken: Taken = taken;
        write_at(&file, at, &piece)
    });
    let written = writing.await.map_err(|_| ErrorCode::Io)?;
    written.map_err(ErrorCode::from)
}

fn write_at(file: &std::fs::File, at: Option<u64>, piece: &[u8]) -> io::Result<usize> {
    let Some(at) = at else {
        // One that another instance appends to keeps the pieces of both.
        return loop {
            match pwritev2(file, &[IoSlice::new(piece)], 0, ReadWriteFlags::APPEND) {
                Err(Errno::INTR) => {}
                written => break Ok(written?),
            }
        };
    };
    std::os::unix::fs::FileExt::write_at(file, piece, at)
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
