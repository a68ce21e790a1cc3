//! A directory that a guest of WASI 0.3 lists.

use std::iter;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use aop_core::BoxFuture;
use rustix::fs::FileType;
use tokio::sync::oneshot;
use wasmtime::StoreContextMut;
use wasmtime::component::{
    Access, Destination, FutureReader, StreamProducer, StreamReader, StreamResult,
};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView as _};
use wasmtime_wasi::p3::bindings::filesystem::types::{
    DescriptorType, DirectoryEntry, HostDescriptorWithStore as _,
};

use super::super::directory;
use super::super::listing::{Found, Listing, Ticket};
use super::{Fd, Written};
use crate::state::State;

type Entries = (StreamReader<DirectoryEntry>, FutureReader<Written>);
type Next = (Box<Listing>, std::io::Result<Option<Found>>);

/// Lists a directory.
pub(super) fn list(mut store: StoreContextMut<'_, State>, fd: Fd) -> wasmtime::Result<Entries> {
    let Some(directory) = directory(store.data(), &fd)? else {
        let files = Access::<State, WasiFilesystem>::new(store, |state| state.filesystem());
        return WasiFilesystem::read_directory(files, fd);
    };
    let (told, ended) = oneshot::channel();
    let entries = match Ticket::take(&mut store.data_mut().guest) {
        Ok(ticket) => {
            let step = Step::Ready(Box::new(Listing::new(directory.dir, ticket)));
            StreamReader::new(&mut store, Producer { step, told: Some(told) })?
        }
        Err(too_many) => {
            // It is waited for below.
            let _ = told.send(Err(too_many.into()));
            StreamReader::new(&mut store, iter::empty())?
        }
    };
    Ok((entries, FutureReader::new(&mut store, ended)?))
}

/// Gives a guest what it asks for, an entry at a time.
struct Producer {
    step: Step,
    told: Option<oneshot::Sender<Written>>,
}

enum Step {
    Ready(Box<Listing>),
    Reading(BoxFuture<'static, Next>),
    Ended,
}

impl Producer {
    fn tell(&mut self, ended: Written) {
        self.step = Step::Ended;
        if let Some(told) = self.told.take() {
            // A guest that does not ask how it ended has no use for an answer.
            let _ = told.send(ended);
        }
    }
}

impl<D> StreamProducer<D> for Producer {
    type Item = DirectoryEntry;
    type Buffer = Option<DirectoryEntry>;

    fn poll_produce<'a>(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut store: StoreContextMut<'a, D>,
        mut destination: Destination<'a, Self::Item, Self::Buffer>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        if destination.remaining(&mut store) == Some(0) {
            return Poll::Ready(Ok(StreamResult::Completed));
        }
        let mut reading = match mem::replace(&mut self.step, Step::Ended) {
            Step::Ready(mut listing) => Box::pin(async move {
                let next = listing.next().await;
                (listing, next)
            }),
            Step::Reading(reading) => reading,
            Step::Ended => return Poll::Ready(Ok(StreamResult::Dropped)),
        };
        let polled = reading.as_mut().poll(cx);
        if polled.is_pending() {
            // What is being read is for who asks next.
            self.step = Step::Reading(reading);
            if finish {
                return Poll::Ready(Ok(StreamResult::Cancelled));
            }
        }
        let (listing, next) = ready!(polled);
        match next {
            Ok(Some(found)) => {
                self.step = Step::Ready(listing);
                destination.set_buffer(Some(entry(found)));
                return Poll::Ready(Ok(StreamResult::Completed));
            }
            Ok(None) => self.tell(Ok(())),
            Err(error) => self.tell(Err(error.into())),
        }
        Poll::Ready(Ok(StreamResult::Dropped))
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.tell(Ok(()));
    }
}

fn entry(found: Found) -> DirectoryEntry {
    let type_ = match found.kind {
        FileType::RegularFile => DescriptorType::RegularFile,
        FileType::Directory => DescriptorType::Directory,
        FileType::Symlink => DescriptorType::SymbolicLink,
        FileType::BlockDevice => DescriptorType::BlockDevice,
        FileType::CharacterDevice => DescriptorType::CharacterDevice,
        _ => DescriptorType::Other(None),
    };
    DirectoryEntry { type_, name: found.name }
}
