//! A stream of WASI 0.2 into a file whose directory has limits.
//!
//! wasmtime-wasi's own stream does the writing; a piece goes there once there is room for it. Until then the stream
//! is not ready, as if the disk were busy. A piece for which there is no room fails as a whole.

use std::mem;
use std::sync::Arc;

use aop_core::BoxFuture;
use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use wasmtime_wasi::p2::{DynOutputStream, OutputStream, Pollable, StreamError, StreamResult};

use super::{NoRoom, Place, Taken};

/// What a guest may write at once. wasmtime-wasi takes as much as there comes, and holds it until it is written.
const PIECE_MAX_BYTES: usize = 64 << 10;

pub(super) struct Writer {
    inner: DynOutputStream,
    place: Place,
    file: Arc<std::fs::File>,
    /// Where the next piece goes; none for the end of the file.
    at: Option<u64>,
    step: Step,
    _of_guest: OwnedSemaphorePermit,
}

enum Step {
    /// Nothing waits here; the room is of the piece that was passed on last.
    Passed {
        _room: Option<Taken>,
    },
    /// A piece waits for room.
    Waiting(BoxFuture<'static, Result<Taken, NoRoom>>, Bytes),
    /// The next one who asks is told.
    Failed(StreamError),
    Closed,
}

impl Writer {
    pub(super) fn new(
        inner: DynOutputStream,
        place: Place,
        file: Arc<std::fs::File>,
        at: Option<u64>,
        of_guest: OwnedSemaphorePermit,
    ) -> Self {
        let step = Step::Passed { _room: None };
        Self { inner, place, file, at, step, _of_guest: of_guest }
    }

    /// Passes the piece on that waits, once there is room for it.
    async fn pass_on(&mut self) {
        let Step::Waiting(taking, _) = &mut self.step else { return };
        let taken = taking.await;
        let Step::Waiting(_, bytes) = mem::replace(&mut self.step, Step::Closed) else { return };
        self.step = match taken {
            Ok(taken) => {
                self.at = self.at.map(|at| at.saturating_add(bytes.len() as u64));
                match self.inner.write(bytes) {
                    Ok(()) => Step::Passed { _room: Some(taken) },
                    Err(error) => Step::Failed(error),
                }
            }
            Err(no_room) => Step::Failed(StreamError::LastOperationFailed(no_room.into())),
        };
    }

    fn fail<T>(&mut self) -> StreamResult<T> {
        match mem::replace(&mut self.step, Step::Closed) {
            Step::Failed(error) => Err(error),
            _ => Err(StreamError::Closed),
        }
    }
}

#[wasmtime_wasi::async_trait]
impl OutputStream for Writer {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if bytes.len() > PIECE_MAX_BYTES {
            return Err(StreamError::trap("write not permitted: longer than check_write allows"));
        }
        match &self.step {
            Step::Passed { .. } => {}
            Step::Waiting(..) => {
                return Err(StreamError::trap("write not permitted: check_write not called first"));
            }
            Step::Failed(_) | Step::Closed => return self.fail(),
        }
        let (place, file, at, count) =
            (self.place.clone(), Arc::clone(&self.file), self.at, bytes.len());
        let taking = async move { place.take_for_write(&file, at, count).await };
        self.step = Step::Waiting(Box::pin(taking), bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        match &self.step {
            Step::Passed { .. } => self.inner.flush(),
            Step::Waiting(..) => Ok(()),
            Step::Failed(_) | Step::Closed => self.fail(),
        }
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        match &self.step {
            Step::Passed { .. } => {
                let permit = self.inner.check_write().map(|permit| permit.min(PIECE_MAX_BYTES));
                if permit.as_ref().is_err() {
                    // It wrote less than there was room for.
                    self.place.room.freed();
                }
                if permit.as_ref().is_ok_and(|permit| *permit > 0) || permit.is_err() {
                    self.step = Step::Passed { _room: None };
                }
                permit
            }
            Step::Waiting(..) => Ok(0),
            Step::Failed(_) | Step::Closed => self.fail(),
        }
    }

    async fn cancel(&mut self) {
        // A guest that drops the stream counts on what it wrote.
        self.pass_on().await;
        self.inner.cancel().await;
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Writer {
    async fn ready(&mut self) {
        self.pass_on().await;
        if let Step::Passed { .. } = self.step {
            self.inner.ready().await;
        }
    }
}

#[cfg(test)]
mod tests;
