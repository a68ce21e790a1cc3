//! A client on the other end of a pipe.

use std::sync::Arc;
use std::time::Duration;

use aop_core::{Listen as _, Offer, TenantName};
use rmcp::ServiceExt as _;
use rmcp::model::{CallToolRequestParams, PaginatedRequestParams};
use serde_json::{Value, json};
use tokio::io::{
    AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream, Lines, ReadHalf, WriteHalf,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::tests::World;
use crate::tests::local;
use crate::{McpConfig, McpError, McpServer};

struct Client {
    world: Arc<World>,
    server: McpServer,
    output: Lines<BufReader<ReadHalf<DuplexStream>>>,
    input: WriteHalf<DuplexStream>,
    serving: JoinHandle<Result<(), McpError>>,
    shutdown: CancellationToken,
}

impl Client {
    fn connect(config: McpConfig) -> Self {
        let world = World::new();
        let server = world.server_with(config);
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let shutdown = CancellationToken::new();
        let (input, output) = tokio::io::split(theirs);
        let serving = tokio::spawn({
            let (server, shutdown) = (server.clone(), shutdown.clone());
            async move { server.serve_pipe(local("default"), input, output, shutdown.cancelled()).await }
        });
        let (read, write) = tokio::io::split(ours);
        Self {
            world,
            server,
            output: BufReader::new(read).lines(),
            input: write,
            serving,
            shutdown,
        }
    }

    async fn say(&mut self, message: &Value) {
        self.say_text(&message.to_string()).await;
    }

    async fn say_text(&mut self, text: &str) {
        self.input.write_all(text.as_bytes()).await.unwrap();
        self.input.write_all(b"\n").await.unwrap();
    }

    async fn hear(&mut self) -> Value {
        serde_json::from_str(&self.output.next_line().await.unwrap().expect("the server is silent"))
            .unwrap()
    }

    async fn ask(&mut self, message: &Value) -> Value {
        self.say(message).await;
        self.hear().await
    }

    async fn open_session() -> Self {
        let mut client = Self::connect(McpConfig::default());
        let answer = client
            .ask(&json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
                "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "t", "version": "1" } } }))
            .await;
        assert_eq!(answer["result"]["protocolVersion"], "2025-11-25");
        client.say(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })).await;
        client
    }

    async fn close(mut self) -> Result<(), McpError> {
        self.input.shutdown().await.unwrap();
        self.serving.await.unwrap()
    }
}

fn call(id: i64, tool: &str, meta: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": { "name": tool, "arguments": {}, "_meta": meta } })
}

fn modern() -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    })
}

#[tokio::test]
async fn a_session_calls_lists_and_pings() {
    let mut client = Client::open_session().await;
    let answer = client.ask(&call(1, "echo", json!({}))).await;
    assert_eq!((&answer["id"], &answer["result"]["isError"]), (&json!(1), &json!(false)));
    assert!(answer["result"].get("resultType").is_none());
    let list = client.ask(&json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/list" })).await;
    assert_eq!(list["result"]["tools"].as_array().unwrap().len(), 11);
    let pong = client.ask(&json!({ "jsonrpc": "2.0", "id": 3, "method": "ping" })).await;
    assert_eq!(pong, json!({ "jsonrpc": "2.0", "id": 3, "result": {} }));
    assert_eq!(client.server.counters().fast.get(), 2);
    client.close().await.unwrap();
}

#[tokio::test]
async fn stateless_requests_need_no_handshake() {
    let mut client = Client::connect(McpConfig::default());
    let discovered = client
        .ask(&json!({ "jsonrpc": "2.0", "id": 0, "method": "server/discover", "params": { "_meta": modern() } }))
        .await;
    assert_eq!(discovered["result"]["resultType"], "complete");
    for id in 1..4 {
        let answer = client.ask(&call(id, "echo", modern())).await;
        assert_eq!(
            (&answer["id"], &answer["result"]["resultType"]),
            (&json!(id), &json!("complete"))
        );
    }
    assert_eq!(client.server.counters().fast.get(), 2, "the first one opens the connection");
    let bare = client.ask(&call(9, "echo", json!({}))).await;
    assert_eq!(bare["error"]["code"], -32602);
    client.close().await.unwrap();
}

#[tokio::test]
async fn both_paths_answer_alike() {
    let mut client = Client::open_session().await;
    for tool in ["echo", "number", "fail", "busy", "invalid", "nobody"] {
        let quick = client.ask(&call(1, tool, json!({}))).await;
        // A member that the fast path does not know.
        let mut message = call(1, tool, json!({}));
        message["params"]["other"] = json!(1);
        assert_eq!(client.ask(&message).await, quick);
    }
    assert_eq!(client.server.counters().fast.get(), 6);
    client.close().await.unwrap();
}

#[tokio::test]
async fn pipelined_calls_all_answer_with_few_places() {
    let config = McpConfig { pending_max: 3, ..McpConfig::default() };
    let mut client = Client::connect(config);
    for id in 0..200 {
        client.say(&call(id, "echo", modern())).await;
    }
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..200 {
        seen.insert(client.hear().await["id"].as_i64().unwrap());
    }
    assert_eq!(seen.len(), 200);
    client.close().await.unwrap();
}

#[tokio::test]
async fn progress_comes_before_the_answer() {
    let mut client = Client::open_session().await;
    client.say(&call(1, "steps", json!({ "progressToken": "t" }))).await;
    for step in [1.0, 2.0, 3.0] {
        assert_eq!(client.hear().await["params"]["progress"], step);
    }
    assert_eq!(client.hear().await["result"]["isError"], false);
    client.close().await.unwrap();
}

#[tokio::test]
async fn cancelling_stops_a_call_without_an_answer() {
    for meta in [json!({}), json!({ "progressToken": 1 })] {
        let mut client = Client::open_session().await;
        client.say(&call(1, "hang", meta)).await;
        client.world.until_hanging(1).await;
        client
            .say(&json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 1 } }))
            .await;
        client.world.until_hanging(0).await;
        assert_eq!(client.ask(&call(2, "echo", json!({}))).await["id"], 2);
        client.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_cancelled_request_keeps_its_id_until_it_ended() {
    for meta in [json!({}), json!({ "progressToken": 1 })] {
        let mut client = Client::open_session().await;
        client.say(&call(1, "hang", meta.clone())).await;
        client.world.until_hanging(1).await;
        let cancel = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 1 } });
        // In one piece, so that both are read before what was cancelled can end.
        client.say_text(&format!("{cancel}\n{}", call(1, "echo", meta))).await;
        let refused = client.hear().await;
        assert_eq!((&refused["id"], &refused["error"]["code"]), (&json!(1), &json!(-32600)));
        client.world.until_hanging(0).await;
        while client.ask(&call(1, "echo", json!({}))).await.get("error").is_some() {
            tokio::task::yield_now().await;
        }
        client.close().await.unwrap();
    }
}

#[tokio::test]
async fn an_id_runs_once_at_a_time_on_both_paths() {
    let mut client = Client::open_session().await;
    client.say(&call(1, "hang", json!({}))).await;
    client.world.until_hanging(1).await;
    let through_rmcp = call(1, "echo", json!({ "progressToken": 1 }));
    assert_eq!(client.ask(&through_rmcp).await["error"]["code"], -32600);
    client.serving.abort();
}

#[tokio::test(start_paused = true)]
async fn the_end_of_input_stops_calls_after_a_grace() {
    for meta in [json!({}), json!({ "progressToken": 1 })] {
        let mut client = Client::open_session().await;
        client.say(&call(1, "hang", meta)).await;
        client.world.until_hanging(1).await;
        let world = client.world.clone();
        client.close().await.unwrap();
        world.until_hanging(0).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_may_finish_within_the_grace() {
    for meta in [
        modern(),
        json!({ "progressToken": 1, "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {} }),
    ] {
        let mut client = Client::connect(McpConfig::default());
        assert_eq!(client.ask(&call(0, "echo", modern())).await["id"], 0);
        client.say(&call(1, "later", meta)).await;
        client.input.shutdown().await.unwrap();
        assert_eq!(client.hear().await["id"], 1);
        client.serving.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn what_was_piped_in_is_answered_before_the_end() {
    let mut client = Client::connect(McpConfig::default());
    for id in 0..50 {
        client.say(&call(id, "echo", modern())).await;
    }
    client.input.shutdown().await.unwrap();
    for _ in 0..50 {
        assert_eq!(client.hear().await["result"]["isError"], false);
    }
    assert_eq!(client.output.next_line().await.unwrap(), None);
    client.serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn shutdown_waits_for_a_running_call() {
    let mut client = Client::open_session().await;
    client.say(&call(1, "hang", json!({}))).await;
    client.world.until_hanging(1).await;
    client.shutdown.cancel();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!client.serving.is_finished());
    client.serving.abort();
    client.world.until_hanging(0).await;
}

#[tokio::test(start_paused = true)]
async fn a_session_hears_of_changes() {
    let mut client = Client::open_session().await;
    assert_eq!(client.ask(&call(1, "echo", json!({}))).await["id"], 1);
    for _ in 0..3 {
        client.world.changes.tools_changed(&TenantName::default_tenant());
    }
    assert_eq!(client.hear().await["method"], "notifications/tools/list_changed");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(client.ask(&call(2, "echo", json!({}))).await["id"], 2, "one notification for all");
    client.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn subscriptions_hear_of_changes_and_are_bounded() {
    let mut client = Client::connect(McpConfig { streams_max: 1, ..McpConfig::default() });
    let listen = |id: i64| {
        json!({ "jsonrpc": "2.0", "id": id, "method": "subscriptions/listen",
            "params": { "_meta": modern(), "notifications": { "toolsListChanged": true } } })
    };
    let acknowledged = client.ask(&listen(1)).await;
    assert_eq!(acknowledged["method"], "notifications/subscriptions/acknowledged");
    assert_eq!(client.ask(&listen(2)).await["error"]["code"], -32000);
    tokio::time::sleep(Duration::from_millis(1)).await;
    client.world.changes.tools_changed(&TenantName::default_tenant());
    assert_eq!(client.hear().await["method"], "notifications/tools/list_changed");
    client.close().await.unwrap();
}

#[tokio::test]
async fn lines_that_are_no_message_are_refused() {
    let mut client = Client::open_session().await;
    let deep = "[".repeat(10_000) + &"]".repeat(10_000);
    let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(5 << 20));
    for (line, code) in [
        ("{", -32700),
        (&*deep, -32700),
        ("[]", -32600),
        ("7", -32600),
        (r#"{"id":1}"#, -32600),
        (&*long, -32600),
    ] {
        client.say_text(line).await;
        assert_eq!(client.hear().await["error"]["code"], code);
    }
    // Not for us, so no answer.
    client.say_text(r#"{"jsonrpc":"2.0","method":"textDocument/didOpen"}"#).await;
    assert_eq!(client.ask(&call(1, "echo", json!({}))).await["id"], 1);
    let twice = [call(5, "hang", json!({})), call(5, "echo", json!({}))];
    client.say(&twice[0]).await;
    client.world.until_hanging(1).await;
    assert_eq!(client.ask(&twice[1]).await["error"]["code"], -32600);
    client.serving.abort();
}

#[tokio::test]
async fn rmcps_own_client_is_served() {
    let world = World::new();
    let server = world.server();
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let (input, output) = tokio::io::split(theirs);
    let serving = tokio::spawn(async move {
        server.serve_pipe(local("default"), input, output, std::future::pending()).await
    });
    let client = ().serve(ours).await.unwrap();
    let tools = client.list_tools(Some(PaginatedRequestParams::default())).await.unwrap().tools;
    assert_eq!(tools.len(), 11);
    let result = client.call_tool(CallToolRequestParams::new("echo")).await.unwrap();
    assert_eq!(result.is_error, Some(false));
    client.cancel().await.unwrap();
    serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_call_asks_its_client_in_both_eras() {
    let mut client = Client::connect(McpConfig::default());
    client.world.publish(&["ask", "echo", "log"]);
    client
        .ask(&json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
            "protocolVersion": "2025-11-25", "capabilities": { "elicitation": {} }, "clientInfo": { "name": "t", "version": "1" } } }))
        .await;
    client.say(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })).await;
    let question = client.ask(&call(1, "ask", json!({}))).await;
    assert_eq!(question["method"], "elicitation/create");
    let result = json!({ "action": "accept", "content": { "user_name": "A" } });
    let answer =
        client.ask(&json!({ "jsonrpc": "2.0", "id": question["id"], "result": result })).await;
    assert_eq!(answer["result"]["content"][0]["text"], r#"{"user_name":"A"}"#);
    client.ask(&json!({ "jsonrpc": "2.0", "id": 2, "method": "logging/setLevel", "params": { "level": "error" } })).await;
    let line = client.ask(&call(3, "log", json!({}))).await;
    assert_eq!(
        (&line["method"], &line["params"]["level"]),
        (&json!("notifications/message"), &json!("critical"))
    );
    assert_eq!(client.hear().await["id"], 3);
    client.close().await.unwrap();

    let mut client = Client::connect(McpConfig::default());
    client.world.publish(&["ask", "echo"]);
    let mut meta = modern();
    meta["io.modelcontextprotocol/clientCapabilities"] = json!({ "elicitation": {} });
    let round = client.ask(&call(1, "ask", meta.clone())).await;
    assert_eq!(round["result"]["resultType"], "input_required");
    let mut retry = call(2, "ask", meta);
    retry["params"]["requestState"] = round["result"]["requestState"].clone();
    retry["params"]["inputResponses"] = json!({ "user_name": { "action": "decline" } });
    let answer = client.ask(&retry).await;
    assert_eq!(answer["result"]["content"][0]["text"], "declined");
    client.close().await.unwrap();
}

#[tokio::test]
async fn a_pipe_is_told_of_the_resources_that_it_subscribed_to() {
    let mut client = Client::open_session().await;
    let subscribe = json!({ "jsonrpc": "2.0", "id": 1, "method": "resources/subscribe", "params": { "uri": "notes://a" } });
    assert_eq!(client.ask(&subscribe).await["result"], json!({}));
    let tenant = TenantName::default_tenant();
    client.world.changes.offer_changed(&tenant, Offer::Resource("notes://a".to_owned()));
    client.world.changes.offer_changed(&tenant, Offer::Resource("notes://b".to_owned()));
    let told = client.hear().await;
    assert_eq!(
        (&told["method"], &told["params"]["uri"]),
        (&json!("notifications/resources/updated"), &json!("notes://a"))
    );
    client.close().await.unwrap();
}
