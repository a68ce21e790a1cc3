//! A tool on any node is callable on every node: real processes, killed, frozen and drained.

use std::time::Duration;

use aop_tests::zone::{cluster, load, node_of, options, until_replicas, until_tool, zone};
use aop_tests::{Aop, Host, HostOptions, eventually, guest};
use rustix::process::Signal;
use serde_json::{Value, json};

#[tokio::test]
async fn a_tool_that_is_loaded_on_one_node_is_called_on_every_other() {
    let hosts = zone(3).await;
    load(&hosts[0], "echo", "", &[]).await;
    load(&hosts[2], "faults", "", &[]).await;
    for host in &hosts {
        until_tool(host, "echo_echo").await;
        until_tool(host, "faults_fail").await;
        let result = host.mcp().call("echo_echo", json!({ "text": "Grüezi" })).await;
        assert_eq!(result.value(), "Grüezi");
        // The owner says what is wrong with arguments, and what the guest answered stays apart from that.
        assert_eq!(
            host.mcp().call("echo_echo", json!({ "txt": 1 })).await.code(),
            "invalid_arguments"
        );
        assert_eq!(
            host.mcp().call("faults_fail", json!({ "message": "no" })).await.code(),
            "guest_error"
        );
        assert_eq!(host.mcp().call("faults_trap", json!({})).await.code(), "guest_trapped");
    }
    let listed = hosts[1].aop(&["agent", "list"]).run().await.code(0);
    listed.prints(&["echo", "faults", &node_of(&hosts[0]).await, &node_of(&hosts[2]).await]);
    assert_eq!(hosts[1].metrics().await.value("aop_forwarded_calls_total"), Some(4.0));
    let unloaded = hosts[0].aop(&["agent", "unload", "echo"]).run().await.code(0);
    unloaded.prints(&["unloaded echo"]);
    eventually("it is gone everywhere", || async {
        (!hosts[1].mcp().tool_names().await.contains(&"echo_echo".to_owned())).then_some(())
    })
    .await;
}

#[tokio::test]
async fn cancelling_at_the_edge_stops_the_guest_on_the_other_node() {
    let hosts = zone(2).await;
    load(&hosts[1], "faults", "timeout = \"10m\"\n", &[]).await;
    until_tool(&hosts[0], "faults_spin").await;
    let mcp = hosts[0].mcp();
    let message = mcp.message("tools/call", json!({ "name": "faults_spin", "arguments": {} }));
    let call = tokio::spawn(mcp.post(&message).send());
    hosts[1].metric("aop_instances_live", 1.0).await;
    call.abort();
    hosts[1].no_instances().await;
}

#[tokio::test]
async fn replicas_survive_kill_and_are_replaced() {
    let mut hosts = zone(4).await;
    let settings = "balance = \"round_robin\"\n[tools.echo]\nidempotent = true\n";
    load(&hosts[0], "echo", settings, &["--replicas", "3"]).await;
    let nodes = until_replicas(&hosts[0], "echo", 3).await;
    for host in &hosts {
        until_tool(host, "echo_echo").await;
        until_replicas(host, "echo", 3).await;
    }
    // One that lives on, and calls while two of the three others go.
    let mut victims = Vec::new();
    for (at, host) in hosts.iter().enumerate().skip(1) {
        if nodes.contains(&node_of(host).await) && victims.len() < 2 {
            victims.push(at);
        }
    }
    let mcp = hosts[0].mcp();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let calls = tokio::spawn(async move {
        let (mut ended, mut failed) = (0, Vec::new());
        while !*stopped.borrow() {
            let result = mcp.call("echo_echo", json!({ "text": "still here" })).await;
            ended += 1;
            if result.envelope()["success"] != true {
                failed.push(format!("{result:?}"));
            }
        }
        (ended, failed)
    });
    for at in victims.iter().rev() {
        hosts.remove(*at).kill();
    }
    eventually("two are left, and both have it", || async {
        let status = cluster(&hosts[0]).await;
        let found = status["replicas"].as_array()?.iter().find(|r| r["agent"] == "echo")?.clone();
        (found["nodes"].as_array()?.len() == 2).then_some(())
    })
    .await;
    stop.send_replace(true);
    let (ended, failed) = calls.await.expect("the calls end");
    assert!(failed.is_empty(), "{} of {ended} failed: {failed:?}", failed.len());
    assert!(ended > 0);
}

#[tokio::test]
async fn a_frozen_node_loses_its_calls_to_a_replica_within_their_deadline() {
    let hosts = zone(3).await;
    let settings = "timeout = \"8s\"\nbalance = \"round_robin\"\n[tools.echo]\nidempotent = true\n";
    load(&hosts[0], "echo", settings, &["--replicas", "3"]).await;
    for host in &hosts {
        until_replicas(host, "echo", 3).await;
    }
    hosts[1].signal(Signal::STOP);
    for _ in 0..6 {
        let result = hosts[0].mcp().call("echo_echo", json!({ "text": "x" })).await;
        assert_eq!(result.value(), "x");
    }
    hosts[1].signal(Signal::CONT);
}

#[tokio::test]
async fn a_node_that_drains_fails_no_call() {
    let mut hosts = zone(3).await;
    let settings = "balance = \"round_robin\"\n";
    load(&hosts[0], "echo", settings, &["--replicas", "3"]).await;
    for host in &hosts {
        until_replicas(host, "echo", 3).await;
    }
    let mut leaving = hosts.remove(2);
    let mcp = hosts[0].mcp();
    let left = async {
        leaving.terminate();
        leaving.ended().await
    };
    let calls = async {
        for _ in 0..100 {
            // Not idempotent: each runs once, somewhere.
            let result = mcp.call("echo_echo", json!({ "text": "x" })).await;
            assert_eq!(result.value(), "x");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let ((status, _), ()) = tokio::join!(left, calls);
    assert!(status.success());
}

#[tokio::test]
async fn a_zone_that_stops_and_starts_again_has_lost_no_agent() {
    let mut hosts = zone(3).await;
    load(&hosts[0], "echo", "", &["--replicas", "2"]).await;
    load(&hosts[2], "faults", "", &[]).await;
    until_replicas(&hosts[1], "echo", 2).await;
    // One after the other, without a goodbye, and in another order back.
    for host in &mut hosts {
        host.kill();
    }
    let mut again = Vec::new();
    for host in hosts.iter().rev() {
        let data = Some(host.data().to_owned());
        again.push(Host::start(HostOptions { data, ..options(&[]) }).await);
    }
    for host in &again {
        for tool in ["echo_echo", "faults_fail"] {
            until_tool(host, tool).await;
        }
        until_replicas(host, "echo", 2).await;
        assert_eq!(host.mcp().call("echo_echo", json!({ "text": "x" })).await.value(), "x");
    }
}

#[tokio::test]
async fn a_host_in_no_zone_takes_replicas_as_what_shall_be() {
    let host = Host::start(HostOptions::default()).await;
    load(&host, "echo", "", &["--replicas", "3"]).await;
    assert_eq!(host.mcp().call("echo_echo", json!({ "text": "x" })).await.value(), "x");
    let directory = tempfile::tempdir().expect("a directory can be made");
    let file = directory.path().join("s.toml");
    std::fs::write(&file, "replicas = 2\n").expect("settings can be written");
    let component = guest("echo").display().to_string();
    let file = file.display().to_string();
    let twice = ["agent", "load", &component, "--settings", &file, "--replicas", "3"];
    host.aop(&twice).run().await.code(2).complains(&["replicas = 2", "leave --replicas out"]);
    let none = Aop::new(&["agent", "load", &component, "--replicas", "0"]);
    none.run().await.code(2).complains(&["1..=200"]);
}

#[tokio::test]
async fn a_handle_leads_to_its_node_from_every_other() {
    let hosts = zone(3).await;
    // On all of them, so that none is moved while its handles are used.
    load(&hosts[0], "handles", "replicas = 3\n", &[]).await;
    let nodes = until_replicas(&hosts[0], "handles", 3).await;
    for host in &hosts {
        until_tool(host, "handles_counter_new").await;
    }
    let new = json!({ "start": 5 });
    let add = |counter: &Value| json!({ "self": counter, "number": 1 });
    for maker in &hosts {
        let made = maker.mcp().call("handles_counter_new", new.clone()).await;
        let counter = made.value().clone();
        for (used, host) in hosts.iter().enumerate() {
            let added = host.mcp().call("handles_counter_add", add(&counter)).await;
            assert_eq!(added.value(), &json!(6 + used), "through {}", node_of(host).await);
        }
        let dropped = json!({ "self": counter });
        assert_eq!(
            hosts[1].mcp().call("handles_counter_drop", dropped).await.value(),
            &Value::Null
        );
        for host in &hosts {
            let gone = host.mcp().call("handles_counter_add", add(&counter)).await;
            assert_eq!(gone.code(), "invalid_arguments", "{}", gone.0);
        }
    }
    // What was on a node that is gone is gone, and the others say so.
    let mut hosts = hosts;
    let ends = [0, 1, 2];
    let mut owner = None;
    for at in ends {
        if nodes.contains(&node_of(&hosts[at]).await) {
            owner = Some(at);
        }
    }
    let owner = hosts.remove(owner.expect("a replica is on one of them"));
    let counter = owner.mcp().call("handles_counter_new", new).await.value().clone();
    drop(owner);
    eventually("its handles lead nowhere", || async {
        let gone = hosts[0].mcp().call("handles_counter_add", add(&counter)).await;
        (gone.envelope()["success"] == false && gone.code() == "invalid_arguments").then_some(())
    })
    .await;
}
