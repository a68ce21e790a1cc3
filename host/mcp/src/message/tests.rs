use serde_json::json;

use super::{KEPT_MAX_BYTES, Method, ScanError, Scanned, arguments, outline, plain, scan};

fn read(text: &str) -> Option<super::Request<'_>> {
    plain(scan(text.as_bytes(), 100).unwrap())
}

#[test]
fn a_scan_counts_nesting_outside_strings() {
    assert!(scan(br#"[[["[[[[{{{{\"[[["]]]"#, 3).is_ok());
    assert_eq!(scan(b"[[[[]]]]", 3).unwrap_err(), ScanError::Depth(3));
    assert_eq!(scan(b"\"\xff\"", 3).unwrap_err(), ScanError::Encoding);
    assert!(scan(b"[][][][]", 1).is_ok());
    assert!(scan(b"", 1).is_ok());
}

#[test]
fn a_scan_sees_escaped_surrogates_only() {
    let surrogates = |text: &str| scan(text.as_bytes(), 9).unwrap().surrogates;
    assert!(surrogates(r#""\ud800""#) && surrogates(r#""\uDc00""#));
    assert!(!surrogates(r#""\\ud800""#) && !surrogates(r#""\u00d8""#) && !surrogates("\"ud800\""));
}

#[test]
fn a_plain_call_is_borrowed() {
    let text = r#"{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"name":"t","arguments": {"x":1.0} }}"#;
    let request = read(text).unwrap();
    let Method::Call { name, arguments } = &request.method else { panic!("{request:?}") };
    assert_eq!((&**name, *arguments, request.id.get()), ("t", r#"{"x":1.0}"#, "\"a\""));
    assert!(request.meta.is_sessional() && !request.meta.is_stateless());
    assert!(text.as_bytes().as_ptr_range().contains(&arguments.as_ptr()));
}

#[test]
fn anything_else_is_not_plain() {
    let good =
        json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "t" } });
    assert!(read(&good.to_string()).is_some());
    for (pointer, value) in [
        ("/jsonrpc", json!("1.0")),
        ("/id", json!(1.5)),
        ("/id", json!(null)),
        ("/method", json!("ping")),
        ("/params", json!([])),
        ("/params/name", json!(7)),
        ("/params", json!({ "name": "t", "arguments": [] })),
        ("/params", json!({ "name": "t", "cursor": "x" })),
        ("/params", json!({ "name": "t", "other": 1 })),
        ("/params", json!({ "name": "t", "_meta": { "progressToken": 1 } })),
    ] {
        let mut odd = good.clone();
        *odd.pointer_mut(pointer).unwrap() = value;
        assert!(read(&odd.to_string()).is_none(), "{odd}");
    }
    assert!(plain(Scanned { text: &good.to_string(), surrogates: true, containers: 0 }).is_none());
}

#[test]
fn only_ids_that_can_be_echoed_are_plain() {
    for (id, is_plain) in [
        ("0", true),
        ("-0", false),
        ("1.0", false),
        ("9223372036854775807", true),
        ("9223372036854775808", false),
    ] {
        let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/list"}}"#);
        assert_eq!(read(&text).is_some(), is_plain, "{id}");
    }
}

#[test]
fn an_outline_says_what_a_message_is() {
    let cancel = outline(
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"x"}}"#,
    )
    .unwrap();
    assert_eq!(cancel.cancels, Some(rmcp::model::RequestId::String("x".into())));
    assert!(cancel.id.is_none() && cancel.method.as_deref() == Some("notifications/cancelled"));
    assert!(outline(r#"{"id":1,"id":2}"#).unwrap().id.is_none());
    assert!(outline("[1]").is_err() && outline("{").is_err() && outline("").is_err());
}

#[test]
fn what_is_kept_of_a_client_is_small() {
    let message = |member: &str, value: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"x","params":{{"{member}":{value}}}}}"#)
    };
    let small = format!("[{}]", vec!["{}"; 200].join(","));
    let many = format!("[{}]", vec!["{}"; 300].join(","));
    let long = format!("[\"{}\"]", "x".repeat(KEPT_MAX_BYTES));
    for member in ["_meta", "capabilities", "clientInfo"] {
        assert!(outline(&message(member, &small)).is_ok(), "{member}");
        for value in [&many, &long] {
            let refused = outline(&message(member, value)).unwrap_err().to_string();
            assert!(refused.contains(member) && refused.contains("at most"), "{refused}");
        }
    }
    assert!(outline(&message("arguments", &many)).is_ok(), "those are not kept");
    assert_eq!(scan(small.as_bytes(), 9).unwrap().containers, 201);
    assert_eq!(scan(b"[\"[[\"]", 9).unwrap().containers, 1, "text is text");
}

#[test]
fn arguments_are_taken_as_they_stand() {
    assert_eq!(arguments(br#"{"params":{"arguments": { "a": 1.10 }}}"#), Some(r#"{ "a": 1.10 }"#));
    assert_eq!(arguments(br#"{"params":{}}"#), Some("{}"));
    assert_eq!(arguments(br#"{"params":{"arguments":{},"arguments":{}}}"#), None);
}
