//! What survives a restart, a crash, and somebody who tampers with the data directory.

use std::path::{Path, PathBuf};

use aop_tests::{AgentsDirectory, Host, HostOptions, eventually, guest};
use serde_json::json;
use tempfile::TempDir;

fn data() -> TempDir {
    TempDir::with_prefix("aop-data-").expect("a directory can be made")
}

async fn start(agents: &Path, data: &Path) -> Host {
    let options = HostOptions {
        agents: vec![agents.to_owned()],
        data: Some(data.to_owned()),
        ..HostOptions::default()
    };
    Host::start(options).await
}

#[tokio::test]
async fn a_second_start_compiles_nothing() {
    let (agents, data) = (AgentsDirectory::new().with("types").with("faults").with("echo"), data());
    let first = start(agents.path(), data.path()).await;
    assert_eq!(first.metrics().await.value("aop_compile_cache_misses"), Some(3.0));
    let ids = [first.agent("echo").await, first.agent("types").await]
        .map(|agent| agent.expect("loaded")["id"].clone());
    drop(first);
    let second = start(agents.path(), data.path()).await;
    let metrics = second.metrics().await;
    assert_eq!(metrics.value("aop_compile_cache_misses"), Some(0.0));
    assert_eq!(metrics.value("aop_compile_cache_hits"), Some(3.0));
    let again = [second.agent("echo").await, second.agent("types").await]
        .map(|agent| agent.expect("loaded")["id"].clone());
    assert_eq!(again, ids, "an identity is for life");
    assert_eq!(
        second.agent("echo").await.expect("loaded")["revision"],
        1,
        "an unchanged file is no new revision"
    );
    assert_eq!(second.mcp().call("echo_echo", json!({ "text": "x" })).await.value(), "x");
}

/// Every compiled component below a data directory.
fn compiled(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(compiled(&path));
        } else if path.extension().is_some_and(|extension| extension == "cwasm") {
            found.push(path);
        }
    }
    found
}

#[tokio::test]
async fn foreign_and_damaged_code_is_compiled_again_and_never_loaded() {
    let (agents, mine, other) = (AgentsDirectory::new().with("echo"), data(), data());
    let foreign_agents = AgentsDirectory::new().with_as("faults", "echo");
    drop(start(agents.path(), mine.path()).await);
    drop(start(foreign_agents.path(), other.path()).await);
    let (own, foreign) = (compiled(mine.path()), compiled(other.path()));
    assert_eq!((own.len(), foreign.len()), (1, 1));
    let attacks: [&dyn Fn(); 2] = [
        &|| {
            std::fs::copy(&foreign[0], &own[0]).expect("an entry can be replaced");
        },
        &|| {
            let mut bytes = std::fs::read(&own[0]).expect("an entry can be read");
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(&own[0], bytes).expect("an entry can be replaced");
        },
    ];
    for attack in attacks {
        attack();
        let host = start(agents.path(), mine.path()).await;
        assert_eq!(host.metrics().await.value("aop_compile_cache_misses"), Some(1.0));
        assert_eq!(host.mcp().call("echo_echo", json!({ "text": "x" })).await.value(), "x");
        assert!(host.log().contains("seal"), "the log says so");
    }
}

#[tokio::test]
async fn agents_loaded_through_the_api_survive_a_crash() {
    let (agents, data) = (AgentsDirectory::new(), data());
    let mut host = start(agents.path(), data.path()).await;
    let settings =
        agents.put("settings.txt", b"[tools.echo]\nname = \"say\"\n").display().to_string();
    let echo = guest("echo").display().to_string();
    for arguments in [
        &["agent", "load", &echo, "--name", "mine", "--settings", &settings][..],
        &["agent", "load", &guest("types").display().to_string(), "--name", "gone"],
        &["agent", "unload", "gone"],
    ] {
        let _ = host.aop(arguments).run().await.code(0);
    }
    let before = host.agent("mine").await.expect("it is loaded");
    host.kill();
    let host = start(agents.path(), data.path()).await;
    let after = host.agent("mine").await.expect("it is still loaded");
    assert_eq!(
        (&after["id"], &after["digest"], &after["revision"]),
        (&before["id"], &before["digest"], &before["revision"])
    );
    assert_eq!(
        host.mcp().call("say", json!({ "text": "x" })).await.value(),
        "x",
        "with its settings"
    );
    assert!(host.agent("gone").await.is_none());
}

#[tokio::test]
async fn a_rollback_survives_a_restart() {
    let (agents, data) = (AgentsDirectory::new(), data());
    agents.put("number.wasm", &super::number(1));
    let mut host = start(agents.path(), data.path()).await;
    agents.put("number.wasm", &super::number(2));
    super::answers(&host, 2).await;
    let _ = host.aop(&["agent", "rollback", "number"]).run().await.code(0);
    host.kill();
    let host = start(agents.path(), data.path()).await;
    assert_eq!(super::get(&host).await, 1);
    assert_eq!(host.agent("number").await.expect("it is loaded")["pinned"], true);
}

#[tokio::test]
async fn a_host_that_is_killed_while_it_loads_starts_again() {
    let (agents, data) = (AgentsDirectory::new().with("types").with("echo").with("faults"), data());
    for _ in 0..3 {
        let options = HostOptions {
            agents: vec![agents.path().to_owned()],
            data: Some(data.path().to_owned()),
            ..HostOptions::default()
        };
        let mut host = Host::spawn(options);
        host.kill();
    }
    let host = start(agents.path(), data.path()).await;
    for name in ["types", "echo", "faults"] {
        assert_eq!(host.agent(name).await.expect("it is loaded")["state"], "ACTIVE", "{name}");
    }
}

/// The process ids of the children of a process.
fn children(parent: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").expect("there are processes").flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let parent_of = |id: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        // The name in parentheses may contain anything; after it come the state and the parent.
        stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse::<u32>().ok()
    };
    ids.filter(|id| parent_of(*id) == Some(parent)).collect()
}

#[tokio::test]
async fn a_compile_worker_does_not_outlive_its_host() {
    let (agents, data) = (AgentsDirectory::new(), data());
    agents.put("slow.wasm", &crate::hostile::bombs::huge_function(400_000));
    let options = HostOptions {
        agents: vec![agents.path().to_owned()],
        data: Some(data.path().to_owned()),
        ..HostOptions::default()
    };
    let mut host = Host::spawn(options);
    let worker =
        eventually("a worker compiles", || async { children(host.pid()).first().copied() }).await;
    host.kill();
    eventually("the worker is gone", || async {
        let status = std::fs::read_to_string(format!("/proc/{worker}/status")).unwrap_or_default();
        let gone = status.is_empty() || status.contains("State:\tZ");
        gone.then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_data_directory_that_is_damaged_is_told() {
    let (agents, data) = (AgentsDirectory::new().with("echo"), data());
    let mut host = start(agents.path(), data.path()).await;
    host.terminate();
    host.ended().await;
    let database = data.path().join("aop.sqlite");
    assert!(database.is_file(), "the database is in the data directory");
    for companion in ["aop.sqlite-wal", "aop.sqlite-shm"] {
        // SQLite would repair the database from what it wrote ahead.
        let _ = std::fs::remove_file(data.path().join(companion));
    }
    std::fs::write(&database, "this is no database ".repeat(1000)).expect("it can be damaged");
    let path = data.path().display().to_string();
    let finished =
        aop_tests::Aop::new(&["serve", "--listen", "127.0.0.1:0", "--data", &path]).run().await;
    assert!(matches!(finished.status.code(), Some(1 | 2)), "{finished:?}");
    finished.complains(&["aop.sqlite"]);
}
