use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{CWD, mknodat};
use wasmtime_wasi::FsPerms;

use super::super::desk::tests::worker;
use super::super::walk::DEPTH_MAX;
use super::super::walk::tests::nest;
use super::*;

fn root(path: &Path, perms: FsPerms) -> Dir {
    Dir::new(File::open(path).unwrap(), perms, OpenMode::READ, false)
}

fn wanted(flags: OFlags, reads: bool, writes: bool) -> Wanted {
    Wanted { flags, reads, writes }
}

async fn open_writable(path: &Path, name: &str, wanted: Wanted) -> Result<Descriptor, Unopened> {
    let opening = async {
        open(&worker(2, 1), &root(path, FsPerms::ReadWrite), name.to_owned(), wanted).await
    };
    tokio::time::timeout(Duration::from_secs(60), opening).await.expect("nothing waits")
}

#[tokio::test]
async fn a_pipe_is_not_opened_and_nobody_waits_for_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    mknodat(CWD, path.join("pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    std::os::unix::fs::symlink("pipe", path.join("link")).unwrap();
    for (reads, writes) in [(true, false), (false, true), (true, true)] {
        for name in ["pipe", "link"] {
            let opened = open_writable(path, name, wanted(OFlags::empty(), reads, writes)).await;
            assert!(matches!(opened, Err(Unopened::Special)), "{name} {reads} {writes}");
        }
    }
    // Also when it comes after somebody looked.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK;
    let raced = beneath(&File::open(path).unwrap(), "pipe", flags).unwrap();
    assert_eq!(kind(&raced).unwrap(), FileType::Fifo);
}

#[tokio::test]
async fn files_are_opened_made_and_shortened_as_they_were() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    fs::write(path.join("file"), "text").unwrap();
    let opened = open_writable(path, "file", wanted(OFlags::empty(), true, false)).await.unwrap();
    let Descriptor::File(file) = opened else { panic!("it is a file") };
    let mut text = String::new();
    (&*file.file).read_to_string(&mut text).unwrap();
    assert_eq!((text.as_str(), file.open_mode), ("text", OpenMode::READ));
    let made = open_writable(path, "new", wanted(OFlags::CREATE, false, false)).await.unwrap();
    let Descriptor::File(made) = made else { panic!("it is a file") };
    assert_eq!(made.open_mode, OpenMode::READ | OpenMode::WRITE);
    let exclusive = wanted(OFlags::CREATE | OFlags::EXCL, false, true);
    let there = open_writable(path, "new", exclusive).await;
    assert!(
        matches!(&there, Err(Unopened::Io(error)) if error.raw_os_error() == Some(Errno::EXIST.raw_os_error()))
    );
    drop(open_writable(path, "file", wanted(OFlags::TRUNC, false, true)).await.unwrap());
    assert_eq!(fs::read(path.join("file")).unwrap(), b"");
}

#[tokio::test]
async fn directories_are_opened_and_told_from_files() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    fs::create_dir(path.join("below")).unwrap();
    fs::write(path.join("file"), "").unwrap();
    let reads = wanted(OFlags::DIRECTORY, true, false);
    let opened = open_writable(path, "below", reads).await.unwrap();
    assert!(matches!(opened, Descriptor::Dir(_)));
    let none = open_writable(path, "file", reads).await;
    assert!(
        matches!(&none, Err(Unopened::Io(error)) if error.raw_os_error() == Some(Errno::NOTDIR.raw_os_error()))
    );
}

#[tokio::test]
async fn no_path_and_no_link_leads_out() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("granted");
    fs::create_dir(&path).unwrap();
    fs::write(directory.path().join("secret"), "key").unwrap();
    std::os::unix::fs::symlink("../secret", path.join("up")).unwrap();
    std::os::unix::fs::symlink("up", path.join("twice")).unwrap();
    for name in ["../secret", "up", "twice", "/etc/passwd", "..", "./../secret"] {
        let opened = open_writable(&path, name, wanted(OFlags::empty(), true, false)).await;
        let refused = matches!(&opened, Err(Unopened::Io(error)) if error.kind() == io::ErrorKind::PermissionDenied);
        assert!(refused, "{name}");
    }
    let link = open_writable(&path, "up", wanted(OFlags::NOFOLLOW, true, false)).await;
    assert!(
        matches!(&link, Err(Unopened::Io(error)) if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()))
    );
}

#[tokio::test]
async fn what_wasmtime_wasi_refuses_by_itself_is_left_to_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    fs::write(path.join("file"), "text").unwrap();
    let read = root(path, FsPerms::ReadOnly);
    for wanted in [
        wanted(OFlags::empty(), false, true),
        wanted(OFlags::CREATE, true, false),
        wanted(OFlags::TRUNC, true, false),
        wanted(OFlags::SYNC, true, false),
        wanted(OFlags::DIRECTORY | OFlags::CREATE, true, false),
    ] {
        let opened = open(&worker(2, 1), &read, "file".to_owned(), wanted).await;
        assert!(matches!(opened, Err(Unopened::Elsewhere)), "{wanted:?}");
    }
    assert_eq!(fs::read(path.join("file")).unwrap(), b"text");
}

#[test]
fn links_that_lead_elsewhere_than_down_stay_where_they_are_also_in_directories() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    fs::create_dir_all(path.join("up/deep")).unwrap();
    fs::create_dir_all(path.join("down/deep")).unwrap();
    fs::write(path.join("file"), "").unwrap();
    for (target, name) in [
        ("../file", "up/deep/link"),
        ("/etc", "absolute"),
        ("file", "plain"),
        ("deep", "down/link"),
        ("up", "into"),
    ] {
        std::os::unix::fs::symlink(target, path.join(name)).unwrap();
    }
    let below = File::open(path).unwrap();
    for name in ["up", "up/", "up/deep", "up/deep/link", "up/deep/link//", "absolute", "into/deep"]
    {
        let refused = may_move_now(&below, name).unwrap_err();
        assert!(refused.contains("stays where it is"), "{name}: {refused}");
    }
    for name in ["file", "plain", "into", "down", "down/deep", "down/link", "missing", "file/x", ""]
    {
        assert_eq!(may_move_now(&below, name), Ok(()), "{name}");
    }
    // What leads out is refused by whoever is asked to rename it.
    assert_eq!(may_move_now(&below, "../x"), Ok(()));
}

#[test]
fn a_directory_that_cannot_be_seen_whole_stays_where_it_is() {
    let directory = tempfile::tempdir().unwrap();
    nest(directory.path(), "d", DEPTH_MAX + 1);
    let refused = may_move_now(&File::open(directory.path()).unwrap(), "d").unwrap_err();
    assert!(refused.contains("cannot see") && refused.contains("64 directories"), "{refused}");
}
