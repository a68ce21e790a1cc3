//! What a host writes down of changes and refusals, and what `aop audit` makes of it: also while the host
//! runs, and after somebody changed a line.

use aop_tests::{AgentsDirectory, Aop, Host, HostOptions, eventually, guest};
use serde_json::{Value, json};

/// Lines of `aop audit show`, once `enough` of them are there.
async fn shown(host: &Host, filters: &[&str], enough: usize) -> Vec<Value> {
    let data = host.data().to_str().expect("a path is text").to_owned();
    eventually(&format!("{enough} lines of {filters:?}"), || async {
        let arguments = [&["audit", "show", "--json", "--data", &data], filters].concat();
        let printed = Aop::new(&arguments).run().await.code(0).stdout;
        let lines: Vec<Value> =
            printed.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        (lines.len() >= enough).then_some(lines)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_and_refusals_are_written_down_and_nothing_secret_is() {
    let agents = AgentsDirectory::new()
        .with_as("capabilities", "a")
        .with_settings("a", "[config]\ntoken = \"hidden-setting\"\n");
    let mut host = Host::start(HostOptions {
        agents: vec![agents.path().to_owned()],
        ..HostOptions::default()
    })
    .await;
    let mcp = host.mcp();
    for _ in 0..50 {
        let arguments = json!({ "tool": "b_echo", "arguments": "{\"word\":\"hidden-argument\"}" });
        assert_eq!(mcp.call("a_call", arguments).await.code(), "guest_error");
    }
    let path = guest("types");
    let load = ["agent", "load", path.to_str().expect("text"), "--name", "up", "--json"];
    for arguments in [load.as_slice(), &["agent", "unload", "up", "--json"]] {
        host.aop(arguments).run().await.code(0).complains(&[]);
    }

    let loads = shown(&host, &["--action", "agent.load"], 2).await;
    let who: Vec<_> = loads.iter().map(|line| (&line["who"], &line["agent"])).collect();
    assert_eq!(who, [(&json!("host"), &json!("a")), (&json!("local"), &json!("up"))]);
    let digest = loads[1]["subject"].as_str().expect("a digest");
    assert!(digest.starts_with("sha256:"), "{digest}");
    assert_eq!(shown(&host, &["--action", "agent.unload"], 1).await.len(), 1);
    let refused = shown(&host, &["--outcome", "refused", "--agent", "a"], 1).await;
    assert_eq!(refused[0]["subject"], "policy.tools");
    assert_eq!(refused[0]["who"], "agent:a");

    host.terminate();
    host.ended().await;
    let refused = shown(&host, &["--outcome", "refused"], 2).await;
    let counts: Vec<_> = refused.iter().map(|line| line["count"].as_u64().unwrap_or(1)).collect();
    assert_eq!(counts, [1, 49], "a flood is two lines");
    assert_eq!(shown(&host, &["--action", "host"], 2).await.len(), 2);
    let data = host.data().to_str().expect("text");
    let whole = Aop::new(&["audit", "show", "--json", "--data", data]).run().await.code(0).stdout;
    assert!(!whole.contains("hidden"), "{whole}");
    let table = Aop::new(&["audit", "show", "--data", data]).run().await.code(0).stdout;
    assert!(table.contains("49 times: policy.tools"), "{table}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_socket_leaves_a_line() {
    // Each in an agent of its own: refusals of one agent by one setting are counted together.
    let tries = ["standard", "newer"].into_iter().flat_map(|function| {
        [("tcp", "a TCP socket"), ("udp", "a UDP socket"), ("lookup", "look up a name")]
            .map(|(wanted, words)| (format!("{function}-{wanted}"), function, wanted, words))
    });
    let tries: Vec<_> = tries.collect();
    let agents = tries
        .iter()
        .fold(AgentsDirectory::new(), |agents, (agent, ..)| agents.with_as("sockets", agent));
    let mut host = Host::start(HostOptions {
        agents: vec![agents.path().to_owned()],
        ..HostOptions::default()
    })
    .await;
    let mcp = host.mcp();
    for (agent, function, wanted, words) in &tries {
        let tool = format!("{agent}_{function}");
        for _ in 0..20 {
            let refused = mcp.call(&tool, json!({ "wanted": wanted })).await;
            assert_eq!(refused.code(), "guest_error", "{tool}: {}", refused.0);
        }
        let refused = shown(&host, &["--outcome", "refused", "--agent", agent], 1).await;
        assert_eq!(refused[0]["subject"], "policy");
        assert_eq!(refused[0]["who"], format!("agent:{agent}"));
        let detail = refused[0]["detail"].as_str().expect("it has a detail");
        assert!(detail.contains(words), "{tool}: {detail}");
    }
    host.terminate();
    host.ended().await;
    let refused = shown(&host, &["--outcome", "refused"], 12).await;
    assert_eq!(refused.len(), 12, "a flood is two lines: {refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn verifying_finds_a_changed_line_and_a_missing_end() {
    let agents = AgentsDirectory::new().with_as("types", "a").with_as("types", "b");
    let mut host = Host::serve(agents.path()).await;
    shown(&host, &[], 3).await;
    let data = host.data().to_str().expect("text").to_owned();
    let verify = async |more: &[&str]| {
        Aop::new(&[&["audit", "verify", "--json", "--data", &data], more].concat()).run().await
    };
    let verdict = verify(&[]).await.code(0).json();
    assert_eq!(verdict["intact"], true, "while the host runs: {verdict}");
    host.terminate();
    host.ended().await;
    let verdict = verify(&[]).await.code(0).json();
    let last = &verdict["last"];
    let checkpoint = format!("{}:{}", last["seq"], last["hash"].as_str().expect("a hash"));
    assert_eq!(verify(&["--checkpoint", &checkpoint]).await.code(0).json()["intact"], true);

    // The host's store knows where it ended, too; without both, only a checkpoint says so.
    assert_eq!(verdict["end_is_checked"], true);
    let (head, store) = (host.data().join("audit/head"), host.data().join("aop.sqlite"));
    let (aside, noted) = (host.data().join("aside"), std::fs::read(&head).expect("it is there"));
    std::fs::remove_file(&head).expect("it can be removed");
    assert_eq!(verify(&[]).await.code(0).json()["end_is_checked"], true);
    std::fs::rename(&store, &aside).expect("it can be moved");
    assert_eq!(verify(&[]).await.code(3).json()["end_is_checked"], false);
    let said = Aop::new(&["audit", "verify", "--data", &data]).run().await.code(3);
    said.prints(&["UNCHECKED", "--checkpoint"]);
    let verdict = verify(&["--checkpoint", &checkpoint]).await.code(0).json();
    assert_eq!(verdict["end_is_checked"], true);
    std::fs::rename(&aside, &store).expect("it can be moved back");
    std::fs::write(&head, noted).expect("it can be written");
    let bogus = ["audit", "show", "--action", "agent.lod", "--data", &data];
    Aop::new(&bogus).run().await.code(2).complains(&["did you mean `agent.load`?", "key.revoke"]);

    let path = host.data().join("audit/00000000000000000001.jsonl");
    let text = std::fs::read_to_string(&path).expect("the log can be read");
    std::fs::write(&path, text.replacen("\"agent\":\"a\"", "\"agent\":\"c\"", 1)).expect("written");
    let found = verify(&[]).await.code(1);
    assert!(found.stdout.contains("it was changed"), "{}", found.stdout);
    let end = text.trim_end().rfind('\n').expect("several lines") + 1;
    std::fs::write(&path, &text[..end]).expect("written");
    let found = verify(&["--checkpoint", &checkpoint]).await.code(1);
    assert!(found.stdout.contains("the end is missing"), "{}", found.stdout);
    std::fs::write(&path, &text).expect("written");
    assert_eq!(verify(&[]).await.code(0).json()["intact"], true);
    std::fs::rename(host.data().join("audit"), &aside).expect("it can be moved");
    let found = verify(&[]).await.code(1);
    assert!(found.stdout.contains("the end is missing"), "a log that is gone: {}", found.stdout);
    let nowhere = tempfile::tempdir().expect("a directory can be made");
    let path = nowhere.path().to_str().expect("text");
    Aop::new(&["audit", "verify", "--data", path]).run().await.code(2).complains(&["--data"]);
}
