//! Changes while the host runs, through the file system's own events.

use std::fs;
use std::io::Write as _;
use std::sync::atomic::Ordering;

use aop_core::{Catalog, Resolve, RevisionNumber, State};

use super::{Host, tenant};

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_loaded_replaced_and_unloaded() {
    let host = Host::watched().await;
    host.write("agents/a.wasm", "fn run One.");
    host.until_state("a", State::Active).await;
    let call = host.registry.resolve(&tenant(), "a").unwrap();
    host.write("agents/a.wasm", "fn run Two.");
    host.until("the new revision serves", |host| host.resolved("a").as_deref() == Some("Two."))
        .await;
    assert_eq!(call.tool.description, "One.", "a running call keeps what it has");
    host.write("agents/a.toml", "concurrency = 7");
    host.until("settings are a revision", |host| {
        host.status("a").revision == Some(RevisionNumber(3))
    })
    .await;
    assert_eq!(host.status("a").concurrency, 7);
    fs::remove_file(host.path("agents/a.toml")).unwrap();
    host.until("so is their absence", |host| host.status("a").revision == Some(RevisionNumber(4)))
        .await;
    fs::remove_file(host.path("agents/a.wasm")).unwrap();
    host.until("it is gone", |host| host.registry.show(&tenant(), "a").is_none()).await;
    assert!(host.resolved("a").is_none() && host.tools().is_empty());
    host.until_told(3).await;
    assert_eq!(host.times_told(), 3, "loaded, changed, gone");
    assert_eq!(host.store().agents(&tenant()).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_new_revision_compiles_the_old_one_serves() {
    let host = Host::watched().await;
    host.write("agents/a.wasm", "fn run One.");
    host.until_state("a", State::Active).await;
    host.write("agents/a.wasm", "wait\nfn run Two.");
    host.until_state("a", State::Init).await;
    assert_eq!(host.status("a").revision, Some(RevisionNumber(1)));
    assert_eq!(host.resolved("a").as_deref(), Some("One."));
    host.write("agents/b.wasm", "fn run Other.");
    host.until_state("b", State::Active).await;
    host.prepare.until_waiting(1).await;
    host.prepare.gate.add_permits(1);
    host.until_state("a", State::Active).await;
    assert_eq!(host.resolved("a").as_deref(), Some("Two."));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_file_leaves_the_old_revision_and_a_fixed_one_replaces_it() {
    let host = Host::watched().await;
    host.write("agents/a.wasm", "fn run One.");
    host.until_state("a", State::Active).await;
    host.write("agents/a.wasm", "broken");
    host.until_state("a", State::Error).await;
    assert!(host.status("a").error.unwrap().contains("not a component"));
    assert_eq!(host.resolved("a").as_deref(), Some("One."));
    host.write("agents/a.wasm", "fn run Two.");
    host.until_state("a", State::Active).await;
    host.until_told(2).await;
    assert_eq!(host.times_told(), 2, "not of the broken one");
    assert_eq!(
        (host.status("a").revision, host.status("a").error),
        (Some(RevisionNumber(2)), None)
    );
    host.write("agents/a.wasm", "broken");
    host.until_state("a", State::Error).await;
    host.write("agents/a.wasm", "fn run Two.");
    host.until_state("a", State::Active).await;
    assert_eq!(
        host.status("a").revision,
        Some(RevisionNumber(2)),
        "back to what serves is no revision"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_only_touched_is_not_loaded_again() {
    let host = Host::watched().await;
    host.write("agents/a.wasm", "fn run One.");
    host.until_state("a", State::Active).await;
    let prepared = host.prepare.prepared.load(Ordering::SeqCst);
    host.write("agents/a.wasm", "fn run One.");
    // The marker is found by a later look than the touch.
    host.write("agents/marker.wasm", "fn run");
    host.until_state("marker", State::Active).await;
    host.write("agents/marker.wasm", "fn run Again.");
    host.until("a second look", |host| host.resolved("marker").as_deref() == Some("Again.")).await;
    drop(host.own().turns.take(&super::agent("a")).await);
    assert_eq!(host.prepare.prepared.load(Ordering::SeqCst), prepared + 2);
    assert_eq!(host.status("a").revision, Some(RevisionNumber(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_comes_later_is_found_and_found_again() {
    let host = Host::new();
    fs::remove_dir(host.path("agents")).unwrap();
    host.registry.scan().await.unwrap();
    host.registry.watch();
    fs::create_dir(host.path("agents")).unwrap();
    host.write("agents/a.wasm", "fn run One.");
    host.until_state("a", State::Active).await;
    let id = host.status("a").id;
    fs::rename(host.path("agents"), host.path("away")).unwrap();
    host.until("its agents go with it", |host| host.registry.show(&tenant(), "a").is_none()).await;
    fs::rename(host.path("away"), host.path("agents")).unwrap();
    host.until_state("a", State::Active).await;
    assert_eq!(host.status("a").id, id);
    host.write("agents/b.wasm", "fn run");
    host.until_state("b", State::Active).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_written_in_place_ends_up_whole() {
    let host = Host::watched().await;
    let mut file = fs::File::create(host.path("agents/a.wasm")).unwrap();
    for number in 0..200 {
        writeln!(file, "fn f{number} Part.").unwrap();
        file.flush().unwrap();
        tokio::task::yield_now().await;
    }
    drop(file);
    host.until("all of it is there", |host| host.tools().len() == 200).await;
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn what_the_system_does_not_report_is_found_by_looking() {
    let host = Host::new();
    host.write("target.bin", "fn run One.");
    std::os::unix::fs::symlink(host.path("target.bin"), host.path("agents/a.wasm")).unwrap();
    host.registry.scan().await.unwrap();
    host.registry.watch();
    assert_eq!(host.resolved("a").as_deref(), Some("One."));
    // Its directory is not watched.
    host.write("target.bin", "fn run Two.");
    host.until("the target is read again", |host| host.resolved("a").as_deref() == Some("Two."))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_of_the_host_is_tried_again() {
    let host = Host::watched().await;
    host.prepare.host_failures.store(2, Ordering::SeqCst);
    host.write("agents/a.wasm", "fn run One.");
    host.until_state("a", State::Error).await;
    assert!(host.status("a").error.unwrap().contains("cannot be started"));
    host.until_state("a", State::Active).await;
    assert_eq!(host.prepare.prepared.load(Ordering::SeqCst), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_holds_while_the_file_stays_and_ends_when_it_changes() {
    let host = Host::watched().await;
    host.write("agents/a.wasm", "fn run One.");
    host.until_state("a", State::Active).await;
    host.write("agents/a.wasm", "fn run Two.");
    host.until("two", |host| host.resolved("a").as_deref() == Some("Two.")).await;
    host.write("agents/a.wasm", "broken");
    host.until_state("a", State::Error).await;
    let back = host.registry.rollback(&tenant(), "a").await.unwrap();
    assert_eq!(
        (back.state, back.revision, back.pinned),
        (State::Active, Some(RevisionNumber(1)), true)
    );
    host.write("agents/a.wasm", "fn run Three.");
    host.until("three", |host| host.resolved("a").as_deref() == Some("Three.")).await;
    assert_eq!(
        (host.status("a").revision, host.status("a").pinned),
        (Some(RevisionNumber(3)), false)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_twin_takes_over() {
    let host = Host::watched().await;
    host.write("agents/a.wasm", "fn run First.");
    host.until_state("a", State::Active).await;
    let id = host.status("a").id;
    host.write("more/a.wasm", "fn run Second.");
    host.until("the second is refused", |host| host.registry.list(&tenant()).len() == 2).await;
    fs::remove_file(host.path("agents/a.wasm")).unwrap();
    host.until("the second serves", |host| host.resolved("a").as_deref() == Some("Second.")).await;
    assert_eq!(host.status("a").id, id, "it is the same agent");
    assert_eq!(host.registry.list(&tenant()).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_stays_while_its_file_cannot_be_looked_at() {
    use std::os::unix::fs::PermissionsExt as _;
    let permit = |host: &Host, mode: u32| {
        fs::set_permissions(host.path("agents"), fs::Permissions::from_mode(mode)).unwrap();
    };
    let host = Host::watched().await;
    host.write("agents/a.wasm", "fn run One.");
    host.until_state("a", State::Active).await;
    // The directory can still be listed, but nothing in it can be looked at.
    permit(&host, 0o400);
    if fs::metadata(host.path("agents/a.wasm")).is_ok() {
        let notice = "skipped: this user may look at every file\n";
        std::io::stderr().write_all(notice.as_bytes()).unwrap();
        permit(&host, 0o700);
        return;
    }
    host.write("more/b.wasm", "fn run Other.");
    host.until_state("b", State::Active).await;
    // A later look, which would be the one that finds it settled.
    host.write("more/c.wasm", "fn run Another.");
    host.until_state("c", State::Active).await;
    assert_eq!(host.resolved("a").as_deref(), Some("One."));
    permit(&host, 0o700);
    host.write("agents/a.wasm", "fn run Two.");
    host.until("it is followed again", |host| host.resolved("a").as_deref() == Some("Two.")).await;
}
