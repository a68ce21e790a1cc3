use aop_core::AgentName;
use serde_json::{Value, json};

use super::{Address, frontmatter, manifest};
use crate::tests::requests::{Client, stateless};
use crate::tests::{Answer, World, send, skill};
use crate::{McpConfig, McpServer};

async fn ask(server: &McpServer, method: &str, params: Value) -> Answer {
    send(server, stateless(&json!(1), method, params)).await
}

fn uri(path: &str) -> Value {
    json!({ "uri": format!("skill://tutor/{path}") })
}

/// The entry of the skill `refunds`; "hello" and two bytes are what its files say beside `SKILL.md`.
fn refunds() -> Value {
    json!({
        "uri": "skill://tutor/refunds/SKILL.md",
        "frontmatter": { "name": "refunds", "description": "Does refunds." },
        "resources": [
            { "uri": "skill://tutor/refunds/SKILL.md", "size": 55,
              "digest": "sha256:1d6ecd1e632a9cd38546f930c03b71dbe013951978bb0af744d0fd10c11eceab" },
            { "uri": "skill://tutor/refunds/references/deep/pixel.png", "size": 2,
              "digest": "sha256:b413f47d13ee2fe6c845b2ee141af81de858df4ec549a58b7970bb96645bc8d2" },
            { "uri": "skill://tutor/refunds/references/limits.md", "size": 5,
              "digest": "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824" },
        ],
    })
}

#[tokio::test(start_paused = true)]
async fn skills_are_listed_with_what_the_host_made_of_their_files() {
    let server = World::new().server();
    let list = ask(&server, "skills/list", json!({})).await.result();
    let live = json!({
        "uri": "skill://tutor/live/SKILL.md",
        "frontmatter": { "name": "live", "description": "Does live." },
        "resources": "dynamic",
    });
    assert_eq!(
        list,
        json!({ "resultType": "complete", "ttlMs": 30_000, "cacheScope": "private", "skills": [live, refunds()] })
    );
    let client = Client::open(&server).await;
    let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "skills/list" });
    let list = client.send(&message).await.result();
    assert_eq!(list["skills"][1], refunds());
    assert!(list.get("ttlMs").is_none() && list.get("resultType").is_none());
    let mut foreign = stateless(&json!(1), "skills/list", json!({}));
    *foreign.uri_mut() = "/t/other/mcp".parse().unwrap();
    assert_eq!(send(&server, foreign).await.result()["skills"], json!([]));

    let config = McpConfig { page_size: 1.try_into().unwrap(), ..McpConfig::default() };
    let server = World::new().server_with(config);
    let first = ask(&server, "skills/list", json!({})).await.result();
    assert_eq!(first["skills"], json!([live]));
    let next = json!({ "cursor": first["nextCursor"] });
    let last = ask(&server, "skills/list", next).await.result();
    assert!(last["skills"] == json!([refunds()]) && last.get("nextCursor").is_none());
    let wrong = ask(&server, "skills/list", json!({ "cursor": "!!!" })).await;
    assert_eq!(wrong.error_code(), Some(-32602));
}

#[tokio::test]
async fn a_skill_is_got_by_its_uri() {
    let server = World::new().server();
    let got = ask(&server, "skills/get", uri("refunds/SKILL.md")).await.result();
    assert_eq!(
        got,
        json!({ "resultType": "complete", "ttlMs": 30_000, "cacheScope": "private", "skill": refunds() })
    );
    let unlisted = ask(&server, "skills/get", uri("unlisted/SKILL.md")).await.result();
    assert_eq!(unlisted["skill"]["frontmatter"]["name"], "unlisted");
    for absent in
        ["none/SKILL.md", "refunds", "refunds/references/limits.md", "", "Two Words/SKILL.md"]
    {
        let refused = ask(&server, "skills/get", uri(absent)).await;
        assert_eq!(refused.error_code(), Some(-32602), "{absent}");
    }
    for absent in ["skill://notes/refunds/SKILL.md", "skill://nobody/x/SKILL.md", "notes://a", ""] {
        let refused = ask(&server, "skills/get", json!({ "uri": absent })).await;
        assert_eq!(refused.error_code(), Some(-32602), "{absent}");
    }
    for (broken, says) in [("another", "not the one"), ("failed", "guest said no")] {
        let failed = ask(&server, "skills/get", uri(&format!("{broken}/SKILL.md"))).await;
        assert_eq!(failed.error_code(), Some(-32603), "{broken}");
        let message = failed.message();
        assert!(message["error"]["message"].as_str().unwrap().contains(says), "{message}");
    }
    for (method, params) in [("skills/get", json!({})), ("skills/get", json!({ "uri": 7 }))] {
        assert_eq!(ask(&server, method, params).await.error_code(), Some(-32602));
    }
}

#[tokio::test]
async fn files_of_skills_are_resources() {
    let server = World::new().server();
    let read = async |path: &str| ask(&server, "resources/read", uri(path)).await;
    assert_eq!(
        read("refunds/references/limits.md").await.result()["contents"],
        json!([{ "uri": "skill://tutor/refunds/references/limits.md", "text": "hello" }])
    );
    let instructions = read("refunds/SKILL.md").await.result();
    assert_eq!(instructions["contents"][0]["mimeType"], "text/markdown");
    let pixel = read("refunds/references/deep/pixel.png").await.result();
    assert_eq!(
        (&pixel["contents"][0]["blob"], &pixel["contents"][0]["mimeType"]),
        (&json!("AAE="), &json!("image/png"))
    );
    for absent in
        ["refunds/none", "refunds", "refunds/references", "none/SKILL.md", "", "refunds//SKILL.md"]
    {
        assert_eq!(read(absent).await.error_code(), Some(-32602), "{absent}");
    }
    assert_eq!(read("another/SKILL.md").await.error_code(), Some(-32603));
    // No agent is asked for what is another's, whatever its own name is.
    let client = Client::open(&server).await;
    for uri in ["skill://notes/a", "skill:notes", "skill://"] {
        let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": { "uri": uri } });
        assert_eq!(client.send(&message).await.error_code(), Some(-32002), "{uri}");
    }
}

#[tokio::test(start_paused = true)]
async fn directories_show_their_direct_children() {
    let server = World::new().server();
    let read = async |path: &str| ask(&server, "resources/directory/read", uri(path)).await;
    let root = read("refunds").await.result();
    let directory = |path: &str, name: &str| json!({ "uri": format!("skill://tutor/{path}"), "name": name, "mimeType": "inode/directory" });
    assert_eq!(
        (&root["resources"], &root["ttlMs"], &root["cacheScope"]),
        (
            &json!([
                { "uri": "skill://tutor/refunds/SKILL.md", "name": "refunds", "description": "Does refunds.", "mimeType": "text/markdown", "size": 55 },
                directory("refunds/references", "references"),
            ]),
            &json!(30_000),
            &json!("private")
        )
    );
    let references = read("refunds/references").await.result();
    assert_eq!(references["resources"][0], directory("refunds/references/deep", "deep"));
    assert_eq!(references["resources"][1]["name"], "limits.md");
    let all = ask(&server, "resources/directory/read", json!({ "uri": "skill://tutor" })).await;
    assert_eq!(
        all.result()["resources"],
        json!([directory("live", "live"), directory("refunds", "refunds")])
    );
    for wrong in ["refunds/SKILL.md", "refunds/none", "refunds/ref", "none", "refunds/", ""] {
        assert_eq!(read(wrong).await.error_code(), Some(-32602), "{wrong}");
    }
    for params in [
        json!({ "uri": "notes://a" }),
        json!({ "uri": "skill://tutor/refunds", "cursor": "x" }),
        json!({}),
    ] {
        let refused = ask(&server, "resources/directory/read", params).await;
        assert_eq!(refused.error_code(), Some(-32602));
    }
}

#[tokio::test(start_paused = true)]
async fn the_extension_is_declared_where_skills_are_offered() {
    let declared = |result: &Value| {
        result["capabilities"]["extensions"]["io.modelcontextprotocol/skills"].clone()
    };
    let world = World::new();
    let server = world.server();
    let open = async || {
        let hello = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "t", "version": "1" } });
        let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello });
        send(&server, crate::tests::post("/mcp", message.to_string())).await.result()
    };
    let discovered = ask(&server, "server/discover", json!({})).await.result();
    assert_eq!(declared(&discovered), json!({ "directoryRead": true }));
    assert!(discovered["capabilities"].get("resources").is_some());
    assert_eq!(declared(&open().await), json!({ "directoryRead": true }));
    let mut foreign = stateless(&json!(1), "server/discover", json!({}));
    *foreign.uri_mut() = "/t/other/mcp".parse().unwrap();
    assert_eq!(declared(&send(&server, foreign).await.result()), Value::Null);

    world.skills.store(false, std::sync::atomic::Ordering::Relaxed);
    let discovered = ask(&server, "server/discover", json!({})).await.result();
    assert_eq!(declared(&discovered), Value::Null);
    assert!(
        discovered["capabilities"]["extensions"].get("io.modelcontextprotocol/tasks").is_some()
    );
    assert_eq!(declared(&open().await), Value::Null);
    assert_eq!(ask(&server, "skills/list", json!({})).await.result()["skills"], json!([]));
}

fn refused(skill: &Value) -> String {
    let agent = AgentName::new("tutor").unwrap();
    let refused = manifest::one(&agent, &skill.to_string()).expect_err(&skill.to_string());
    refused.to_string()
}

#[test]
fn a_list_has_so_many_skills() {
    let agent = AgentName::new("tutor").unwrap();
    let list = |count: usize| {
        let one = skill("a", &Value::Null);
        manifest::all(&agent, &json!(vec![one; count]).to_string())
    };
    assert_eq!(list(256).unwrap().len(), 256);
    assert!(list(257).unwrap_err().to_string().contains("257 skills; 256 are the most"));
}

#[test]
fn a_skill_that_breaks_a_rule_is_refused_with_it() {
    let text = |path: &str| json!({ "path": path, "body": { "tag": "text", "val": "" } });
    for name in ["", "Two Words", "-a", "a-", "a--b", "a/b", "..", "caf\u{e9}", &"a".repeat(65)] {
        assert!(refused(&skill(name, &Value::Null)).contains("its name must"), "{name}");
    }
    for path in [
        "",
        "/a",
        "a/",
        "a//b",
        ".",
        "../a",
        "a/../b",
        "a b",
        "a%20b",
        "a?b",
        "a#b",
        "caf\u{e9}",
        "a\\b",
        "a\nb",
    ] {
        assert!(refused(&skill("a", &json!([text(path)]))).contains("the path"), "{path}");
    }
    for path in ["a".repeat(256), "a/".repeat(16) + "a"] {
        assert!(refused(&skill("a", &json!([text(&path)]))).contains("16 segments"), "{path}");
    }
    let files: Vec<_> = (0..512).map(|n| text(&n.to_string())).collect();
    assert!(refused(&skill("a", &json!(files))).contains("513 files"));
    let large = json!([{ "path": "a", "body": { "tag": "text", "val": "x".repeat(16 << 20) } }]);
    assert!(refused(&skill("a", &large)).contains("bytes together"));
    assert!(refused(&skill("a", &json!([text("b"), text("b")]))).contains("two files `b`"));
    assert!(
        refused(&skill("a", &json!([text("b"), text("b/c/d")]))).contains("a file and a directory")
    );
    let wrong = json!([{ "path": "b", "mime_type": "?", "body": { "tag": "text", "val": "" } }]);
    assert!(refused(&skill("a", &wrong)).contains("MIME type"));
    assert!(refused(&json!({ "name": "a", "files": [], "dynamic": false })).contains("SKILL.md"));
    let blob = json!([{ "path": "SKILL.md", "body": { "tag": "blob", "val": "AAE=" } }]);
    assert!(refused(&json!({ "name": "a", "files": blob, "dynamic": false })).contains("SKILL.md"));
}

#[test]
fn an_address_is_one_agents() {
    let parse = |uri: &str| {
        Address::parse(uri).map(|address| (address.agent.to_string(), address.skill, address.path))
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(parse("skill://tutor"), Some(("tutor".to_owned(), None, None)));
    assert_eq!(parse("skill://tutor/a"), Some(("tutor".to_owned(), some("a"), None)));
    let nested = parse("skill://tutor/a/b/c/SKILL.md").unwrap();
    assert_eq!(nested, ("tutor".to_owned(), some("a"), some("b/c/SKILL.md")));
    for none in [
        "skill://tutor/",
        "skill://tutor/a/",
        "skill://tutor/A",
        "skill://tutor/a/../b",
        "skill://tutor/a/b?c",
        "skill://tutor/a/%62",
        "skill:tutor/a",
        "skill://",
        "tutor://a",
        "SKILL://tutor/a",
    ] {
        assert_eq!(parse(none), None, "{none}");
    }
}

fn read(yaml: &str) -> Result<Value, String> {
    let read = frontmatter::of(&format!("---\n{yaml}\n---\nhello"), "a");
    read.map(|read| serde_json::to_value(read).unwrap()).map_err(|bad| bad.to_string())
}

#[test]
fn frontmatter_is_what_the_author_wrote() {
    let named = "name: a\ndescription: Does a.";
    for (yaml, expected) in [
        ("", json!({})),
        ("license: Apache-2.0", json!({ "license": "Apache-2.0" })),
        (
            "metadata:\n  version: \"1.0\"\n  day: 2026-01-01",
            json!({ "metadata": { "version": "1.0", "day": "2026-01-01" } }),
        ),
        (
            "n: 1\nf: 1.5\nt: true\nno: no\nnone: ~",
            json!({ "n": 1, "f": 1.5, "t": true, "no": "no", "none": null }),
        ),
        (
            "l: [a, {b: c}]\ntext: |\n  one\n  two",
            json!({ "l": ["a", { "b": "c" }], "text": "one\ntwo\n" }),
        ),
    ] {
        let mut expected = expected;
        expected["name"] = json!("a");
        expected["description"] = json!("Does a.");
        assert_eq!(read(&format!("{named}\n{yaml}")), Ok(expected), "{yaml}");
    }
    let windows = "\u{feff}---\r\nname: a\r\ndescription: b\r\n--- \r\n\r\nhello";
    assert_eq!(frontmatter::of(windows, "a").unwrap().description, "b");
}

#[test]
fn frontmatter_that_breaks_a_rule_is_refused_with_it() {
    for none in
        ["", "hello", "---\nname: a\ndescription: b", "----\nname: a\n---", " ---\nname: a\n---"]
    {
        let refused = frontmatter::of(none, "a").unwrap_err().to_string();
        assert!(refused.contains("must begin with"), "{none}: {refused}");
    }
    let named = "name: a\ndescription: b";
    for (yaml, says) in [
        ("name: b\ndescription: c".to_owned(), "must be `a`"),
        ("description: c".to_owned(), "must be `a`"),
        ("name: a".to_owned(), "description"),
        ("name: a\ndescription: ' '".to_owned(), "description"),
        ("name: a\ndescription: 7".to_owned(), "description"),
        (format!("name: a\ndescription: {}", "x".repeat(1025)), "1024"),
        (format!("{named}\nmetadata:\n  io.modelcontextprotocol/x: y"), "MCP"),
        (format!("{named}\nx: {}", "x".repeat(16 << 10)), "bytes"),
        (format!("{named}\nx: {}{}", "[".repeat(20), "]".repeat(20)), "YAML"),
        (format!("{named}\nx: {}", "[".repeat(15_000)), "YAML"),
        (format!("{named}\nx: &x [1]\ny: *x"), "YAML"),
        (format!("{named}\nname: a"), "YAML"),
        (format!("{named}\nx: .nan"), "YAML"),
        (format!("{named}\nx: ["), "YAML"),
        ("- a".to_owned(), "YAML"),
        ("a".to_owned(), "YAML"),
    ] {
        let refused = read(&yaml).expect_err(&yaml);
        assert!(refused.contains(says), "{yaml}: {refused}");
    }
}
