//! Agents that lie in what they offer: wrong kinds of content, resources of others, names that are none. Each
//! lie gets a clear error, and what is true beside it is served.

use aop_tests::{AgentsDirectory, Answer, Host, Mcp, ToolResult, repository};
use serde_json::{Value, json};

use crate::built::conformance_guest;

/// The host, and the directory that it watches.
async fn host() -> (Host, AgentsDirectory) {
    let agents = AgentsDirectory::new();
    for name in ["liar", "test"] {
        let settings = format!("tests/guests/conformance/{name}.toml");
        let settings = std::fs::read(repository().join(settings)).expect("there are settings");
        agents.put(&format!("{name}.toml"), &settings);
        agents.put(&format!("{name}.wasm"), &conformance_guest(name));
    }
    (Host::serve(agents.path()).await, agents)
}

async fn read(mcp: &Mcp, uri: &str) -> Answer {
    let message = mcp.message("resources/read", json!({ "uri": uri }));
    let request = mcp.post(&message).header("mcp-name", uri);
    Answer::read(request.send().await.expect("the host answers")).await
}

async fn names(mcp: &Mcp, method: &str, list: &str, name: &str) -> Vec<String> {
    let answer = mcp.request(method, json!({})).await;
    let entries = answer.result()[list].as_array().expect("a list").clone();
    entries.iter().map(|entry| entry[name].as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn content_that_breaks_a_rule_is_a_failure() {
    let (host, _agents) = host().await;
    let mcp = host.mcp();
    for (tool, says) in [
        ("liar_wrong_kind", "text/html"),
        ("liar_wrong_priority", "priority"),
        ("liar_wrong_link", "absolute URI"),
        ("liar_foreign_document", "another agent"),
    ] {
        let result = mcp.call(tool, json!({})).await;
        assert_eq!(result.code(), "bad_output", "{tool}");
        assert!(result.text().contains(says), "{tool}: {}", result.text());
    }
    let counted = [("agent", "liar"), ("code", "bad_output")];
    let bad = host.metrics().await.with("aop_calls", &counted);
    assert_eq!(bad, Some(4.0), "that is how they are counted");
    let result = mcp.call("liar_large_image", json!({ "mebibytes": 100 })).await;
    assert_eq!(result.code(), "guest_limit");
    let fits = json!({ "name": "liar_large_image", "arguments": { "mebibytes": 1 } });
    let answer = mcp.request("tools/call", fits).await;
    assert_eq!(answer.result()["content"][0]["type"], "image");

    let said = mcp.call("liar_wrong_progress", json!({})).await;
    let said: Vec<bool> =
        said.value().as_array().expect("a list").iter().map(|said| said == "").collect();
    assert_eq!(said, [true, false, false, false, false], "only the first report keeps the rules");
    let foreign: ToolResult = mcp.call("liar_foreign_update", json!({})).await;
    assert!(foreign.text().contains("liar://"), "{}", foreign.text());
    assert_eq!(mcp.call("liar_wrong_form", json!({})).await.code(), "guest_error");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_arrives_whole_unless_it_leads_to_what_another_agent_offers() {
    let (host, _agents) = host().await;
    let (mcp, session) = (host.mcp(), host.session().await);
    let call = async |uri: &str| {
        let params = json!({ "name": "liar_link", "arguments": { "uri": uri } });
        [
            mcp.request("tools/call", params.clone()).await.result().clone(),
            session.request("tools/call", params).await.result().clone(),
        ]
    };
    // Its own, that of a scheme which no agent owns, and one that its name alone would make another's.
    for uri in ["liar://honest", "https://example.com/a", "nobody://x"] {
        let link = json!({
            "type": "resource_link", "uri": uri, "name": "there", "title": "What is there",
            "description": "Says so itself.", "mimeType": "text/plain", "size": 4,
            "annotations": { "audience": ["user"], "priority": 0.5 },
        });
        for result in call(uri).await {
            assert_eq!(result["content"], json!([{ "type": "text", "text": "see" }, link]));
            assert_ne!(result["isError"], true, "{uri}");
            assert!(result.get("structuredContent").is_none(), "{result}");
        }
    }
    for uri in ["test://static-text", "skill://test/charts/SKILL.md"] {
        for result in call(uri).await {
            assert_eq!(result["isError"], true, "{uri}");
            let said = &result["structuredContent"];
            assert_eq!(said["code"], "bad_output", "{uri}: {result}");
            assert!(result["content"][0]["text"].to_string().contains("another agent"), "{result}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_an_agents_own_is_left_out() {
    let (host, _agents) = host().await;
    let mcp = host.mcp();
    let resources = names(&mcp, "resources/list", "resources", "uri").await;
    let own: Vec<_> = resources.iter().filter(|uri| !uri.contains("test")).collect();
    assert_eq!(own, ["liar://honest", "skill://liar/honest/SKILL.md"]);
    assert!(resources.contains(&"test://static-text".to_owned()), "{resources:?}");
    let charts = resources.iter().filter(|uri| *uri == "skill://test/charts/SKILL.md").count();
    assert_eq!(charts, 1, "its own agent's, and not what the liar lists: {resources:?}");
    let templates =
        names(&mcp, "resources/templates/list", "resourceTemplates", "uriTemplate").await;
    assert_eq!(templates, ["liar://{any}", "test://template/{id}/data"]);
    let prompts = names(&mcp, "prompts/list", "prompts", "name").await;
    let own: Vec<_> = prompts.iter().filter(|name| !name.starts_with("test_")).collect();
    assert_eq!(own, ["liar_foreign", "liar_honest", "liar_wrong"]);

    assert_eq!(read(&mcp, "liar://honest").await.result()["contents"][0]["text"], "true");
    assert_eq!(read(&mcp, "liar://foreign").await.error_code(), -32603);
    for absent in ["liar://empty", "liar://none", "file:///etc/passwd", "nobody://x", "no uri"] {
        assert_eq!(read(&mcp, absent).await.error_code(), -32602, "{absent}");
    }
    let get = async |name: &str| mcp.request("prompts/get", json!({ "name": name })).await;
    assert_eq!(get("liar_honest").await.result()["messages"][0]["content"]["text"], "true");
    assert_eq!(get("liar_wrong").await.error_code(), -32603);
    assert_eq!(get("liar_foreign").await.error_code(), -32603);
    assert_eq!(get("liar_none").await.error_code(), -32602);
    let argument = json!({
        "ref": { "type": "ref/prompt", "name": "liar_honest" },
        "argument": { "name": "any", "value": "" },
    });
    let answer = mcp.request("completion/complete", argument).await;
    let values = answer.result()["completion"]["values"].as_array().map(Vec::len);
    assert_eq!(values, Some(100), "no more than MCP allows");

    // The other agent was never concerned.
    let simple: Value = mcp.call("test_simple_text", json!({})).await.value().clone();
    assert_eq!(simple, "This is a simple text response for testing.");
}

#[tokio::test(flavor = "multi_thread")]
async fn skills_that_lie_are_left_out() {
    let (host, _agents) = host().await;
    let mcp = host.mcp();
    let skills = names(&mcp, "skills/list", "skills", "uri").await;
    let honest = ["liar/honest", "test/charts", "test/clock"];
    assert_eq!(skills, honest.map(|skill| format!("skill://{skill}/SKILL.md")));

    let get = async |uri: &str| {
        let message = mcp.message("skills/get", json!({ "uri": uri }));
        Answer::read(mcp.post(&message).send().await.expect("the host answers")).await
    };
    let unlisted = get("skill://liar/unlisted/SKILL.md").await;
    assert_eq!(unlisted.result()["skill"]["frontmatter"]["name"], "unlisted");
    for (name, code) in [("another", -32603), ("failed", -32603), ("none", -32602)] {
        assert_eq!(
            get(&format!("skill://liar/{name}/SKILL.md")).await.error_code(),
            code,
            "{name}"
        );
    }
    for absent in ["skill://nobody/a/SKILL.md", "skill://liar", "liar://honest", "no uri"] {
        assert_eq!(get(absent).await.error_code(), -32602, "{absent}");
    }
    for absent in
        ["skill://liar/forged/SKILL.md", "skill://liar/way-out/../../test/charts/SKILL.md"]
    {
        assert_eq!(read(&mcp, absent).await.error_code(), -32602, "{absent}");
    }

    // What the other agent's entry says is so.
    let charts = get("skill://test/charts/SKILL.md").await.result()["skill"].clone();
    assert_eq!(charts["frontmatter"]["metadata"]["version"], "1.0");
    for file in charts["resources"].as_array().expect("a manifest") {
        let uri = file["uri"].as_str().expect("a URI");
        let contents = read(&mcp, uri).await.result()["contents"][0].clone();
        let Some(text) = contents["text"].as_str() else { continue };
        assert_eq!(file["size"], text.len(), "{uri}");
        assert_eq!(file["digest"], aop_core::Digest::of(text.as_bytes()).to_string(), "{uri}");
    }
}
