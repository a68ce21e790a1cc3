use std::fs;

use rustix::fs::mkdirat;

use super::*;

/// Nests directories below one, by descriptors. What is made last.
pub(in super::super) fn nest(below: &Path, name: &str, depth: usize) -> OwnedFd {
    let mut directory = open(below).unwrap().unwrap();
    for _ in 0..depth {
        mkdirat(&directory, name, Mode::RWXU).unwrap();
        directory = openat(&directory, name, DIRECTORY, Mode::empty()).unwrap();
    }
    directory
}

fn count(path: &Path) -> Result<usize, Unreadable> {
    let mut count = 0;
    walk(open(path)?.unwrap(), |_| {
        count += 1;
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(count)
}

#[test]
fn what_has_a_longer_path_than_the_system_takes_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let name = "n".repeat(250);
    let deepest = nest(directory.path(), &name, 20);
    openat(&deepest, "file", OFlags::CREATE | OFlags::WRONLY, Mode::RWXU).unwrap();
    assert_eq!(count(directory.path()), Ok(21));
}

#[test]
fn a_walk_that_cannot_end_says_so() {
    let directory = tempfile::tempdir().unwrap();
    nest(directory.path(), "d", DEPTH_MAX - 1);
    assert_eq!(count(directory.path()), Ok(DEPTH_MAX - 1));
    let path = directory.path().join(["d"; DEPTH_MAX].join("/"));
    fs::create_dir(path).unwrap();
    let too_deep = count(directory.path()).unwrap_err();
    assert_eq!(too_deep, Unreadable::TooDeep(CString::from(c"d")));
    assert!(too_deep.to_string().contains("more than 64 directories deep"), "{too_deep}");
}

#[test]
fn a_directory_that_is_missing_or_none_is_told_from_one_that_cannot_be_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    fs::write(path.join("file"), "").unwrap();
    assert!(open(&path.join("missing")).unwrap().is_none());
    assert!(open(&path.join("file")).unwrap().is_none());
    let error = open(&path.join("n".repeat(300))).unwrap_err();
    assert!(error.to_string().contains("cannot be read"), "{error}");
}

#[test]
fn links_are_shown_and_not_followed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    std::os::unix::fs::symlink("..", path.join("up")).unwrap();
    let mut seen = Vec::new();
    walk(open(path).unwrap().unwrap(), |entry| {
        seen.push((entry.kind, entry.length, entry.target()?));
        Ok(ControlFlow::Continue(()))
    })
    .unwrap();
    assert_eq!(seen, [(FileType::Symlink, 2, Some(CString::from(c"..")))]);
}
