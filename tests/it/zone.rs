//! A zone of real processes: joining, strangers, noise, death, restarts.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use aop_tests::{Aop, Finished, Host, HostOptions, eventually, http_client};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Fast rounds, so that tests are; the failure detector follows the rhythm.
const CONFIG: &str = "[cluster]\nlisten = \"127.0.0.1:0\"\ngossip_interval = \"200ms\"\n";

fn options(arguments: &[&str]) -> HostOptions {
    let mut options = HostOptions { config: Some(CONFIG.to_owned()), ..HostOptions::default() };
    options.arguments.extend(arguments.iter().map(ToString::to_string));
    options
}

async fn cluster(host: &Host) -> Value {
    serde_json::from_str(&host.get("/api/v1/cluster").await).expect("the zone is shown")
}

async fn peer_address(host: &Host) -> SocketAddr {
    let status = cluster(host).await;
    status["endpoint"].as_str().and_then(|text| text.parse().ok()).expect("it has an endpoint")
}

async fn token(host: &Host, uses: u32) -> String {
    let uses = uses.to_string();
    let made = Aop::new(&["cluster", "join-token", "--uses", &uses, "--url", &host.url("")]);
    made.run().await.code(0).stdout.trim().to_owned()
}

/// Starts a node that joins through another.
async fn join(member: &Host, token: &str) -> Host {
    let address = peer_address(member).await.to_string();
    Host::start(options(&["--join", &address, "--token", token])).await
}

fn states(status: &Value) -> Vec<(String, String)> {
    let text = |member: &Value, key: &str| member[key].as_str().unwrap_or_default().to_owned();
    let members = status["members"].as_array().expect("there are members");
    members.iter().map(|member| (text(member, "node"), text(member, "state"))).collect()
}

fn ids(status: &Value) -> BTreeSet<String> {
    states(status).into_iter().map(|(node, _)| node).collect()
}

async fn until_alive(host: &Host, count: usize) -> Value {
    eventually("the zone has its nodes", || async {
        let status = cluster(host).await;
        let alive = states(&status).iter().filter(|(_, state)| state == "alive").count();
        (alive == count).then_some(status)
    })
    .await
}

async fn until_state(host: &Host, node: &str, wanted: &[&str]) {
    eventually("a node has a state", || async {
        let states = states(&cluster(host).await);
        states
            .iter()
            .any(|(id, state)| id == node && wanted.contains(&state.as_str()))
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn three_nodes_become_a_zone_and_see_the_same() {
    let first = Host::start(HostOptions::default()).await;
    let alone = first.get("/metrics").await;
    assert!(!alone.contains("aop_cluster_"), "a host in no zone has no zone");
    // A host that was told nothing founds one with its first token.
    let token = token(&first, 2).await;
    let (second, third) = (join(&first, &token).await, join(&first, &token).await);
    for host in [&first, &second, &third] {
        until_alive(host, 3).await;
    }
    let equal = eventually("all see the same", || async {
        let mut seen = BTreeSet::new();
        for host in [&first, &second, &third] {
            let status = cluster(host).await;
            let ids: Vec<_> = states(&status).into_iter().map(|(node, _)| node).collect();
            seen.insert(format!("{} {ids:?}", status["registry_digest"]));
        }
        (seen.len() == 1).then_some(())
    });
    equal.await;
    let metrics = third.get("/metrics").await;
    assert!(metrics.contains("aop_cluster_members_alive 3"), "{metrics}");
    let shown = Aop::new(&["cluster", "status", "--url", &third.url("")]).run().await.code(0);
    shown.prints(&["zone.internal", "authority"]);
}

#[tokio::test]
async fn a_killed_node_is_noticed_and_comes_back_as_itself() {
    let first = Host::start(options(&[])).await;
    let token = token(&first, 2).await;
    let second = join(&first, &token).await;
    let third = join(&first, &token).await;
    let before = until_alive(&second, 3).await;
    let status = cluster(&third).await;
    let node = status["node"].as_str().expect("it has an id").to_owned();
    let generation = |status: &Value| {
        let members = status["members"].as_array().expect("there are members");
        let member = members.iter().find(|member| member["node"] == node.as_str());
        member.and_then(|member| member["generation"].as_u64())
    };
    let (old, data) = (generation(&before), third.data().to_owned());
    let mut third = third;
    third.kill();
    for host in [&first, &second] {
        until_state(host, &node, &["silent"]).await;
        assert_eq!(cluster(host).await["partition"], Value::Null, "one node is no partition");
    }
    // No token, no address: it remembers.
    let again = Host::start(HostOptions { data: Some(data), ..options(&[]) }).await;
    assert_eq!(cluster(&again).await["node"], node.as_str());
    let after = until_alive(&first, 3).await;
    assert!(generation(&after) > old, "{after}");
}

#[tokio::test]
async fn a_node_that_stops_says_goodbye() {
    let first = Host::start(options(&[])).await;
    let token = token(&first, 1).await;
    let mut second = join(&first, &token).await;
    until_alive(&first, 2).await;
    let node = cluster(&second).await["node"].as_str().expect("it has an id").to_owned();
    second.terminate();
    until_state(&first, &node, &["draining", "left"]).await;
    assert!(second.ended().await.0.success());
    until_state(&first, &node, &["left"]).await;
}

#[tokio::test]
async fn who_has_no_good_token_is_told_why() {
    let first = Host::start(options(&[])).await;
    let address = peer_address(&first).await.to_string();
    let once = token(&first, 1).await;
    let _second = join(&first, &once).await;
    for (arguments, code, reason) in [
        (vec!["--join", &address], 2, "joining needs a token"),
        (vec!["--join", &address, "--token", "nonsense"], 2, "malformed"),
        (vec!["--join", &address, "--token", &once], 1, "used up"),
        (vec!["--join", "nowhere", "--token", &once], 2, "zone.example:8100"),
    ] {
        let data = tempfile::tempdir().expect("a directory can be made");
        let path = data.path().display().to_string();
        let mut all = vec!["serve", "--listen", "127.0.0.1:0", "--data", &path];
        all.extend(arguments);
        Aop::new(&all).run().await.code(code).complains(&[reason]);
    }
    let bad = ["cluster", "join-token", "--lifetime", "8days", "--url", &first.url("")];
    Aop::new(&bad).run().await.code(2).complains(&["7days"]);
}

#[tokio::test]
async fn ten_thousand_strangers_cost_a_bounded_number_of_sockets() {
    /// At one time: more than there are places for handshakes, of one address and of all.
    const AT_ONCE: usize = 700;
    let first = Host::start(options(&[])).await;
    let second = join(&first, &token(&first, 2).await).await;
    until_alive(&second, 2).await;
    let address = peer_address(&first).await;
    let mut held = Vec::new();
    for number in 0..10_000_usize {
        let Ok(mut stream) = tokio::net::TcpStream::connect(address).await else { continue };
        if number % 2 == 0 {
            let _ = stream.write_all(&[u8::try_from(number % 251).unwrap_or(0); 64]).await;
        }
        held.push(stream);
        if held.len() == AT_ONCE {
            held.remove(0);
        }
    }
    let metrics = first.get("/metrics").await;
    let fds = std::fs::read_dir(format!("/proc/{}/fd", first.pid())).expect("a process has files");
    assert!(fds.count() < AT_ONCE, "sockets are bounded");
    let count = |name: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|value| value.trim().parse::<f64>().ok()).unwrap_or_default()
    };
    assert!(count("aop_cluster_connections_crowded_total ") >= 1.0, "{metrics}");
    assert!(count("aop_cluster_connections_refused_total ") >= 1.0, "{metrics}");
    // Whoever is silent is closed; nobody is told anything.
    let mut answer = Vec::new();
    if let Some(mut stream) = held.pop() {
        let read = stream.read_to_end(&mut answer);
        let _ = tokio::time::timeout(Duration::from_secs(30), read).await;
    }
    assert!(answer.len() < 64);
    drop(held);
    // The zone still is one, and still lets nodes in.
    let start = Instant::now();
    let third = join(&first, &token(&first, 1).await).await;
    until_alive(&third, 3).await;
    assert!(start.elapsed() < aop_tests::PATIENCE);
}

#[tokio::test]
async fn the_zones_key_is_backed_up_and_restored() {
    let first = Host::start(options(&[])).await;
    let token = token(&first, 1).await;
    let second = join(&first, &token).await;
    let directory = tempfile::tempdir().expect("a directory can be made");
    let (file, data) = (directory.path().join("zone.pem").display().to_string(), |host: &Host| {
        host.data().display().to_string()
    });
    let (of_first, of_second) = (data(&first), data(&second));
    let export = ["cluster", "ca", "export", &file, "--data", &of_first];
    Aop::new(&export).run().await.code(0).prints(&["wrote"]);
    Aop::new(&export).run().await.code(2).complains(&["name a file that does not exist"]);
    let nothing = Aop::new(&["cluster", "ca", "export", "x.pem", "--data", &of_second]);
    nothing.run().await.code(1).complains(&["does not have the zone's key"]);
    let import = ["cluster", "ca", "import", &file, "--data", &of_second];
    Aop::new(&import).run().await.code(0).prints(&["zone.internal"]);
    // The first node is gone for good, and the second lets a third in.
    drop(first);
    let token = self::token(&second, 1).await;
    let third = join(&second, &token).await;
    until_alive(&third, 2).await;
}

/// How a node ends.
#[derive(Clone, Copy)]
enum End {
    Crash,
    Stop,
}

/// Ends every node, then starts them all again on their data directories, which the ended ones keep.
async fn restart(
    hosts: &mut Vec<Host>,
    ended: &mut Vec<Host>,
    end: End,
    before_start: impl Fn(usize, &Path),
) {
    for host in &mut *hosts {
        match end {
            End::Crash => host.kill(),
            End::Stop => host.terminate(),
        }
    }
    let mut again = Vec::new();
    for host in &mut *hosts {
        host.ended().await;
    }
    for (number, host) in hosts.iter().enumerate() {
        before_start(number, &host.data().join("cluster"));
        let data = Some(host.data().to_owned());
        again.push(Host::start(HostOptions { data, ..options(&[]) }).await);
    }
    ended.append(hosts);
    *hosts = again;
}

#[tokio::test]
async fn all_nodes_stop_and_start_again_and_are_the_zone_that_they_were() {
    let first = Host::start(options(&[])).await;
    let token = token(&first, 2).await;
    let (second, third) = (join(&first, &token).await, join(&first, &token).await);
    let (mut hosts, mut ended) = (vec![first, second, third], Vec::new());
    let mut nodes = BTreeSet::new();
    for host in &hosts {
        nodes = ids(&until_alive(host, 3).await);
    }
    // At once, when nothing but how they joined is remembered for sure.
    for end in [End::Crash, End::Stop] {
        restart(&mut hosts, &mut ended, end, |_, _| {}).await;
        for host in &hosts {
            assert_eq!(ids(&until_alive(host, 3).await), nodes);
        }
    }
    // Two of them get other ports, and one has forgotten where the others were.
    restart(&mut hosts, &mut ended, End::Stop, |number, cluster| {
        if number > 0 {
            std::fs::remove_file(cluster.join("endpoint")).expect("it knows its port");
        }
        if number > 1 {
            std::fs::write(cluster.join("contacts.json"), "[\"127.0").expect("it can be written");
        }
    })
    .await;
    for host in &hosts[..2] {
        until_alive(host, 2).await;
    }
    let mut forgetful = hosts.remove(2);
    assert!(forgetful.log().contains("contacts.json.damaged"), "{}", forgetful.log());
    forgetful.kill();
    let address = peer_address(&hosts[0]).await.to_string();
    let data = Some(forgetful.data().to_owned());
    let _again = Host::start(HostOptions { data, ..options(&["--join", &address]) }).await;
    for host in &hosts {
        until_alive(host, 3).await;
    }
}

#[tokio::test]
async fn an_evicted_node_is_refused_everywhere_and_comes_back_as_another_one() {
    let first = Host::start(options(&[])).await;
    let token = token(&first, 2).await;
    let (second, mut third) = (join(&first, &token).await, join(&first, &token).await);
    for host in [&first, &second, &third] {
        until_alive(host, 3).await;
    }
    let node = cluster(&third).await["node"].as_str().expect("it has an id").to_owned();
    for (bad, reason) in [("nonsense", "<NODE>"), ("", "<NODE>")] {
        second.aop(&["cluster", "evict", bad]).run().await.code(2).complains(&[reason]);
    }
    let own = cluster(&second).await["node"].as_str().expect("it has an id").to_owned();
    second.aop(&["cluster", "evict", &own]).run().await.code(1).complains(&["ask another member"]);

    let start = Instant::now();
    second.aop(&["cluster", "evict", &node]).run().await.code(0).prints(&["evicted", &node]);
    for host in [&first, &second] {
        let status = until_alive(host, 2).await;
        assert!(!ids(&status).contains(&node), "{status}");
        assert_eq!(status["evicted"][0]["node"], node.as_str());
        assert_eq!(status["partition"], Value::Null);
    }
    assert!(start.elapsed() < aop_tests::BOUND, "within seconds");
    // It is told, or asks why nobody talks to it; and is alone.
    eventually("it learns of it", || async {
        let status = cluster(&third).await;
        (status["evicted"][0]["node"] == node.as_str()).then_some(())
    })
    .await;
    until_alive(&third, 1).await;
    let shown = third.aop(&["cluster", "status"]).run().await.code(0);
    shown.complains(&["was evicted"]);

    third.terminate();
    third.ended().await;
    let data = third.data().display().to_string();
    let alone = Aop::new(&["serve", "--listen", "127.0.0.1:0", "--data", &data]);
    alone.run().await.code(2).complains(&["evicted", "aop cluster join-token"]);
    let token = self::token(&first, 1).await;
    let again = HostOptions {
        data: Some(third.data().to_owned()),
        ..options(&["--join", &peer_address(&first).await.to_string(), "--token", &token])
    };
    let again = Host::start(again).await;
    assert_ne!(cluster(&again).await["node"], node.as_str());
    for host in [&first, &second, &again] {
        until_alive(host, 3).await;
    }
}

#[tokio::test]
async fn the_zones_key_is_rotated_while_a_node_is_away() {
    let first = Host::start(options(&[])).await;
    let token = token(&first, 3).await;
    let (second, mut third) = (join(&first, &token).await, join(&first, &token).await);
    for host in [&first, &second, &third] {
        until_alive(host, 3).await;
    }
    third.kill();
    let bad = ["cluster", "rotate-key", "--overlap", "1s"];
    second.aop(&bad).run().await.code(2).complains(&["30s"]);
    // The one that is asked does not have the key.
    second.aop(&["cluster", "rotate-key"]).run().await.code(0).prints(&["has a new key"]);
    second
        .aop(&["cluster", "rotate-key"])
        .run()
        .await
        .code(1)
        .complains(&["rotated lately", "--again"]);
    eventually("a node hears of it", || async {
        let shown = second.aop(&["cluster", "status"]).run().await.code(0);
        shown.stdout.contains("the one before counts").then_some(())
    })
    .await;
    // Everybody restarts: what was decided is durable, and who was away is let in with what it had.
    let mut hosts = vec![first, second, third];
    let mut ended = Vec::new();
    restart(&mut hosts, &mut ended, End::Crash, |_, _| {}).await;
    for host in &hosts {
        until_alive(host, 3).await;
    }
    let void = ["--join", &peer_address(&hosts[0]).await.to_string(), "--token", &token];
    let data = tempfile::tempdir().expect("a directory can be made");
    let path = data.path().display().to_string();
    let serve = ["serve", "--listen", "127.0.0.1:0", "--data", &path];
    Aop::new(&[&serve[..], &void].concat())
        .run()
        .await
        .code(1)
        .complains(&["cannot be in the zone"]);
    let fourth = join(&hosts[1], &self::token(&hosts[1], 1).await).await;
    until_alive(&fourth, 4).await;
}

/// Whether a key opens the tools of a host.
async fn opens(host: &Host, key: &str) -> bool {
    let mut request = http_client().get(host.url("/api/v1/tools"));
    // An empty one would be refused by an open host, too.
    if !key.is_empty() {
        request = request.bearer_auth(key);
    }
    request.send().await.expect("the host answers").status() == 200
}

async fn with_key(host: &Host, key: &str, arguments: &[&str]) -> Finished {
    host.aop(arguments).env("AOP_KEY", key).run().await
}

#[tokio::test]
async fn tenants_keys_and_secrets_are_the_same_on_all_nodes_within_seconds() {
    /// What the host promises.
    const WITHIN: Duration = Duration::from_secs(5);
    let secrets = ("AOP_SECRETS_KEY".to_owned(), "5a".repeat(32));
    let start = |arguments: Vec<String>| {
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let environment = vec![secrets.clone()];
        Host::start(HostOptions { environment, ..options(&arguments) })
    };
    let first = start(Vec::new()).await;
    let (token, address) = (token(&first, 2).await, peer_address(&first).await.to_string());
    let join = || vec!["--join".to_owned(), address.clone(), "--token".to_owned(), token.clone()];
    let (second, third) = (start(join()).await, start(join()).await);
    let hosts = [&first, &second, &third];
    for host in hosts {
        until_alive(host, 3).await;
    }
    let made = first.aop(&["key", "create", "test", "--admin"]).run().await.code(0);
    let admin = made.stdout.trim().to_owned();
    let everywhere = |key: String, wanted: bool| async move {
        let asked = Instant::now();
        for host in hosts {
            eventually("all nodes judge a key alike", || async {
                (opens(host, &key).await == wanted).then_some(())
            })
            .await;
        }
        assert!(asked.elapsed() < WITHIN, "it took {:?}", asked.elapsed());
    };
    // From the first key on, all are closed.
    everywhere(String::new(), false).await;
    everywhere(admin.clone(), true).await;

    // A tenant and its key are made on one node, and the key is revoked on another.
    let _ = with_key(&second, &admin, &["tenant", "create", "acme"]).await.code(0);
    let create = ["key", "create", "ci", "--tenant", "acme", "--scope", "tools:list", "--json"];
    let made = with_key(&second, &admin, &create).await.code(0).json();
    let text = |key: &str| made[key].as_str().expect("it has a text").to_owned();
    let (key, id) = (text("text"), made["key"]["id"].as_str().expect("it has an id").to_owned());
    everywhere(key.clone(), true).await;
    let revoke = ["key", "revoke", &id, "--tenant", "acme"];
    let _ = with_key(&third, &admin, &revoke).await.code(0);
    everywhere(key, false).await;

    let set = first.aop(&["secret", "set", "token-plugh", "--tenant", "acme"]);
    let _ = set.env("AOP_KEY", &admin).input(b"hunter2-value\n").run().await.code(0);
    let list = ["secret", "list", "--tenant", "acme"];
    let shows = |host, wanted: bool| {
        let admin = &admin;
        eventually("all nodes have a secret alike", move || async move {
            let shown = with_key(host, admin, &list).await.code(0);
            (shown.stdout.contains("token-plugh") == wanted).then_some(())
        })
    };
    shows(&third, true).await;
    let _ = with_key(&third, &admin, &["secret", "delete", "token-plugh", "--tenant", "acme"])
        .await
        .code(0);
    shows(&first, false).await;
    let _ = with_key(&first, &admin, &["tenant", "delete", "acme", "--yes"]).await.code(0);
    eventually("a tenant that is deleted on one node is gone on all", || async {
        let shown = with_key(&second, &admin, &["tenant", "list"]).await.code(0);
        (!shown.stdout.contains("acme")).then_some(())
    })
    .await;
}
