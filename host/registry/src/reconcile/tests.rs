//! In virtual time, over listings made by hand.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use aop_core::AgentName;

use super::{Change, Difference, Forget, Now, Reconciler};
use crate::source::{Directory, FileStamp, Found, Listing};

const SETTLE: Duration = Duration::from_millis(100);
const DIRECTORY: &str = "/agents";

struct Clock {
    clock: Instant,
    wall: SystemTime,
}

impl Clock {
    fn start() -> Self {
        Self {
            clock: Instant::now(),
            wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000),
        }
    }

    fn pass(&mut self, milliseconds: u64) {
        self.clock += Duration::from_millis(milliseconds);
        self.wall += Duration::from_millis(milliseconds);
    }

    fn now(&self) -> Now {
        Now { clock: self.clock, wall: self.wall }
    }
}

fn name(text: &str) -> AgentName {
    AgentName::new(text).unwrap()
}

fn path(agent: &str) -> PathBuf {
    Path::new(DIRECTORY).join(format!("{agent}.wasm"))
}

fn found(agent: &str, bytes: u64, modified: SystemTime) -> Found {
    Found {
        path: path(agent),
        component: FileStamp::for_test(bytes, modified),
        settings: None,
        bundle: None,
    }
}

fn listing(found: &[Found], directory: Directory) -> Listing {
    let mut listing = Listing::default();
    for found in found {
        let stem = found.path.file_stem().unwrap().to_str().unwrap();
        listing.agents.insert(name(stem), found.clone());
    }
    listing.directories.insert(DIRECTORY.into(), directory);
    listing
}

fn there(found: &[Found]) -> Listing {
    listing(found, Directory::Read)
}

fn nothing() -> Difference {
    Difference::default()
}

fn unsettled() -> Difference {
    Difference { changes: Vec::new(), unsettled: true }
}

fn changed(change: Change) -> Difference {
    Difference { changes: vec![change], unsettled: false }
}

#[test]
fn an_old_file_is_loaded_at_once_and_only_once() {
    let (clock, mut reconciler) = (Clock::start(), Reconciler::default());
    let old = found("a", 10, clock.wall - Duration::from_secs(60));
    let listing = there(std::slice::from_ref(&old));
    assert_eq!(
        reconciler.look(&listing, clock.now(), SETTLE),
        changed(Change::Load(name("a"), Box::new(old.clone())))
    );
    assert_eq!(reconciler.look(&listing, clock.now(), SETTLE), nothing());
    assert!(reconciler.is_current(&name("a"), &old));
}

#[test]
fn a_file_that_grows_waits_until_it_stops() {
    let (mut clock, mut reconciler) = (Clock::start(), Reconciler::default());
    for bytes in 1..20 {
        let growing = there(&[found("a", bytes, clock.wall)]);
        assert_eq!(reconciler.look(&growing, clock.now(), SETTLE), unsettled());
        clock.pass(50);
    }
    let whole = found("a", 19, clock.wall - Duration::from_millis(50));
    let listing = there(std::slice::from_ref(&whole));
    clock.pass(60);
    let difference = reconciler.look(&listing, clock.now(), SETTLE);
    assert_eq!(
        difference,
        changed(Change::Load(name("a"), Box::new(whole))),
        "its age says that it is done"
    );
}

#[test]
fn a_file_from_the_future_settles_by_being_watched() {
    let (mut clock, mut reconciler) = (Clock::start(), Reconciler::default());
    let future = found("a", 1, clock.wall + Duration::from_secs(3600));
    let listing = there(std::slice::from_ref(&future));
    assert_eq!(reconciler.look(&listing, clock.now(), SETTLE), unsettled());
    clock.pass(99);
    assert_eq!(reconciler.look(&listing, clock.now(), SETTLE), unsettled());
    clock.pass(1);
    assert_eq!(
        reconciler.look(&listing, clock.now(), SETTLE),
        changed(Change::Load(name("a"), Box::new(future)))
    );
}

fn loaded(clock: &Clock) -> (Reconciler, Found) {
    let mut reconciler = Reconciler::default();
    let old = found("a", 10, clock.wall - Duration::from_secs(60));
    reconciler.look(&there(std::slice::from_ref(&old)), clock.now(), SETTLE);
    (reconciler, old)
}

#[test]
fn a_file_that_is_replaced_by_removing_it_is_not_unloaded_in_between() {
    let mut clock = Clock::start();
    let (mut reconciler, _) = loaded(&clock);
    assert_eq!(reconciler.look(&there(&[]), clock.now(), SETTLE), unsettled());
    clock.pass(50);
    let new = found("a", 11, clock.wall);
    let listing = there(std::slice::from_ref(&new));
    assert_eq!(reconciler.look(&listing, clock.now(), SETTLE), unsettled());
    clock.pass(100);
    assert_eq!(
        reconciler.look(&listing, clock.now(), SETTLE),
        changed(Change::Load(name("a"), Box::new(new)))
    );
}

#[test]
fn a_removed_file_is_forgotten_and_a_missing_directory_is_not() {
    for (directory, forget) in [(Directory::Read, Forget::Yes), (Directory::Missing, Forget::No)] {
        let mut clock = Clock::start();
        let (mut reconciler, _) = loaded(&clock);
        let gone = listing(&[], directory);
        assert_eq!(reconciler.look(&gone, clock.now(), SETTLE), unsettled());
        clock.pass(100);
        assert_eq!(
            reconciler.look(&gone, clock.now(), SETTLE),
            changed(Change::Gone(name("a"), forget))
        );
        assert_eq!(reconciler.look(&gone, clock.now(), SETTLE), nothing());
        assert!(reconciler.is_gone(&name("a")));
    }
}

#[test]
fn a_directory_that_cannot_be_read_changes_nothing() {
    let mut clock = Clock::start();
    let (mut reconciler, old) = loaded(&clock);
    let unreadable = listing(&[], Directory::Unreadable("denied".to_owned()));
    for _ in 0..3 {
        assert_eq!(reconciler.look(&unreadable, clock.now(), SETTLE), nothing());
        clock.pass(1000);
    }
    assert_eq!(reconciler.note_directories(&unreadable).len(), 1);
    assert_eq!(reconciler.note_directories(&unreadable).len(), 0, "said once");
    assert_eq!(reconciler.why_unreadable(&old.path).as_deref(), Some("denied"));
    assert_eq!(reconciler.look(&there(&[old]), clock.now(), SETTLE), nothing());
}

#[test]
fn what_the_store_expects_is_loaded_or_gone() {
    let mut clock = Clock::start();
    let mut reconciler = Reconciler::default();
    reconciler.expect(name("a"), path("a"));
    reconciler.expect(name("b"), path("b"));
    let old = found("a", 10, clock.wall - Duration::from_secs(60));
    let listing = there(std::slice::from_ref(&old));
    let first = reconciler.look(&listing, clock.now(), SETTLE);
    assert_eq!(
        first,
        Difference { changes: vec![Change::Load(name("a"), Box::new(old))], unsettled: true }
    );
    clock.pass(100);
    assert_eq!(
        reconciler.look(&listing, clock.now(), SETTLE),
        changed(Change::Gone(name("b"), Forget::Yes))
    );
}

#[test]
fn an_agent_can_be_asked_for_again() {
    let clock = Clock::start();
    let (mut reconciler, old) = loaded(&clock);
    reconciler.again(&name("a"));
    assert!(!reconciler.is_current(&name("a"), &old));
    let listing = there(std::slice::from_ref(&old));
    assert_eq!(
        reconciler.look(&listing, clock.now(), SETTLE),
        changed(Change::Load(name("a"), Box::new(old)))
    );
    reconciler.again(&name("unknown"));
}

#[test]
fn what_comes_and_goes_before_it_settles_never_was() {
    let (mut clock, mut reconciler) = (Clock::start(), Reconciler::default());
    let brief = there(&[found("a", 1, clock.wall)]);
    assert_eq!(reconciler.look(&brief, clock.now(), SETTLE), unsettled());
    clock.pass(50);
    assert_eq!(reconciler.look(&there(&[]), clock.now(), SETTLE), nothing());
    assert!(reconciler.pending.is_empty());
}

#[test]
fn a_file_that_cannot_be_looked_at_is_not_gone() {
    let directory = tempfile::tempdir().unwrap();
    let (missing, file, circle) = (
        directory.path().join("missing.wasm"),
        directory.path().join("file"),
        directory.path().join("circle"),
    );
    std::fs::write(&file, "").unwrap();
    // Fails for whoever looks, root included, and not because the file is missing.
    std::os::unix::fs::symlink(&circle, &circle).unwrap();
    assert!(super::is_gone(&missing) && super::is_gone(&file.join("a.wasm")));
    assert!(!super::is_gone(&circle.join("a.wasm")) && !super::is_gone(&file));
}

#[test]
fn an_agent_whose_file_cannot_be_looked_at_stays() {
    let directory = tempfile::tempdir().unwrap();
    let circle = directory.path().join("circle");
    std::os::unix::fs::symlink(&circle, &circle).unwrap();
    let (mut clock, mut reconciler) = (Clock::start(), Reconciler::default());
    reconciler.expect(name("a"), circle.join("a.wasm"));
    // The directory could be read, and the file was not there to be seen.
    let mut listing = Listing::default();
    listing.directories.insert(circle, Directory::Read);
    for _ in 0..3 {
        clock.pass(1000);
        assert_eq!(reconciler.look(&listing, clock.now(), SETTLE), Difference::default());
    }
}
