use std::collections::BTreeSet;
use std::future::{pending, ready};
use std::os::unix::fs::symlink;
use std::sync::Mutex;
use std::task::{Context, Poll};

use tokio::sync::oneshot;
use wasmtime::AsContextMut as _;
use wasmtime::component::{Source, StreamConsumer, StreamResult};
use wasmtime_wasi::p3::bindings::filesystem::types::DirectoryEntry;

use super::super::tests::state;
use super::*;
use crate::engine::Model;

fn store(directory: &std::path::Path) -> wasmtime::Store<State> {
    wasmtime::Store::new(&Model::Concurrent.compiling().unwrap(), state(directory))
}

fn root(state: &mut State) -> Fd {
    let directories = preopens::Host::get_directories(&mut state.filesystem()).unwrap();
    begin(state, &directories);
    borrowed(&directories[0].0)
}

async fn made(store: Store<'_>, root: &Fd, path: &str) -> FilesystemResult<Fd> {
    let flags = DescriptorFlags::READ | DescriptorFlags::WRITE;
    let (at, path) = (PathFlags::SYMLINK_FOLLOW, path.to_owned());
    open(store, borrowed(root), at, path, OpenFlags::CREATE, flags).await
}

fn code<T>(done: FilesystemResult<T>) -> String {
    done.err().map_or_else(String::new, |error| format!("{:?}", error.downcast().unwrap()))
}

#[tokio::test]
async fn what_is_under_way_is_bounded_and_so_are_paths() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = store(directory.path());
    let done = store.run_concurrent(async |store| {
        let mut under_way = Vec::new();
        for _ in 0..256 {
            let mut doing = Box::pin(bounded::<()>(store, PATH_MAX_BYTES, pending()));
            assert!(futures::poll!(&mut doing).is_pending());
            under_way.push(doing);
        }
        let refused = bounded(store, 0, ready(Ok(()))).await;
        assert!(code(refused).contains("InsufficientMemory"));
        under_way.clear();
        bounded(store, 0, ready(Ok(()))).await.unwrap();
        let refused = bounded(store, PATH_MAX_BYTES + 1, ready(Ok(()))).await;
        assert!(code(refused).contains("NameTooLong"));
    });
    done.await.unwrap();
}

#[tokio::test]
async fn few_files_are_open_at_one_time() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = store(directory.path());
    let root = root(store.data_mut());
    let opening = store.run_concurrent(async |store| {
        let mut open = Vec::new();
        for index in 0..64 {
            open.push(made(store, &root, &format!("file {index}")).await.unwrap());
        }
        assert!(code(made(store, &root, "one more").await).contains("InsufficientMemory"));
        open
    });
    let open = opening.await.unwrap();
    assert!(!store.data().guest.is_empty_handed());
    for descriptor in open {
        forget(store.data_mut(), descriptor.rep()).unwrap();
    }
    assert!(store.data().guest.is_empty_handed());
}

#[tokio::test]
async fn the_operators_links_stay_where_they_are() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("file"), "").unwrap();
    symlink("../secret", directory.path().join("up")).unwrap();
    let mut store = store(directory.path());
    let root = root(store.data_mut());
    let moving = store.run_concurrent(async |store| {
        let moved = |path: &str| {
            rename(store, (borrowed(&root), path.to_owned()), (borrowed(&root), "new".to_owned()))
        };
        assert!(code(moved("up").await).contains("NotPermitted"));
        moved("file").await.unwrap();
    });
    moving.await.unwrap();
    assert!(directory.path().join("new").exists());
}

/// Takes the names from a listing, and tells when it ends.
struct Names(Arc<Mutex<BTreeSet<String>>>, Option<oneshot::Sender<()>>);

impl<D> StreamConsumer<D> for Names {
    type Item = DirectoryEntry;

    fn poll_consume(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        store: StoreContextMut<'_, D>,
        mut source: Source<'_, DirectoryEntry>,
        _: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let mut entries = Vec::with_capacity(16);
        source.read(store, &mut entries)?;
        self.0.lock().unwrap().extend(entries.into_iter().map(|entry| entry.name));
        Poll::Ready(Ok(StreamResult::Completed))
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        let _ = self.1.take().unwrap().send(());
    }
}

#[tokio::test]
async fn a_directory_is_listed_to_its_end() {
    let directory = tempfile::tempdir().unwrap();
    let expected: BTreeSet<_> = (0..150).map(|index| format!("file {index}")).collect();
    for name in &expected {
        std::fs::write(directory.path().join(name), "").unwrap();
    }
    let mut store = store(directory.path());
    let root = root(store.data_mut());
    let names = Arc::default();
    let (tell, ended) = oneshot::channel();
    let (entries, _) = list(store.as_context_mut(), borrowed(&root)).unwrap();
    assert!(!store.data().guest.is_empty_handed());
    entries.pipe(&mut store, Names(Arc::clone(&names), Some(tell))).unwrap();
    store.run_concurrent(async |_| ended.await).await.unwrap().unwrap();
    assert_eq!(*names.lock().unwrap(), expected);
    assert!(store.data().guest.is_empty_handed());
}
