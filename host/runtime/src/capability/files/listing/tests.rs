use std::collections::BTreeSet;
use std::fs;

use super::super::opened::tests::guest;
use super::*;

fn listing(path: &std::path::Path, guest: &mut Guest) -> Listing {
    Listing::new(Arc::new(File::open(path).unwrap()), Ticket::take(guest).unwrap())
}

#[tokio::test]
async fn a_directory_is_read_in_pieces_and_whole() {
    let (directory, mut guest) = (tempfile::tempdir().unwrap(), guest());
    let path = directory.path();
    let mut names = BTreeSet::new();
    for index in 0..PIECE_MAX * 2 + 5 {
        let name = format!("file {index}");
        fs::write(path.join(&name), "").unwrap();
        names.insert(name);
    }
    let mut listing = listing(path, &mut guest);
    while let Some(found) = listing.next().await.unwrap() {
        assert!(listing.piece.len() < PIECE_MAX, "no more than a piece is held");
        assert_eq!(found.kind, FileType::RegularFile);
        assert!(names.remove(&found.name), "{found:?} twice");
    }
    assert!(names.is_empty(), "{names:?}");
    assert_eq!(listing.next().await.unwrap(), None);
}

#[tokio::test]
async fn entries_are_told_apart_and_links_are_not_followed() {
    let (directory, mut guest) = (tempfile::tempdir().unwrap(), guest());
    fs::create_dir(directory.path().join("below")).unwrap();
    std::os::unix::fs::symlink("below", directory.path().join("link")).unwrap();
    let mut listing = listing(directory.path(), &mut guest);
    let mut kinds = Vec::new();
    while let Some(found) = listing.next().await.unwrap() {
        kinds.push((found.name, found.kind));
    }
    kinds.sort_by(|one, other| one.0.cmp(&other.0));
    let expected =
        [("below".to_owned(), FileType::Directory), ("link".to_owned(), FileType::Symlink)];
    assert_eq!(kinds, expected);
}

#[tokio::test]
async fn a_name_that_is_no_text_is_an_error_and_the_next_is_read() {
    use std::os::unix::ffi::OsStrExt as _;
    let (directory, mut guest) = (tempfile::tempdir().unwrap(), guest());
    fs::write(directory.path().join(std::ffi::OsStr::from_bytes(&[0xff])), "").unwrap();
    fs::write(directory.path().join("text"), "").unwrap();
    let mut listing = listing(directory.path(), &mut guest);
    let read = [listing.next().await, listing.next().await];
    assert_eq!(read.iter().filter(|next| next.is_err()).count(), 1, "{read:?}");
    assert!(listing.next().await.unwrap().is_none());
}

#[test]
fn a_guest_has_few_listings_and_they_are_open_files() {
    let (directory, mut guest) = (tempfile::tempdir().unwrap(), guest());
    let mut listings: Vec<_> = (0..16).map(|_| listing(directory.path(), &mut guest)).collect();
    assert!(Ticket::take(&mut guest).is_err());
    let rest: Vec<_> = (0..48).map(|_| opening(&mut guest).unwrap()).collect();
    assert!(opening(&mut guest).is_err());
    drop(rest);
    assert!(!guest.is_empty_handed());
    listings.clear();
    assert!(guest.is_empty_handed());
}
