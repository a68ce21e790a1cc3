//! A stream of WASI 0.3 into a file whose directory has limits.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use aop_core::BoxFuture;
use rustix::io::{Errno, ReadWriteFlags, pwritev2};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use wasmtime::StoreContextMut;
use wasmtime::component::{
    Access, FutureReader, Source, StreamConsumer, StreamReader, StreamResult,
};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView as _};
use wasmtime_wasi::p3::bindings::filesystem::types::{
    ErrorCode, Filesize, HostDescriptorWithStore as _,
};

use super::super::{Place, Taken, opened};
use super::{Fd, Written, file_of};
use crate::guest::Bounded;
use crate::state::State;

/// What a guest writes is taken from it in pieces of this size at most.
const PIECE_MAX_BYTES: usize = 64 << 10;

/// Writes a stream into a file, at a position or at its end.
pub(super) fn write(
    mut store: StoreContextMut<'_, State>,
    fd: Fd,
    mut data: StreamReader<u8>,
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
    match opened::place(&mut store.data_mut().guest, Bounded::FileStreams) {
        Ok(of_guest) => {
            let told = Some(told);
            let consumer = Consumer { place, file, at, told, writing: None, _of_guest: of_guest };
            data.pipe(&mut store, consumer)?;
        }
        Err(too_many) => {
            data.close(&mut store)?;
            // It is waited for below.
            let _ = told.send(Err(too_many.into()));
        }
    }
    FutureReader::new(&mut store, written)
}

/// Writes what a guest sends, a piece at a time.
struct Consumer {
    place: Place,
    file: Arc<std::fs::File>,
    at: Option<u64>,
    told: Option<oneshot::Sender<Written>>,
    writing: Option<BoxFuture<'static, Result<usize, ErrorCode>>>,
    _of_guest: OwnedSemaphorePermit,
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
    let writing = place.worker.run(move || {
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
