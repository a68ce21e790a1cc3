use std::time::Duration;

use aop_core::{AgentName, TenantName};
use serde_json::{Value, json};

use super::*;
use crate::mount::Counters;
use crate::mount::config::MountTransport;

fn config(name: &str, prefix: bool) -> MountConfig {
    MountConfig {
        name: AgentName::new(name).unwrap(),
        tenant: TenantName::default_tenant(),
        transport: MountTransport::Http { url: "http://a/mcp?key=x".to_owned(), bearer: None },
        prefix,
        timeout: Duration::from_secs(5),
        calls_max: 7,
        tools_max: 3,
        answer_max_bytes: 1000,
        refresh: Duration::from_secs(15),
    }
}

fn tool(name: &str, more: Value) -> rmcp::model::Tool {
    let mut tool = json!({ "name": name, "inputSchema": { "type": "object" } });
    tool.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(tool).unwrap()
}

fn named(config: &MountConfig, own: &[&str]) -> Vec<String> {
    own.iter().map(|own| name(config, own).unwrap().0.to_string()).collect()
}

fn offer(config: MountConfig, tools: Vec<rmcp::model::Tool>) -> Offer {
    Offer::new(
        &Arc::new(Mount::new(config, Arc::<Counters>::default())),
        tools,
        Some("About"),
        None,
    )
}

#[test]
fn names_are_valid_and_what_was_changed_has_its_hash() {
    let prefixed = config("my-calc", true);
    assert_eq!(named(&prefixed, &["add", "sub_1"]), ["my_calc_add", "my_calc_sub_1"]);
    let changed = named(&prefixed, &["get.user", "get user"]);
    assert!(changed.iter().all(|name| name.starts_with("my_calc_get_user_")), "{changed:?}");
    assert_ne!(changed[0], changed[1]);

    let plain = config("calc", false);
    let names = named(&plain, &["add", "__x", "9lives", "ä"]);
    for (name, start) in names.iter().zip(["add", "t_x_", "t_9lives_", "t_"]) {
        assert!(name.starts_with(start), "{names:?}");
    }
    let long = "x".repeat(200);
    let names = named(&plain, &[&long, &format!("{long}y")]);
    assert!(names.iter().all(|name| name.len() <= ToolName::LENGTH_MAX), "{names:?}");
    assert_ne!(names[0], names[1]);
}

#[test]
fn a_name_leads_to_the_same_tool_whatever_is_listed_beside_it() {
    let own_of = |listed: &[&str]| {
        let listed = listed.iter().map(|name| tool(name, json!({}))).collect();
        let mut notes = Vec::new();
        let taken = take(&config("s", true), listed, &mut notes);
        let own: Vec<_> = taken
            .into_iter()
            .map(|Taken { tool, own_name, .. }| (tool.name.to_string(), own_name))
            .collect();
        (own, notes.join("\n"))
    };
    let (yesterday, _) = own_of(&["get.user"]);
    let (today, notes) = own_of(&["get.user", "get_user"]);
    assert!(today.contains(&yesterday[0]), "{today:?}");
    assert_eq!(notes, "");

    // A name that looks like what another one is changed to is still its own.
    let forged = yesterday[0].0.strip_prefix("s_").unwrap().to_owned();
    let (own, notes) = own_of(&["get.user", &forged]);
    assert_eq!(own, [(yesterday[0].0.clone(), forged)]);
    assert!(notes.contains("`get.user` is left out"), "{notes}");
}

#[test]
fn an_offer_says_what_it_left_out() {
    let wrong = json!({ "inputSchema": { "type": "array" } });
    let tools = vec![
        tool("b", json!({ "annotations": { "idempotentHint": true, "readOnlyHint": true } })),
        tool("a", json!({ "title": "A", "description": "Does a" })),
        tool("a", json!({})),
        tool("c", wrong),
        tool("d", json!({})),
    ];
    let offer = offer(config("s", true), tools);
    let revision = &offer.agent.revision;
    let names: Vec<_> = revision.tools.iter().map(|tool| tool.name.as_str()).collect();
    assert_eq!(names, ["s_a", "s_b"]);
    assert_eq!(revision.tools[1].function, 1);
    assert!(revision.tools[1].hints.idempotent);
    assert_eq!(revision.tools[0].title.as_deref(), Some("A"));
    assert_eq!(revision.settings.limits.concurrency, 7);
    assert_eq!(revision.settings.limits.timeout, Duration::from_secs(5));
    // A query may hold a key.
    assert_eq!(offer.agent.places, ["http://a/mcp"]);
    assert_eq!(offer.agent.description, "About");
    let notes = offer.notes.join("\n");
    for expected in ["`a` twice", "4 tools", "`c` is left out: its input schema is not"] {
        assert!(notes.contains(expected), "{expected}: {notes}");
    }
}

#[test]
fn the_same_list_is_the_same_revision_and_another_is_the_next() {
    let mount = Arc::new(Mount::new(config("s", true), Arc::<Counters>::default()));
    let first = Offer::new(&mount, vec![tool("a", json!({}))], None, None);
    let revision = Arc::clone(&first.agent.revision);
    let same = Offer::new(&mount, vec![tool("a", json!({}))], None, Some(first));
    assert!(Arc::ptr_eq(&same.agent.revision, &revision));
    let changed = tool("a", json!({ "annotations": { "idempotentHint": true } }));
    let next = Offer::new(&mount, vec![changed], None, Some(same));
    assert_eq!(next.agent.revision.number, RevisionNumber(2));
    assert_eq!(next.agent.revision.id, revision.id);
}

#[test]
fn an_output_schema_becomes_the_result_of_the_envelope() {
    let with = |schema: Value| {
        let offer = offer(config("s", true), vec![tool("a", json!({ "outputSchema": schema }))]);
        let schema = offer.agent.revision.tools[0].output_schema.clone();
        schema.map(|schema| serde_json::from_str::<Value>(schema.get()).unwrap())
    };
    let schema = with(json!({
        "type": "object",
        "properties": { "p": { "$ref": "#/$defs/P" } },
        "$defs": { "P": { "type": "string" } },
    }))
    .unwrap();
    let fits = |value: Value| jsonschema::is_valid(&schema, &value);
    assert!(fits(json!({ "success": true, "result": { "p": "x" } })));
    assert!(!fits(json!({ "success": true, "result": { "p": 1 } })));
    assert!(fits(json!({ "success": false, "error": "e", "code": "guest_error" })));
    // What cannot be moved is not promised.
    assert_eq!(with(json!({ "type": "object", "properties": { "p": { "$ref": "#" } } })), None);
    assert_eq!(with(json!({ "type": "object", "$id": "https://a/" })), None);
}

#[test]
fn schemas_are_bounded_in_size_and_depth() {
    let mut deep = json!({});
    for _ in 0..70 {
        deep = json!({ "not": deep });
    }
    let deep = json!({ "inputSchema": { "type": "object", "properties": { "p": deep } } });
    let large =
        json!({ "inputSchema": { "type": "object", "description": "x".repeat(300 << 10) } });
    let offer = offer(config("s", true), vec![tool("deep", deep), tool("large", large)]);
    assert_eq!(offer.tools(), 0);
    assert!(offer.notes[0].contains("deep"), "{:?}", offer.notes);
    assert!(offer.notes[1].contains("KiB"), "{:?}", offer.notes);
}

#[test]
fn another_host_like_this_one_is_wrapped_once_and_its_own_tools_are_left_out() {
    let codes: Vec<_> = aop_core::ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
    let envelope = json!({
        "type": "object",
        "properties": {
            "success": { "type": "boolean" },
            "result": { "$ref": "#/$defs/sum" },
            "code": { "type": "string", "enum": codes },
        },
        "$defs": { "sum": { "type": "integer" } },
    });
    let offer = offer(
        config("calc", true),
        vec![
            tool("add", json!({ "outputSchema": envelope })),
            tool("aop_call", json!({})),
            tool("aop_discover", json!({})),
        ],
    );
    let [add] = offer.agent.revision.tools.as_slice() else { panic!("{:?}", offer.notes) };
    let schema: Value = serde_json::from_str(add.output_schema.as_ref().unwrap().get()).unwrap();
    assert_eq!(schema["properties"]["result"], json!({ "$ref": "#/$defs/sum" }));
    assert_eq!(schema["$defs"]["sum"], json!({ "type": "integer" }));
    assert!(offer.notes.iter().any(|note| note.contains("aop_")), "{:?}", offer.notes);
    // One that lists nothing else is called through them.
    let lean = self::offer(config("calc", true), vec![tool("aop_call", json!({}))]);
    assert_eq!(lean.tools(), 1);
}
