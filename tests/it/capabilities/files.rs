//! How far agents may fill the directories in which they write, through both versions of `wasi:filesystem`.

use std::path::Path;

use aop_tests::eventually;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::world::World;

const KIB: usize = 1 << 10;

/// A world with an agent of a fixture that may write into `/work` and, with the default limits, `/other`.
async fn world(fixture: &str, limits: &str) -> (TempDir, World) {
    let machine = tempfile::tempdir().expect("a directory can be made");
    for directory in ["work", "other"] {
        std::fs::create_dir(machine.path().join(directory)).expect("a directory can be made");
    }
    let root = machine.path().display();
    let settings = format!(
        "[policy]\ndirectories = [{{ permit = \"write {root}/work as /work\", {limits} }}, \"write {root}/other as /other\"]\n"
    );
    (machine, World::new().with("a", fixture, &settings).await)
}

/// What lies in a directory: the lengths of its files together, and how many there are.
fn found(directory: &Path) -> (u64, usize) {
    let entries = std::fs::read_dir(directory).expect("it can be read");
    let lengths = entries.map(|entry| entry.and_then(|entry| entry.metadata()).map(|of| of.len()));
    let lengths: Vec<_> = lengths.map(|length| length.expect("it can be read")).collect();
    (lengths.iter().sum(), lengths.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_takes_as_much_as_its_grant_says() {
    let (machine, world) = world("config", "size_max = \"10KiB\", files_max = 2").await;
    let work = machine.path().join("work");
    let write = |path: &str, bytes: usize| json!({ "path": path, "text": "x".repeat(bytes) });
    world.answer("a_write_file", write("/work/one", 8 * KIB)).await;
    // What it replaces is not there twice.
    world.answer("a_write_file", write("/work/one", 9 * KIB)).await;
    // The C library of these guests knows one error of streams, also when a real disk is full.
    let said = world.error("a_write_file", write("/work/two", 4 * KIB)).await;
    assert!(said.contains("I/O error"), "{said}");
    world.log.has(&[
        "policy: refused",
        "`/work` is full: its grant has 10KiB in 2 files",
        "`directories` under `[policy]`",
    ]);
    let said = world.error("a_write_file", write("/work/three", 1)).await;
    assert!(said.to_lowercase().contains("quota"), "the guest learns what it is: {said}");
    assert!(found(&work).0 <= 10 * KIB as u64 && found(&work).1 == 2, "{:?}", found(&work));
    world.answer("a_write_file", write("/other/two", 20 * KIB)).await;
    // The operator makes room.
    std::fs::remove_file(work.join("one")).expect("it can be removed");
    eventually("there is room again", || async {
        world.call("a_write_file", write("/work/three", 8 * KIB)).await.ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_of_wasi_0_3_are_held_to_it_too() {
    let (machine, world) = world("outside", "size_max = \"100KiB\", files_max = 5").await;
    let work = machine.path().join("work");
    let write = |path: &str, count: usize, at: Option<u64>| json!({ "directory": "/work", "path": path, "count": count, "at": at });
    world.answer("a_write", write("one", 60 * KIB, Some(0))).await;
    world.answer("a_write", write("one", 60 * KIB, Some(0))).await;
    world.answer("a_write", write("one", 20 * KIB, None)).await;
    assert_eq!(found(&work), (80 * KIB as u64, 1), "it was appended");
    for (path, at) in [("one", None), ("two", Some(0)), ("one", Some(u64::MAX / 2))] {
        let said = world.error("a_write", write(path, 40 * KIB, at)).await;
        assert!(said.contains("Quota"), "{path} {at:?}: {said}");
        assert!(found(&work).0 <= 100 * KIB as u64, "{:?}", found(&work));
    }
    world.log.has(&["policy: refused", "`/work` is full: its grant has 100KiB in 5 files"]);
    let size = |size: usize| json!({ "directory": "/work", "path": "one", "size": size });
    let said = world.error("a_set_size", size(1 << 40)).await;
    assert!(said.contains("Quota"), "a hole counts: {said}");
    let link = json!({ "directory": "/work", "path": "one", "name": "again" });
    let said = world.error("a_link", link).await;
    assert!(said.contains("Quota"), "each name counts: {said}");
    world.answer("a_set_size", size(KIB)).await;
    world.answer("a_remove", json!({ "directory": "/work", "path": "two" })).await;
    world.answer("a_write", write("three", 90 * KIB, Some(0))).await;
    // The free room is where it was written to, not where it came from.
    let carry = |from: &str, to: &str| json!({ "from": from, "to": to, "path": "three" });
    let said = world.error("a_move_file", carry("/work", "/other")).await;
    assert!(said.contains("CrossDevice"), "{said}");
    world.answer("a_move_file", carry("/work", "/work")).await;
    let made = world.answer("a_make", json!({ "directory": "/work", "count": 10 })).await;
    assert_eq!(made[0], 3, "two files were there: {made}");
    assert!(made[1].as_str().is_some_and(|why| why.contains("Quota")), "{made}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_hidden_counts_while_it_is_open() {
    let (machine, world) = world("outside", "size_max = \"100KiB\", files_max = 50").await;
    let hide = json!({ "directory": "/work", "count": 10, "each": 30 * KIB });
    let hidden: Value = world.answer("a_hide", hide.clone()).await;
    assert_eq!(hidden[0], 3, "{hidden}");
    assert!(hidden[1].as_str().is_some_and(|why| why.contains("Quota")), "{hidden}");
    world.is_empty().await;
    // It went with the instance, but for the last one, which has a name.
    assert!(found(&machine.path().join("work")).0 <= 30 * KIB as u64);
    eventually("there is room again", || async {
        let again = world.answer("a_hide", hide.clone()).await;
        (again[0] == 3).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_link_of_a_guest_leads_up() {
    let (machine, world) = world("outside", "size_max = \"100KiB\", files_max = 50").await;
    let settings =
        format!("[policy]\ndirectories = [\"write {}/work as /work\"]\n", machine.path().display());
    let world = world.with("older", "config", &settings).await;
    std::fs::write(machine.path().join("secret"), "key").expect("a file can be written");
    for target in ["..", "../secret", "inner/../../secret", "/etc", "./.."] {
        let link = json!({ "directory": "/work", "target": target, "path": "up" });
        let said = world.error("a_point", link).await;
        assert!(said.contains("NotPermitted"), "{target}: {said}");
        let link = json!({ "target": target, "path": "/work/up" });
        let said = world.error("older_point", link).await;
        assert!(said.to_lowercase().contains("not permitted"), "{target}: {said}");
        assert!(!machine.path().join("work/up").is_symlink(), "{target}");
    }
    world.log.has(&["policy: refused", "must lead to something below it"]);
    // Whoever is granted a directory that another one made a link to sees what is there, and nothing above.
    std::fs::create_dir(machine.path().join("work/inner")).expect("a directory can be made");
    let link = json!({ "directory": "/work", "target": "inner", "path": "in" });
    world.answer("a_point", link).await;
    world.answer("older_point", json!({ "target": "inner", "path": "/work/again" })).await;
    for made in ["in", "again"] {
        let target = std::fs::read_link(machine.path().join("work").join(made));
        assert_eq!(target.expect("it is a link"), std::path::Path::new("inner"));
    }
}
