use std::fs::{self, File};
use std::os::unix::fs::symlink;

use rustix::fs::{Mode, OFlags, openat};

use super::super::desk::tests::worker;
use super::super::walk::DEPTH_MAX;
use super::super::walk::tests::nest;
use super::*;

const KIB: u64 = 1 << 10;

/// A directory and what a grant leaves of it.
struct Place {
    directory: tempfile::TempDir,
    rooms: Rooms,
    room: Arc<Room>,
}

fn place(size_max_bytes: u64, files_max: u64) -> Place {
    let directory = tempfile::tempdir().unwrap();
    let rooms = Rooms::default();
    let room = rooms.of(&grant(directory.path(), size_max_bytes, files_max)).unwrap();
    Place { directory, rooms, room }
}

fn grant(path: &Path, size_max_bytes: u64, files_max: u64) -> DirectoryGrant {
    DirectoryGrant {
        host: path.to_owned(),
        guest: "/work".to_owned(),
        writable: true,
        limits: DirectoryLimits { size_max_bytes, files_max },
    }
}

impl Place {
    fn write(&self, name: &str, bytes: u64) {
        fs::write(self.directory.path().join(name), vec![0; bytes as usize]).unwrap();
    }

    fn now(&self) -> Growth {
        self.room.usage.tally().now
    }
}

fn of(bytes: u64, files: u64) -> Growth {
    Growth { bytes, files }
}

#[test]
fn everything_in_a_directory_and_below_counts_and_nothing_else() {
    let place = place(0, 0);
    let path = place.directory.path();
    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(elsewhere.path().join("large"), vec![0; 4096]).unwrap();
    fs::create_dir(path.join("below")).unwrap();
    place.write("a", 100);
    place.write("below/b", 50);
    fs::hard_link(path.join("a"), path.join("below/again")).unwrap();
    symlink(elsewhere.path(), path.join("out")).unwrap();
    let link = elsewhere.path().as_os_str().len() as u64;
    assert_eq!(measure(path, 100), (of(250 + link, 5), None));
    assert_eq!(measure(path, 3).0.files, 3, "a walk ends");
    assert_eq!(measure(&path.join("missing"), 3), (Growth::default(), None));
}

#[tokio::test(start_paused = true)]
async fn what_is_there_and_what_is_added_share_the_room() {
    let place = place(10 * KIB, 3);
    place.write("before", 4 * KIB);
    let taken = place.room.take(of(6 * KIB, 1), &worker(64, 1)).await.unwrap();
    let refused = place.room.take(Growth::bytes(1), &worker(64, 1)).await.unwrap_err();
    assert!(
        refused.contains("`/work` is full") && refused.contains("10KiB in 3 files"),
        "{refused}"
    );
    assert!(
        place.room.take(Growth::default(), &worker(64, 1)).await.is_ok(),
        "what adds nothing fits"
    );
    drop(taken);
    // It was not written after all, which the next measuring sees.
    place.room.freed();
    drop(place.room.take(of(6 * KIB, 2), &worker(64, 1)).await.unwrap());
    assert!(
        place.room.take(Growth::FILE, &worker(64, 1)).await.is_err(),
        "files are bounded on their own"
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_under_way_is_counted_through_a_measuring() {
    let place = place(10 * KIB, 10);
    let under_way = place.room.take(Growth::bytes(8 * KIB), &worker(64, 1)).await.unwrap();
    place.room.freed();
    assert!(
        place.room.take(Growth::bytes(4 * KIB), &worker(64, 1)).await.is_err(),
        "it is on its way"
    );
    assert_eq!(place.now().bytes, 8 * KIB);
    place.write("done", 8 * KIB);
    drop(under_way);
    place.room.freed();
    assert!(
        place.room.take(Growth::bytes(4 * KIB), &worker(64, 1)).await.is_err(),
        "it has arrived"
    );
    assert_eq!(place.now().bytes, 8 * KIB);
}

#[tokio::test(start_paused = true)]
async fn what_others_write_is_seen_after_a_while() {
    let place = place(10 * KIB, 10);
    drop(place.room.take(Growth::bytes(1), &worker(64, 1)).await.unwrap());
    place.write("theirs", 10 * KIB);
    assert!(place.room.take(Growth::bytes(1), &worker(64, 1)).await.is_ok(), "not at once");
    tokio::time::advance(FRESH).await;
    assert!(place.room.take(Growth::bytes(1), &worker(64, 1)).await.is_err());
    // And what they remove.
    fs::remove_file(place.directory.path().join("theirs")).unwrap();
    tokio::time::advance(MEASURE_INTERVAL).await;
    assert!(place.room.take(Growth::bytes(1), &worker(64, 1)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_full_directory_is_measured_once_a_second() {
    let place = place(0, 0);
    let begun = Instant::now();
    for _ in 0..5 {
        place.room.freed();
        assert!(place.room.take(Growth::FILE, &worker(64, 1)).await.is_err());
    }
    assert!(begun.elapsed() >= MEASURE_INTERVAL * 4, "{:?}", begun.elapsed());
    let begun = Instant::now();
    assert!(place.room.take(Growth::FILE, &worker(64, 1)).await.is_err());
    assert!(begun.elapsed() < MEASURE_INTERVAL, "nothing changed, so nobody waits");
}

#[tokio::test(start_paused = true)]
async fn a_file_without_a_name_counts_while_it_is_open() {
    let place = place(10 * KIB, 10);
    place.write("hidden", 8 * KIB);
    let path = place.directory.path().join("hidden");
    let file = Arc::new(File::open(&path).unwrap());
    place.room.opened(&file);
    fs::remove_file(&path).unwrap();
    place.room.freed();
    assert!(place.room.take(Growth::bytes(4 * KIB), &worker(64, 1)).await.is_err());
    drop(file);
    place.room.freed();
    assert!(place.room.take(Growth::bytes(4 * KIB), &worker(64, 1)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn agents_with_one_directory_see_each_other() {
    let place = place(10 * KIB, 10);
    let path = place.directory.path();
    let other = place.rooms.of(&grant(path, 20 * KIB, 20)).unwrap();
    drop(place.room.take(Growth::bytes(8 * KIB), &worker(64, 1)).await.unwrap());
    assert!(
        other.take(Growth::bytes(12 * KIB), &worker(64, 1)).await.is_ok(),
        "each has its own limits"
    );
    let read = DirectoryGrant { writable: false, ..grant(path, 1, 1) };
    assert!(place.rooms.of(&read).is_none());
    assert!(!place.room.is(&other) && place.room.is(&place.room));
}

#[tokio::test(start_paused = true)]
async fn what_lies_deeper_than_a_path_can_say_counts() {
    let place = place(10 * KIB, 100);
    let deepest = nest(place.directory.path(), &"n".repeat(250), 18);
    let large = openat(&deepest, "large", OFlags::CREATE | OFlags::WRONLY, Mode::RWXU).unwrap();
    File::from(large).set_len(9 * KIB).unwrap();
    assert!(place.room.take(Growth::bytes(2 * KIB), &worker(64, 1)).await.is_err());
    assert_eq!(place.now(), of(9 * KIB, 19));
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_cannot_be_measured_is_full_until_it_can() {
    let place = place(10 * KIB, 100);
    nest(place.directory.path(), "d", DEPTH_MAX);
    let refused = place.room.take(Growth::FILE, &worker(64, 1)).await.unwrap_err();
    assert!(refused.contains("counts as full") && refused.contains("64 directories"), "{refused}");
    assert!(
        place.room.take(Growth::default(), &worker(64, 1)).await.is_ok(),
        "what adds nothing may go on"
    );
    fs::remove_dir_all(place.directory.path().join("d/d")).unwrap();
    place.room.freed();
    assert!(place.room.take(Growth::FILE, &worker(64, 1)).await.is_ok());
}
