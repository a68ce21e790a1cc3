//! Zones of real processes: nodes that know each other, agents on them, and waiting until all see what they should.

use serde_json::Value;

use crate::{Host, HostOptions, eventually, guest};

/// Fast rounds, so that tests are; the failure detector follows the rhythm.
const CONFIG: &str = "[cluster]\nlisten = \"127.0.0.1:0\"\ngossip_interval = \"200ms\"\n";

/// How a node starts, with further arguments.
#[must_use]
pub fn options(arguments: &[&str]) -> HostOptions {
    let mut options = HostOptions { config: Some(CONFIG.to_owned()), ..HostOptions::default() };
    options.arguments.extend(arguments.iter().map(ToString::to_string));
    options
}

/// How a node starts again that ended: as itself.
#[must_use]
pub fn again(ended: &Host) -> HostOptions {
    HostOptions { data: Some(ended.data().to_owned()), ..options(&[]) }
}

/// What a node says of its zone.
///
/// # Panics
/// When it does not say.
pub async fn cluster(host: &Host) -> Value {
    serde_json::from_str(&host.get("/api/v1/cluster").await).expect("the zone is shown")
}

/// A node's id.
///
/// # Panics
/// When it has none.
pub async fn node_of(host: &Host) -> String {
    cluster(host).await["node"].as_str().expect("it has an id").to_owned()
}

/// So many nodes that know each other.
///
/// # Panics
/// When they do not become a zone.
pub async fn zone(count: usize) -> Vec<Host> {
    let first = Host::start(options(&[])).await;
    let join = join_arguments(&first, count).await;
    let mut hosts = vec![first];
    for _ in 1..count {
        let join: Vec<_> = join.iter().map(String::as_str).collect();
        hosts.push(Host::start(options(&join)).await);
    }
    until_alive(&hosts, count).await;
    hosts
}

/// The arguments with which so many nodes join a member's zone.
///
/// # Panics
/// When it gives no token.
pub async fn join_arguments(member: &Host, uses: usize) -> [String; 4] {
    let uses = uses.to_string();
    let token = member.aop(&["cluster", "join-token", "--uses", &uses]).run().await.code(0);
    let address = cluster(member).await["endpoint"].as_str().expect("it has one").to_owned();
    ["--join".to_owned(), address, "--token".to_owned(), token.stdout.trim().to_owned()]
}

/// Waits until every one of some nodes sees so many alive.
pub async fn until_alive<'a>(hosts: impl IntoIterator<Item = &'a Host>, count: usize) {
    for host in hosts {
        eventually(&format!("{count} nodes are alive"), || async {
            let status = cluster(host).await;
            let members = status["members"].as_array()?;
            let alive = members.iter().filter(|member| member["state"] == "alive").count();
            (alive == count).then_some(())
        })
        .await;
    }
}

/// Waits until a node sees another one in a state.
pub async fn until_state(host: &Host, node: &str, state: &str) {
    eventually(&format!("{node} is {state}"), || async {
        let status = cluster(host).await;
        let members = status["members"].as_array()?;
        members
            .iter()
            .any(|member| member["node"] == node && member["state"] == state)
            .then_some(())
    })
    .await;
}

/// Loads a fixture guest on a node, under its own name.
///
/// # Panics
/// When it is refused.
pub async fn load(host: &Host, fixture: &str, settings: &str, arguments: &[&str]) {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let file = directory.path().join("settings.toml");
    std::fs::write(&file, settings).expect("settings can be written");
    let (component, file) = (guest(fixture), file.display().to_string());
    let component = component.display().to_string();
    let load = ["agent", "load", &component, "--name", fixture, "--settings", &file];
    let loaded = host.aop(&[&load[..], arguments].concat()).run().await.code(0);
    loaded.prints(&[fixture]);
}

/// Waits until a node lists a tool.
pub async fn until_tool(host: &Host, tool: &str) {
    eventually(&format!("{tool} is known"), || async {
        host.mcp().tool_names().await.iter().any(|name| name == tool).then_some(())
    })
    .await;
}

/// The nodes that have an agent, as one node sees it.
pub async fn replicas(host: &Host, agent: &str) -> Vec<String> {
    let status = cluster(host).await;
    let replicas = status["replicas"].as_array().map_or(&[][..], Vec::as_slice);
    let found = replicas.iter().find(|replica| replica["agent"] == agent);
    let nodes = found.and_then(|replica| replica["nodes"].as_array());
    let nodes = nodes.map_or(&[][..], Vec::as_slice);
    nodes.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Waits until a node sees exactly so many replicas.
pub async fn until_replicas(host: &Host, agent: &str, count: usize) -> Vec<String> {
    eventually(&format!("{agent} has {count} replicas"), || async {
        let nodes = replicas(host, agent).await;
        (nodes.len() == count).then_some(nodes)
    })
    .await
}

/// Waits until all nodes have the same registry, and says which.
pub async fn until_same_registry(hosts: &[&Host]) -> String {
    eventually("all nodes have the same registry", || async {
        let mut seen = Vec::new();
        for host in hosts {
            seen.push(cluster(host).await["registry_digest"].as_str()?.to_owned());
        }
        seen.dedup();
        (seen.len() == 1).then(|| seen.remove(0))
    })
    .await
}
