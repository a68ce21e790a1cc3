use std::fs;
use std::os::unix::fs::symlink;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::super::tests::state;
use super::*;

fn root(state: &mut State) -> Fd {
    let directories = preopens::Host::get_directories(&mut state.filesystem()).unwrap();
    begin(state, &directories);
    borrowed(&directories[0].0)
}

async fn made(state: &mut State, root: &Fd, path: &str) -> FsResult<Fd> {
    let flags = DescriptorFlags::READ | DescriptorFlags::WRITE;
    let (at, path) = (PathFlags::SYMLINK_FOLLOW, path.to_owned());
    open(state, borrowed(root), at, path, OpenFlags::CREATE, flags).await
}

fn code<T>(done: FsResult<T>) -> Option<ErrorCode> {
    done.err().map(|error| error.downcast().unwrap())
}

#[tokio::test]
async fn few_files_are_open_at_one_time() {
    let directory = tempfile::tempdir().unwrap();
    let mut state = state(directory.path());
    let root = root(&mut state);
    assert!(state.guest.is_empty_handed(), "what it was granted is not counted");
    let mut open = Vec::new();
    for index in 0..64 {
        open.push(made(&mut state, &root, &format!("file {index}")).await.unwrap());
    }
    let refused = made(&mut state, &root, "one more").await;
    assert_eq!(code(refused), Some(ErrorCode::InsufficientMemory));
    assert!(!directory.path().join("one more").exists());
    forget(&mut state, open.pop().unwrap().rep()).unwrap();
    open.push(made(&mut state, &root, "one more").await.unwrap());
    assert!(!state.guest.is_empty_handed());
    for descriptor in open {
        forget(&mut state, descriptor.rep()).unwrap();
    }
    assert!(state.guest.is_empty_handed());
}

#[tokio::test]
async fn a_pipe_is_not_supported() {
    let directory = tempfile::tempdir().unwrap();
    mknodat(CWD, directory.path().join("pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    let mut state = state(directory.path());
    let root = root(&mut state);
    let refused = made(&mut state, &root, "pipe").await;
    assert_eq!(code(refused), Some(ErrorCode::Unsupported));
    assert!(state.guest.is_empty_handed());
}

#[tokio::test]
async fn a_path_that_leads_out_is_refused_as_before() {
    let directory = tempfile::tempdir().unwrap();
    symlink("/etc/passwd", directory.path().join("out")).unwrap();
    let mut state = state(directory.path());
    let root = root(&mut state);
    for path in ["out", "..", "/etc/passwd"] {
        assert_eq!(
            code(made(&mut state, &root, path).await),
            Some(ErrorCode::NotPermitted),
            "{path}"
        );
    }
}

#[tokio::test]
async fn the_operators_links_stay_where_they_are() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("file"), "").unwrap();
    symlink("../secret", directory.path().join("up")).unwrap();
    let mut state = state(directory.path());
    let root = root(&mut state);
    assert_eq!(code(may_move(&mut state, &root, "up").await), Some(ErrorCode::NotPermitted));
    may_move(&mut state, &root, "file").await.unwrap();
}

#[tokio::test]
async fn a_directory_is_listed() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("below")).unwrap();
    let mut state = state(directory.path());
    let root = root(&mut state);
    let listing = list::list(&mut state, &root).unwrap();
    let found = state.table.get_mut(&listing).unwrap().next().await.unwrap();
    assert_eq!(found.unwrap().name, "below");
    assert!(!state.guest.is_empty_handed());
    state.table.delete(listing).unwrap();
    assert!(state.guest.is_empty_handed());
    let file = made(&mut state, &root, "file").await.unwrap();
    let refused = list::list(&mut state, &file);
    assert_eq!(code(refused), Some(ErrorCode::NotDirectory));
}
