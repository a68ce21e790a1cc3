use std::sync::atomic::Ordering;
use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::listing::PAGE_TIME_MAX;
use crate::tests::mounted;
use crate::tests::requests::{Client, stateless};
use crate::tests::{Answer, World, send};
use crate::{McpConfig, McpServer};

const RESOURCES: [&str; 5] = [
    "my-kit://z",
    "notes://a",
    "notes://b",
    "skill://tutor/live/SKILL.md",
    "skill://tutor/refunds/SKILL.md",
];

async fn ask(server: &McpServer, method: &str, params: Value) -> Answer {
    send(server, stateless(&json!(1), method, params)).await
}

fn names(result: &Value, list: &str, member: &str) -> Vec<String> {
    let entries = result[list].as_array().unwrap().iter();
    entries.map(|entry| entry[member].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn lists_leave_out_who_fails_and_what_lies() {
    let server = World::new().server();
    let list = ask(&server, "resources/list", json!({})).await.result();
    assert_eq!(names(&list, "resources", "uri"), RESOURCES);
    assert_eq!(list["resources"][1]["title"], "A");
    assert_eq!(
        list["resources"][1]["annotations"],
        json!({ "audience": ["user"], "priority": 0.5 })
    );
    assert_eq!(list["resources"][2]["size"], 3);
    assert_eq!((&list["ttlMs"], &list["cacheScope"]), (&json!(30_000), &json!("private")));
    let list = ask(&server, "resources/templates/list", json!({})).await.result();
    assert_eq!(
        names(&list, "resourceTemplates", "uriTemplate"),
        ["notes://by-day/{day}", "notes://{/day*,month:3}{?q}"]
    );
    let list = ask(&server, "prompts/list", json!({})).await.result();
    assert_eq!(names(&list, "prompts", "name"), ["notes_ask", "notes_code_review"]);
    let review = &list["prompts"][1];
    assert_eq!(review["title"], "Review");
    assert_eq!(
        review["arguments"],
        json!([{ "name": "lang", "description": "Which", "required": true }, { "name": "tone", "required": false }])
    );
    let client = Client::open(&server).await;
    let list =
        client.send(&json!({ "jsonrpc": "2.0", "id": 1, "method": "prompts/list" })).await.result();
    assert!(list.get("ttlMs").is_none() && list.get("resultType").is_none());
    assert_eq!(names(&list, "prompts", "name").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn lists_have_pages() {
    let config = McpConfig { page_size: 1.try_into().unwrap(), ..McpConfig::default() };
    let server = World::new().server_with(config);
    let (mut seen, mut params) = (Vec::new(), json!({}));
    loop {
        let page = ask(&server, "resources/list", params).await.result();
        seen.extend(names(&page, "resources", "uri"));
        match &page["nextCursor"] {
            Value::Null => break,
            cursor => params = json!({ "cursor": cursor }),
        }
    }
    assert_eq!(seen, RESOURCES);
    for cursor in ["", "x", "!!!", "YWZ0ZXI"] {
        let refused = ask(&server, "resources/list", json!({ "cursor": cursor })).await;
        assert_eq!(refused.error_code(), Some(-32602), "{cursor}");
    }
}

#[tokio::test]
async fn tenants_see_their_own_offers() {
    let server = World::new().server();
    for (method, params) in [
        ("resources/list", json!({})),
        ("resources/templates/list", json!({})),
        ("prompts/list", json!({})),
    ] {
        let mut request = stateless(&json!(1), method, params);
        *request.uri_mut() = "/t/other/mcp".parse().unwrap();
        let lists = send(&server, request).await.result();
        assert!(lists.as_object().unwrap().values().any(|value| *value == json!([])), "{lists}");
    }
    let mut request = stateless(&json!(1), "resources/read", json!({ "uri": "notes://a" }));
    *request.uri_mut() = "/t/other/mcp".parse().unwrap();
    assert_eq!(send(&server, request).await.error_code(), Some(-32602));
}

#[tokio::test]
async fn a_resource_is_read_by_its_owner() {
    let server = World::new().server();
    let read = ask(&server, "resources/read", json!({ "uri": "notes://a" })).await.result();
    assert_eq!(
        read["contents"],
        json!([{ "uri": "notes://a", "mimeType": "text/plain", "text": "hello" }, { "uri": "notes://a/2", "blob": "AAE=" }])
    );
    let client = Client::open(&server).await;
    for uri in ["notes://nothing", "nobody://a", "broken://a", "my-kit://z", "nonsense", ""] {
        let modern = ask(&server, "resources/read", json!({ "uri": uri })).await;
        assert_eq!((modern.status, modern.error_code()), (StatusCode::OK, Some(-32602)), "{uri}");
        assert_eq!(modern.message()["error"]["data"]["uri"], uri);
        let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": { "uri": uri } });
        assert_eq!(client.send(&message).await.error_code(), Some(-32002), "{uri}");
    }
    for (uri, reason) in [("notes://liar", "own scheme"), ("notes://failed", "guest said no")] {
        let failed = ask(&server, "resources/read", json!({ "uri": uri })).await;
        assert_eq!(failed.error_code(), Some(-32603));
        assert!(failed.message()["error"]["message"].as_str().unwrap().contains(reason));
    }
    let missing = ask(&server, "resources/read", json!({})).await;
    assert_eq!(missing.error_code(), Some(-32602));
}

#[tokio::test(start_paused = true)]
async fn a_prompt_is_filled_in() {
    let server = World::new().server();
    let get = |arguments: Value| json!({ "name": "notes_code_review", "arguments": arguments });
    let prompt =
        ask(&server, "prompts/get", get(json!({ "lang": "rust", "tone": "kind" }))).await.result();
    assert_eq!(prompt["description"], r#"code-review [["lang","rust"],["tone","kind"]]"#);
    assert_eq!(
        prompt["messages"],
        json!([{ "role": "assistant", "content": { "type": "image", "data": "AAE=", "mimeType": "image/png" } }])
    );
    for (params, reason) in [
        (get(json!({ "tone": "kind" })), "`lang` is required"),
        (get(json!({ "lang": 7 })), "must be a string"),
        (get(json!({ "lang": "cobol" })), "guest said no"),
        (json!({ "name": "notes_nothing" }), "Unknown prompt"),
        (json!({ "name": "notes_no spaces" }), "Unknown prompt"),
        (json!({ "name": "nobody_x" }), "Unknown prompt"),
        (json!({ "name": "broken_x" }), "Unknown prompt"),
    ] {
        let refused = ask(&server, "prompts/get", params).await;
        assert_eq!(refused.error_code(), Some(-32602), "{reason}");
        assert!(refused.message()["error"]["message"].as_str().unwrap().contains(reason));
    }
}

#[tokio::test(start_paused = true)]
async fn suggestions_come_from_the_agent_that_is_meant() {
    let server = World::new().server();
    let prompt = json!({ "type": "ref/prompt", "name": "notes_code_review" });
    let template = json!({ "type": "ref/resource", "uri": "notes://by-day/{day}" });
    let complete = |reference: &Value| json!({ "ref": reference, "argument": { "name": "lang", "value": "ru" }, "context": { "arguments": { "z": "1", "a": "2" } } });
    for (reference, subject) in [
        (&prompt, r#"{"tag":"prompt","val":"code-review"}"#),
        (&template, r#"{"tag":"template","val":"notes://by-day/{day}"}"#),
    ] {
        let completion =
            &ask(&server, "completion/complete", complete(reference)).await.result()["completion"];
        let values = completion["values"].as_array().unwrap();
        assert_eq!(values.len(), 100, "the protocol's limit");
        assert_eq!((&completion["total"], &completion["hasMore"]), (&json!(152), &json!(true)));
        assert_eq!((&values[0], &values[1]), (&json!(subject), &json!(r#"[["a","2"],["z","1"]]"#)));
    }
    let silent = json!({ "type": "ref/resource", "uri": "my-kit://{x}" });
    let completion = ask(&server, "completion/complete", complete(&silent)).await.result();
    assert_eq!(completion["completion"]["values"], json!([]));
    for unknown in [
        json!({ "type": "ref/prompt", "name": "nobody" }),
        json!({ "type": "ref/resource", "uri": "nobody://{x}" }),
        json!({ "type": "ref/other" }),
    ] {
        let refused = ask(&server, "completion/complete", complete(&unknown)).await;
        assert_eq!(refused.error_code(), Some(-32602), "{unknown}");
    }
}

#[tokio::test(start_paused = true)]
async fn hung_agents_are_waited_for_together_and_not_long() {
    let world = World::new();
    let server = world.server();
    // Sixteen at a time and two seconds each. The first sixteen are one more that hangs, three that answer and wait
    // behind it, and twelve of these; then sixteen of these.
    for (hung, rounds) in [(12, 1), (13, 2), (28, 2), (29, 3)] {
        world.hung.store(hung, Ordering::Relaxed);
        let began = tokio::time::Instant::now();
        let list = ask(&server, "prompts/list", json!({})).await.result();
        assert_eq!(names(&list, "prompts", "name").len(), 2);
        assert_eq!(began.elapsed(), Duration::from_secs(rounds * 2), "{hung}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_takes_only_so_long_however_many_agents_hang() {
    let world = World::new();
    world.hung.store(1000, Ordering::Relaxed);
    let server = world.server();
    let began = tokio::time::Instant::now();
    let list = ask(&server, "prompts/list", json!({})).await.result();
    assert_eq!(names(&list, "prompts", "name"), ["notes_ask", "notes_code_review"]);
    assert_eq!(began.elapsed(), PAGE_TIME_MAX);
}

#[tokio::test(start_paused = true)]
async fn nobody_is_asked_any_more_when_the_client_leaves() {
    let world = World::new();
    let server = world.server();
    let prompt = json!({ "type": "ref/prompt", "name": "hung_x" });
    let complete = json!({ "ref": prompt, "argument": { "name": "a", "value": "" } });
    for (method, params) in [
        ("prompts/list", json!({})),
        ("resources/list", json!({})),
        ("prompts/get", json!({ "name": "hung_x" })),
        ("completion/complete", complete),
    ] {
        let request = stateless(&json!(1), method, params);
        let waiting = tokio::spawn(mounted(&server).oneshot(request));
        world.until_hanging(1).await;
        let began = tokio::time::Instant::now();
        waiting.abort();
        world.until_hanging(0).await;
        assert_eq!(began.elapsed(), Duration::ZERO, "{method}: not because the time was up");
    }
}

#[tokio::test(start_paused = true)]
async fn no_agent_answers_for_one_with_a_longer_name() {
    let server = World::new().server();
    // `my` lists it, and its name belongs to `my-kit`, which has no such prompt.
    let list = ask(&server, "prompts/list", json!({})).await.result();
    assert_eq!(names(&list, "prompts", "name"), ["notes_ask", "notes_code_review"]);
    for name in ["my_kit_x".to_owned(), "_".repeat(1 << 20)] {
        let message = json!({ "name": name });
        assert_eq!(ask(&server, "prompts/get", message).await.error_code(), Some(-32602));
    }
}

#[test]
fn texts_of_lists_are_bounded() {
    let text = |chars: usize| "\u{e9}".repeat(chars);
    assert!(super::check_texts(&text(256), Some(&text(256)), Some(&text(4096))).is_ok());
    assert!(super::check_texts("", None, None).is_err());
    assert!(super::check_texts(&text(257), None, None).is_err());
    assert!(super::check_texts("a", Some(&text(257)), None).is_err());
    assert!(super::check_texts("a", None, Some(&text(4097))).is_err());
}
