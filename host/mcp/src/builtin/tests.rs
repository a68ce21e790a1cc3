use serde_json::{Value, json};

use crate::edge::{Edge, ToolCall};
use crate::tests::World;
use crate::{McpConfig, McpError};

async fn call(name: &str, arguments: Value) -> Value {
    call_of("default", name, arguments).await
}

async fn call_of(tenant: &str, name: &str, arguments: Value) -> Value {
    let world = World::new();
    let edge = Edge::new(McpConfig::default(), world.parts());
    let caller = crate::tests::local(tenant);
    let arguments = arguments.to_string();
    let reply = edge
        .call(ToolCall {
            caller: &caller,
            name,
            arguments: &arguments,
            received: std::time::Instant::now(),
            trace: None,
            progress: None,
            client: None,
            session: None,
        })
        .await
        .map_err(|error| McpError::Opening(error.to_string()))
        .unwrap();
    let envelope = serde_json::to_value(aop_core::Envelope::new(&reply.reply.result)).unwrap();
    check(name, &envelope);
    envelope
}

#[tokio::test]
async fn searching_and_describing_count_as_calls_of_the_tenant() {
    for (tool, arguments) in
        [("aop_discover", json!({ "query": "e" })), ("aop_describe", json!({ "tool": "echo" }))]
    {
        let refused = call_of("spent", tool, arguments).await;
        assert_eq!(refused["code"], "rate_limited", "{refused}");
    }
    // What is passed on is asked about where it is run.
    let passed = call_of("spent", "aop_call", json!({ "tool": "echo" })).await;
    assert_eq!(passed["success"], true, "{passed}");
}

/// Every answer fits the schema that its tool publishes.
fn check(name: &str, envelope: &Value) {
    let definitions =
        super::definitions().iter().map(|text| serde_json::from_str::<Value>(text).unwrap());
    let definition = definitions.into_iter().find(|definition| definition["name"] == name).unwrap();
    let validator = jsonschema::validator_for(&definition["outputSchema"]).unwrap();
    assert!(validator.is_valid(envelope), "{envelope}");
}

#[tokio::test]
async fn discover_ranks_describes_and_limits() {
    let found = call("aop_discover", json!({ "query": "e", "limit": 2 })).await;
    let tools = found["result"]["tools"].as_array().unwrap();
    assert_eq!(tools.len(), 2);
    assert_eq!(
        tools[0],
        json!({ "name": "echo", "agent": "fake", "description": "What echo \"does\"", "score": 1.5 })
    );
    assert_eq!(
        call("aop_discover", json!({})).await["result"]["tools"].as_array().unwrap().len(),
        7
    );
    for bad in [
        json!({ "limit": 0 }),
        json!({ "limit": 101 }),
        json!({ "agent": "A!" }),
        json!({ "x": 1 }),
        json!({ "query": 7 }),
    ] {
        let refused = call("aop_discover", bad.clone()).await;
        assert_eq!(refused["code"], "invalid_arguments", "{bad}");
        assert!(refused["details"][0]["message"].is_string());
    }
    assert_eq!(call("aop_discover", json!({ "query": "broken" })).await["code"], "internal");
}

#[tokio::test]
async fn describe_gives_the_whole_definition() {
    let described = call("aop_describe", json!({ "tool": "echo" })).await;
    let result = &described["result"];
    assert_eq!((&result["agent"], &result["name"]), (&json!("fake"), &json!("echo")));
    assert_eq!(result["inputSchema"]["type"], "object");
    assert_eq!(result["signature"], "echo: func(text: string) -> string");
    assert_eq!(call("aop_describe", json!({ "tool": "nobody" })).await["code"], "not_found");
    assert_eq!(call("aop_describe", json!({})).await["code"], "invalid_arguments");
}

#[tokio::test]
async fn call_passes_arguments_and_answers_on() {
    let arguments = json!({ "text": "x" });
    let answered = call("aop_call", json!({ "tool": "echo", "arguments": arguments })).await;
    assert_eq!(answered, json!({ "success": true, "result": r#"{"text":"x"}"# }));
    assert_eq!(call("aop_call", json!({ "tool": "fail" })).await["code"], "guest_error");
    assert_eq!(call("aop_call", json!({ "tool": "nobody" })).await["code"], "not_found");
    for bad in ["aop_call", "aop_discover", "aop_anything"] {
        assert_eq!(
            call("aop_call", json!({ "tool": bad })).await["details"][0]["pointer"],
            "/tool"
        );
    }
    let refused = call("aop_call", json!({ "tool": "echo", "arguments": [1] })).await;
    assert_eq!(refused["details"][0]["pointer"], "/arguments");
}

#[tokio::test]
async fn what_does_not_fit_is_told_with_its_pointer() {
    let one = json!({ "tool": "echo" });
    for (tool, arguments, pointer, word) in [
        ("aop_discover", json!({ "limit": "ten" }), "/limit", "string"),
        ("aop_discover", json!({ "query": "x", "a/b~c": 1 }), "/a~1b~0c", "unknown field"),
        ("aop_describe", json!({}), "", "tool"),
        ("aop_describe", json!({ "tool": 1 }), "/tool", "integer"),
        ("aop_call_many", json!({ "calls": [one, { "tool": false }] }), "/calls/1/tool", "boolean"),
        ("aop_call_many", json!({ "calls": [one, {}] }), "/calls/1", "tool"),
    ] {
        let refused = call(tool, arguments.clone()).await;
        let told = &refused["details"][0];
        assert_eq!(told["pointer"], pointer, "{arguments}: {refused}");
        let message = told["message"].as_str().unwrap();
        assert!(message.contains(word) && !message.contains(" line "), "{refused}");
    }
}

#[test]
fn definitions_are_valid_and_plain() {
    for text in super::definitions() {
        let definition: Value = serde_json::from_str(text).unwrap();
        for schema in ["inputSchema", "outputSchema"] {
            let schema = &definition[schema];
            assert_eq!(schema["type"], "object");
            assert!(jsonschema::meta::is_valid(schema), "{schema}");
        }
    }
}
