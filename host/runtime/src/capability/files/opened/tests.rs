use std::collections::BTreeMap;
use std::path::Path;

use aop_core::{GuestLine, GuestLog, Settings};
use wasmtime_wasi::FsPerms;
use wasmtime_wasi::filesystem::{Dir, OpenMode};

use super::*;
use crate::capability::files::Rooms;
use crate::guest::Grants;
use crate::state::Voice;

pub(in super::super) struct Silent;

impl GuestLog for Silent {
    fn line(&self, _: GuestLine<'_>) {}
}

pub(in super::super) fn guest() -> Guest {
    let settings = Arc::new(Settings::default());
    let context = super::super::desk::tests::context();
    let voice = Voice::new(Arc::new(Silent), &settings, &context);
    let grants = Grants::new(settings, &BTreeMap::new(), &Rooms::default());
    let mut guest = Guest::new(Arc::new(grants), voice);
    guest.begin(&context, None);
    guest
}

fn descriptor(path: &Path) -> Descriptor {
    let file = File::open(path).unwrap();
    Descriptor::Dir(Dir::new(file, FsPerms::ReadOnly, OpenMode::READ, false))
}

#[test]
fn a_guest_has_few_files_open_and_is_not_empty_handed_while_it_has() {
    let directory = tempfile::tempdir().unwrap();
    let mut guest = guest();
    let mut open = Vec::new();
    for _ in 0..64 {
        assert_eq!(guest.is_empty_handed(), open.is_empty());
        let opening = opening(&mut guest).unwrap();
        let descriptor = descriptor(directory.path());
        guest.opened.enter(&descriptor, opening);
        open.push(descriptor);
    }
    assert!(opening(&mut guest).is_err());
    // A stream works on it still.
    let Some(Descriptor::Dir(kept)) = open.pop() else { panic!("it is one") };
    let kept = kept.dir;
    assert!(opening(&mut guest).is_err());
    open.clear();
    assert!(opening(&mut guest).is_ok());
    assert!(!guest.is_empty_handed());
    drop(kept);
    assert!(guest.is_empty_handed(), "also before anybody sweeps");
}
