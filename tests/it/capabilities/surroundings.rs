//! Files, environment and log: what an agent sees of the machine, by its policy only.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::sync::Arc;

use serde_json::json;
use tempfile::TempDir;

use super::world::{Around, Person, World, lock};

/// A machine with a secret beside what is granted.
fn machine() -> TempDir {
    let machine = tempfile::tempdir().expect("a directory can be made");
    let at = |path: &str| machine.path().join(path);
    std::fs::create_dir(at("reference")).expect("a directory can be made");
    std::fs::create_dir(at("work")).expect("a directory can be made");
    std::fs::write(at("reference/book"), "words").expect("a file can be written");
    std::fs::write(at("secret"), "key").expect("a file can be written");
    for directory in ["reference", "work"] {
        symlink(at("secret"), at(directory).join("absolute")).expect("a link can be made");
        symlink("../secret", at(directory).join("relative")).expect("a link can be made");
        symlink("..", at(directory).join("up")).expect("a link can be made");
        symlink("/", at(directory).join("root")).expect("a link can be made");
    }
    machine
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_sees_the_directories_that_it_was_granted() {
    let machine = machine();
    let root = machine.path().display();
    let settings = format!(
        "[policy]\ndirectories = [\"read {root}/reference as /data\", \"write {root}/work as /work\"]\n"
    );
    let world = World::new().with("a", "config", &settings).await;
    let seen = world.answer("a_preopened_directories", json!({})).await;
    assert_eq!(seen, json!(["/data", "/work"]));
    let book = world.answer("a_read_file", json!({ "path": "/data/book" })).await;
    assert_eq!(book, "words");
    let write = |path: &str| json!({ "path": path, "text": "new" });
    world.answer("a_write_file", write("/work/note")).await;
    let note = std::fs::read_to_string(machine.path().join("work/note"));
    assert_eq!(note.expect("it was written"), "new");
    for path in ["/data/book", "/data/new", "/note", "/work/absolute", "/work/up/secret"] {
        world.error("a_write_file", write(path)).await;
    }
    for path in [
        "/data/absolute",
        "/data/relative",
        "/data/up/secret",
        "/data/../secret",
        "/data/root/etc/passwd",
        "/work/relative",
        "/etc/passwd",
        "../secret",
    ] {
        world.error("a_read_file", json!({ "path": path })).await;
    }
    for path in ["/data/up", "/work/root", "/data/.."] {
        world.error("a_list_directory", json!({ "path": path })).await;
    }
    let secret = std::fs::read_to_string(machine.path().join("secret"));
    assert_eq!(secret.expect("it is there"), "key");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_is_gone_is_the_operators_matter() {
    let settings = "[policy]\ndirectories = [\"read /nonexistent/place as /data\"]\n";
    let world = World::new().with("a", "config", settings).await;
    let said = world.error("a_now", json!({})).await;
    assert_eq!(said, "the agent's directory /data cannot be opened");
    world.log.has(&["policy: cannot open", "/nonexistent/place"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_sees_the_variables_that_it_was_granted() {
    let environment = [("SHARED", "yes"), ("SECRET", "no")];
    let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let settings = "[policy]\nenvironment = [\"SHARED\", \"ABSENT\"]\n";
    let world = World::with_environment(BTreeMap::from(environment)).with("a", "config", settings);
    let world = world.await.with("b", "config", "").await;
    assert_eq!(world.answer("a_environment", json!({})).await, json!([["SHARED", "yes"]]));
    assert_eq!(world.answer("b_environment", json!({})).await, json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_is_shown_what_an_agent_logs() {
    let world = World::new().with("a", "config", "").await;
    let person = Arc::new(Person::default());
    let around = Around { client: Some(person.clone()), ..Around::default() };
    let line = json!({ "level": "warn", "context": "steps", "message": "slow" });
    world.call_around("a_log", line.clone(), around).await.expect("it logs");
    world.answer("a_log", line).await;
    assert_eq!(*lock(&person.logged), ["steps: slow"]);
    world.log.has(&["steps: slow"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn time_and_chance_are_the_operators() {
    let settings = "[policy]\nclock = \"2026-01-01T00:00:00Z\"\nrandom = \"seed:42\"\n";
    let world = World::new().with("a", "config", settings).await.with("b", "config", "").await;
    let random =
        async |agent: &str| world.answer(&format!("{agent}_random"), json!({ "count": 16 })).await;
    assert_eq!(random("a").await, random("a").await, "every instance begins with the seed");
    assert_ne!(random("b").await, random("b").await);
    assert_eq!(world.answer("a_now", json!({})).await, 1_767_225_600_000_u64);
    assert_ne!(world.answer("b_now", json!({})).await, 1_767_225_600_000_u64);
}
