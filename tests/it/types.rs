//! Every type of the component model in both directions, as a client sees it: `aop run`, MCP, and a
//! JSON Schema validator that we did not write.

use aop_tests::{AgentsDirectory, Aop, Host, guest};
use futures::future::join_all;
use serde_json::{Value, json};

/// What a function is given and what it gives back, for functions whose result is their argument.
fn identities() -> Vec<(&'static str, Value, Value)> {
    [simple_identities(), compound_identities()].concat()
}

/// Numbers, truth values and characters.
fn simple_identities() -> Vec<(&'static str, Value, Value)> {
    let same = |function, value: Value| (function, value.clone(), value);
    vec![
        same("bool", json!(true)),
        same("bool", json!(false)),
        same("u8", json!(0)),
        same("u8", json!(255)),
        same("u16", json!(65_535)),
        same("u32", json!(4_294_967_295_u32)),
        same("s8", json!(-128)),
        same("s16", json!(-32_768)),
        same("s32", json!(-2_147_483_648_i64)),
        ("u32", json!(5.0), json!(5)),
        same("u64", json!(9_007_199_254_740_991_u64)),
        ("u64", json!(9_007_199_254_740_992_u64), json!("9007199254740992")),
        same("u64", json!("18446744073709551615")),
        ("u64", json!(18_446_744_073_709_551_615_u64), json!("18446744073709551615")),
        ("u64", json!("7"), json!(7)),
        same("s64", json!(-9_007_199_254_740_991_i64)),
        same("s64", json!("-9223372036854775808")),
        ("s64", json!(-9_223_372_036_854_775_808_i64), json!("-9223372036854775808")),
        same("alias", json!("18446744073709551615")),
        same("f32", json!(1.5)),
        same("f32", json!("NaN")),
        same("f64", json!(0.1)),
        same("f64", json!(-1.797_693_134_862_315_7e308)),
        same("f64", json!("Infinity")),
        same("f64", json!("-Infinity")),
        same("f64", json!("NaN")),
        same("char", json!("ß")),
        same("char", json!("🙂")),
        same("char", json!("\u{0}")),
    ]
}

/// The same for types that are made of others.
fn compound_identities() -> Vec<(&'static str, Value, Value)> {
    let same = |function, value: Value| (function, value.clone(), value);
    let full = json!({
        "name": "Ada", "age": 36, "nickname": { "some": "Countess" }, "home": { "x": 1.5, "y": -2.0 }, "tags": ["a", "b"],
    });
    vec![
        same("string", json!("")),
        same("string", json!("quote \" back \\ line \n nul \u{0} emoji 🙂 \u{2028}")),
        same("bytes", json!("")),
        same("bytes", json!("AAEC/f7/")),
        same("strings", json!([])),
        same("strings", json!(["", "a", "ä"])),
        same("nested_list", json!([[], [1], [-2, 3]])),
        same("tuple", json!(["x", 7, true])),
        same("fixed_list", json!([1, 2, 4_294_967_295_u32])),
        same("option", json!("here")),
        same("nested_option", json!({ "some": 7 })),
        same("nested_option", json!({ "some": null })),
        same("record", full),
        (
            "record",
            json!({ "tags": [], "name": "", "age": null, "nickname": { "some": null }, "home": null }),
            json!({ "name": "", "nickname": { "some": null }, "tags": [] }),
        ),
        same(
            "keywords",
            json!({ "type": "t", "record": true, "kebab_case_name": 1, "UPPER_id": 2 }),
        ),
        same("enum", json!("amber")),
        same("flags", json!([])),
        same("flags", json!(["read", "execute"])),
        ("flags", json!(["execute", "read"]), json!(["read", "execute"])),
        same("variant", json!({ "tag": "nothing" })),
        same("variant", json!({ "tag": "circle", "val": 1.5 })),
        same("variant", json!({ "tag": "rectangle", "val": [1.0, 2.0] })),
        same("variant", json!({ "tag": "polygon", "val": [{ "x": 0.0, "y": 1.0 }] })),
        same("variant", json!({ "tag": "named", "val": "x" })),
        same("variant", json!({ "tag": "named", "val": null })),
        same("result", json!([{ "tag": "ok", "val": 1 }, { "tag": "err", "val": "no" }])),
        same("empty_result", json!([{ "tag": "ok" }, { "tag": "err" }])),
        same("string_map", json!({ "a": 1, "": 2 })),
        same("number_map", json!([[7, { "x": 1.0, "y": 2.0 }]])),
    ]
}

#[tokio::test]
async fn every_value_comes_back_over_mcp() {
    let agents = AgentsDirectory::new().with("types");
    let host = Host::serve(agents.path()).await;
    let (mcp, session) = (host.mcp(), host.session().await);
    let tools = mcp.tools().await;
    for (function, given, expected) in identities() {
        let name = format!("types_identity_{function}");
        let tool = tools.iter().find(|tool| tool["name"] == *name).expect("the tool is listed");
        let arguments = json!({ "value": given });
        jsonschema::validate(&tool["inputSchema"], &arguments)
            .unwrap_or_else(|error| panic!("{name} {arguments}: {error}"));
        for result in
            [mcp.call(&name, arguments.clone()).await, session.call(&name, arguments.clone()).await]
        {
            assert!(
                same(result.value(), &expected),
                "{name}({given}) gave {} for {expected}",
                result.value()
            );
            jsonschema::validate(&tool["outputSchema"], result.envelope())
                .unwrap_or_else(|error| panic!("{name}: {}: {error}", result.envelope()));
        }
    }
}

/// JSON knows one kind of number: `1` and `1.0` are the same.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            one == other || one.as_f64() == other.as_f64()
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .all(|(key, value)| other.get(key).is_some_and(|other| same(value, other)))
        }
        _ => one == other,
    }
}

#[tokio::test]
async fn every_function_works_through_run() {
    let file = guest("types").display().to_string();
    let mut seen = std::collections::BTreeSet::new();
    let calls = identities().into_iter().filter(|(function, ..)| seen.insert(*function)).map(
        |(function, given, _)| {
            let file = file.clone();
            async move {
                let function = format!("identity-{}", function.replace('_', "-"));
                let arguments = json!({ "value": given }).to_string();
                let finished =
                    Aop::new(&["run", &file, &function, &arguments, "--json"]).run().await.code(0);
                assert_eq!(finished.json()["success"], true, "{function}");
            }
        },
    );
    // One after another: each is a process.
    for call in calls {
        call.await;
    }
    let finished =
        Aop::new(&["run", &file, "swap", r#"{"points": [{"x":1,"y":2},{"x":3,"y":4}]}"#, "--json"])
            .run()
            .await;
    assert!(same(
        &finished.code(0).json()["result"],
        &json!([{ "x": 3, "y": 4 }, { "x": 1, "y": 2 }])
    ));
}

#[tokio::test]
async fn what_may_be_left_out_may_be_left_out() {
    let agents = AgentsDirectory::new().with("types");
    let host = Host::serve(agents.path()).await;
    let mcp = host.mcp();
    assert_eq!(mcp.call("types_concat", json!({ "first": "a" })).await.value(), "a");
    let arguments = json!({ "first": "a", "second": null, "repeat_count": 3 });
    assert_eq!(mcp.call("types_concat", arguments).await.value(), "aaa");
    assert_eq!(mcp.call("types_nothing", json!({})).await.value(), &Value::Null);
    assert_eq!(mcp.call("types_identity_option", json!({})).await.value(), &Value::Null);
    assert_eq!(
        mcp.call("types_identity_nested_option", json!({ "value": null })).await.value(),
        &Value::Null
    );
}

/// Values that do not fit, with the pointer to what is wrong.
fn misfits() -> Vec<(&'static str, Value, &'static str)> {
    let value = |value: Value| json!({ "value": value });
    vec![
        ("bool", value(json!("true")), "/value"),
        ("bool", json!({}), "/value"),
        ("bool", json!({ "value": true, "extra": 1 }), "/extra"),
        ("u8", value(json!(256)), "/value"),
        ("u8", value(json!(-1)), "/value"),
        ("u8", value(json!(5.5)), "/value"),
        ("u8", value(json!("5")), "/value"),
        ("u8", value(json!(null)), "/value"),
        ("u32", value(json!(1e300)), "/value"),
        ("u64", value(json!("18446744073709551616")), "/value"),
        ("u64", value(json!("-1")), "/value"),
        ("u64", value(json!("1.0")), "/value"),
        ("u64", value(json!("")), "/value"),
        ("s64", value(json!("-9223372036854775809")), "/value"),
        ("f64", value(json!("nan")), "/value"),
        ("f64", value(json!("1.5")), "/value"),
        ("char", value(json!("")), "/value"),
        ("char", value(json!("ab")), "/value"),
        ("string", value(json!(5)), "/value"),
        ("bytes", value(json!("not base64!")), "/value"),
        ("bytes", value(json!("A")), "/value"),
        ("strings", value(json!(["a", 1, "b"])), "/value/1"),
        ("nested_list", value(json!([[1], [2, "x"]])), "/value/1/1"),
        ("tuple", value(json!(["x", 7])), "/value"),
        ("tuple", value(json!(["x", -7, true])), "/value/1"),
        ("fixed_list", value(json!([1, 2])), "/value"),
        ("fixed_list", value(json!([1, 2, 3, 4])), "/value"),
        ("nested_option", value(json!(7)), "/value"),
        ("record", value(json!({ "tags": [] })), "/value/name"),
        ("record", value(json!({ "name": "", "tags": [], "home": { "x": 1 } })), "/value/home/y"),
        ("record", value(json!({ "name": "", "tags": [], "a/b~c": 1 })), "/value/a~1b~0c"),
        ("enum", value(json!("blue")), "/value"),
        ("flags", value(json!(["read", "fly"])), "/value/1"),
        ("flags", value(json!(["read", "read"])), "/value/1"),
        ("variant", value(json!({ "tag": "square" })), "/value/tag"),
        ("variant", value(json!({ "tag": "circle" })), "/value/val"),
        ("variant", value(json!({ "tag": "circle", "val": "x" })), "/value/val"),
        ("variant", value(json!({ "tag": "nothing", "val": 1 })), "/value/val"),
        ("result", value(json!([{ "tag": "ok", "val": -1 }])), "/value/0/val"),
        ("string_map", value(json!({ "a": 1, "b": "x" })), "/value/b"),
        ("number_map", value(json!([[1, { "x": 0, "y": 0 }], [2]])), "/value/1"),
    ]
}

#[tokio::test]
async fn what_does_not_fit_is_refused_with_a_pointer_and_nothing_runs() {
    let agents = AgentsDirectory::new().with("types");
    let host = Host::serve(agents.path()).await;
    let mcp = host.mcp();
    let tools = mcp.tools().await;
    let checks = misfits().into_iter().map(async |(function, arguments, pointer)| {
        let name = format!("types_identity_{function}");
        let tool = tools.iter().find(|tool| tool["name"] == *name).expect("the tool is listed");
        let result = mcp.call(&name, arguments.clone()).await;
        assert_eq!(result.code(), "invalid_arguments", "{name} {arguments}");
        let violations = result.envelope()["details"].as_array().expect("violations").clone();
        let found = violations.iter().any(|violation| {
            let told = violation["pointer"].as_str().unwrap_or_default();
            // A missing member may be told of at its place or at the object that lacks it.
            told == pointer
                || pointer.strip_prefix(told).is_some_and(|rest| !rest[1..].contains('/'))
        });
        assert!(found, "{name} {arguments} is wrong at {pointer}, not {violations:?}");
        jsonschema::validate(&tool["outputSchema"], result.envelope())
            .unwrap_or_else(|error| panic!("{name}: {}: {error}", result.envelope()));
    });
    join_all(checks).await;
    let metrics = host.metrics().await;
    let counted = metrics.with("aop_calls", &[("agent", "types"), ("code", "invalid_arguments")]);
    assert_eq!(counted, Some(misfits().len() as f64), "refusals are counted");
    assert_eq!(
        metrics.with("aop_attempts", &[("agent", "types")]).unwrap_or(0.0),
        0.0,
        "nothing ran"
    );
}

#[tokio::test]
async fn every_schema_is_one() {
    let agents = AgentsDirectory::new()
        .with("types")
        .with("faults")
        .with("config")
        .with("standard")
        .with("asynchronous")
        .with("echo");
    let host = Host::serve(agents.path()).await;
    for tool in host.mcp().tools().await {
        for schema in ["inputSchema", "outputSchema"] {
            let schema = &tool[schema];
            jsonschema::draft202012::meta::validate(schema)
                .unwrap_or_else(|error| panic!("{}: {error}", tool["name"]));
            assert_eq!(schema["type"], "object", "{}", tool["name"]);
            for member in ["anyOf", "oneOf", "allOf", "$schema"] {
                assert!(schema.get(member).is_none(), "{} has {member} at its root", tool["name"]);
            }
        }
        assert!(
            tool["description"].as_str().is_some_and(|text| !text.is_empty()),
            "{}",
            tool["name"]
        );
    }
}

#[tokio::test]
async fn the_standard_agent_has_the_input_of_the_paper() {
    let agents = AgentsDirectory::new().with_as("standard", "helper");
    let host = Host::serve(agents.path()).await;
    let mcp = host.mcp();
    let tools = mcp.tools().await;
    let tool = tools
        .iter()
        .find(|tool| tool["name"] == "helper")
        .expect("an agent that only runs is its tool");
    let properties = tool["inputSchema"]["properties"].as_object().expect("properties");
    let names: Vec<_> = properties.keys().map(String::as_str).collect();
    assert_eq!(names, ["correct_answer", "img", "imgs", "task"]);
    assert_eq!(tool["inputSchema"]["required"], json!(["task"]));
    assert!(
        properties.values().all(|property| property["description"].is_string()),
        "{properties:?}"
    );
    let arguments = json!({ "task": "look", "imgs": ["a", "b"], "correct_answer": "c" });
    assert_eq!(mcp.call("helper", arguments).await.value(), "look (2 images, expected: c)");
    let failed = mcp.call("helper", json!({ "task": "" })).await;
    assert_eq!((failed.code(), failed.text()), ("guest_error", "the task is empty"));
}

#[tokio::test]
async fn descriptions_come_from_the_wit_that_a_component_carries() {
    let agents = AgentsDirectory::new().with("types").with("echo");
    let host = Host::serve(agents.path()).await;
    let tools = host.mcp().tools().await;
    let find = |name: &str| {
        tools.iter().find(|tool| tool["name"] == name).cloned().expect("the tool is listed")
    };
    let record = find("types_identity_record");
    let value = &record["inputSchema"]["properties"]["value"];
    assert_eq!(value["description"], "A record with everything that is special about records.");
    assert_eq!(value["properties"]["age"]["description"], "Left out when unknown.");
    // Without documentation a tool is described by its signature.
    assert_eq!(find("echo_echo")["description"], "echo: func(text: string) -> string");
}

#[tokio::test]
async fn asynchronous_functions_futures_and_streams_are_functions_like_others() {
    let agents = AgentsDirectory::new().with("asynchronous");
    let host = Host::serve(agents.path()).await;
    let mcp = host.mcp();
    let call = async |name: &str, arguments: Value| {
        mcp.call(&format!("asynchronous_{name}"), arguments).await
    };
    assert_eq!(call("async_echo", json!({ "text": "x" })).await.value(), "x");
    assert_eq!(call("async_sleep", json!({ "milliseconds": 5 })).await.value(), 5);
    assert_eq!(call("async_fail", json!({ "message": "no" })).await.code(), "guest_error");
    assert_eq!(call("later", json!({ "text": "x", "milliseconds": 5 })).await.value(), "x");
    assert_eq!(call("numbers", json!({ "count": 4 })).await.value(), &json!([0, 1, 2, 3]));
    assert_eq!(call("numbers", json!({ "count": 0 })).await.value(), &json!([]));
    let counted = call("count_up", json!({ "limit": 3, "pause_milliseconds": 1 })).await;
    assert_eq!(counted.value(), &json!(["1", "2", "3"]));
    let bytes = call("bytes", json!({ "count": 100_000 })).await;
    assert!(bytes.value().is_array() || bytes.value().is_string(), "{}", bytes.0);
    // The output limit holds for streams.
    assert_eq!(call("bytes", json!({ "count": 100_000_000 })).await.code(), "guest_limit");
    host.no_instances().await;
}
