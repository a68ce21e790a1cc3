use wasmtime::component::Resource;
use wasmtime_wasi::filesystem::{Descriptor, File, WasiFilesystemView as _};
use wasmtime_wasi::p2::bindings::filesystem::types::HostDescriptor as _;
use wasmtime_wasi::{FsPerms, filesystem::OpenMode};

use super::super::tests::state;
use super::super::{Worker, opened};
use super::*;
use crate::guest::Bounded;
use crate::state::State;

/// A stream into a new file of a directory.
fn stream(state: &mut State, path: &std::path::Path) -> Writer {
    let file = std::fs::File::create(path).unwrap();
    let file = File::new(file, FsPerms::ReadWrite, OpenMode::WRITE, false);
    let handle = Arc::clone(&file.file);
    let descriptor = state.table.push(Descriptor::File(file)).unwrap();
    let descriptor = Resource::new_borrow(descriptor.rep());
    let inner = state.filesystem().write_via_stream(descriptor, 0).unwrap();
    let inner = state.table.delete(inner).unwrap();
    let room = state.guest.grants.rooms[0].clone().unwrap();
    let (voice, worker) = (Arc::clone(&state.guest.voice), Worker::of(&state.guest));
    let of_guest = opened::place(&mut state.guest, Bounded::FileStreams).unwrap();
    Writer::new(inner, Place { room, voice, worker }, handle, Some(0), of_guest)
}

#[tokio::test]
async fn what_is_written_goes_in_pieces_and_no_longer_ones() {
    let directory = tempfile::tempdir().unwrap();
    let (mut state, path) = (state(directory.path()), directory.path().join("file"));
    let mut writer = stream(&mut state, &path);
    assert_eq!(writer.check_write().unwrap(), PIECE_MAX_BYTES);
    let long = Bytes::from(vec![0; PIECE_MAX_BYTES + 1]);
    assert!(matches!(writer.write(long.clone()), Err(StreamError::Trap(_))));
    writer.blocking_write_and_flush(long).await.unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), PIECE_MAX_BYTES as u64 + 1);
    assert!(!state.guest.is_empty_handed());
    drop(writer);
    assert!(state.guest.is_empty_handed());
}
