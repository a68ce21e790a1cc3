use serde_json::{Value, json};

use super::blocks;

fn shown(block: &Value) -> Result<Value, String> {
    let blocks = blocks(&block.to_string()).map_err(|error| error.to_string())?;
    Ok(serde_json::to_value(&blocks[0]).unwrap())
}

#[test]
fn every_block_becomes_mcps_own() {
    let hints = json!({ "audience": ["user", "assistant"], "priority": 0.5, "last_modified": "2025-01-12T15:00:58Z" });
    let annotations = json!({ "audience": ["user", "assistant"], "priority": 0.5, "lastModified": "2025-01-12T15:00:58Z" });
    for (block, expected) in [
        (
            json!({ "tag": "text", "val": { "text": "a\n", "annotations": hints } }),
            json!({ "type": "text", "text": "a\n", "annotations": annotations }),
        ),
        (
            json!({ "tag": "image", "val": { "data": "iVBO", "mime_type": "image/png" } }),
            json!({ "type": "image", "data": "iVBO", "mimeType": "image/png" }),
        ),
        (
            json!({ "tag": "audio", "val": { "data": "", "mime_type": "Audio/wav; codecs=1" } }),
            json!({ "type": "audio", "data": "", "mimeType": "Audio/wav; codecs=1" }),
        ),
        (
            json!({ "tag": "link", "val": { "uri": "notes://a", "name": "a", "title": "A", "size": "9007199254740993" } }),
            json!({ "type": "resource_link", "uri": "notes://a", "name": "a", "title": "A", "size": 9_007_199_254_740_993_u64 }),
        ),
        (
            json!({ "tag": "embedded", "val": { "uri": "x:y", "mime_type": "text/plain", "body": { "tag": "text", "val": "t" } } }),
            json!({ "type": "resource", "resource": { "uri": "x:y", "mimeType": "text/plain", "text": "t" } }),
        ),
        (
            json!({ "tag": "embedded", "val": { "uri": "x:y", "body": { "tag": "blob", "val": "AAE=" },
                "annotations": { "audience": [] } } }),
            json!({ "type": "resource", "resource": { "uri": "x:y", "blob": "AAE=" } }),
        ),
    ] {
        assert_eq!(shown(&block).as_ref(), Ok(&expected));
        let list = blocks(&json!([block, block]).to_string()).unwrap();
        assert_eq!(serde_json::to_value(list).unwrap(), json!([expected, expected]));
    }
    assert_eq!(blocks("[]").unwrap(), []);
}

#[test]
fn a_block_that_lies_is_no_content() {
    let text =
        |hints: Value| json!({ "tag": "text", "val": { "text": "a", "annotations": hints } });
    let media =
        |kind: &str, mime: &str| json!({ "tag": kind, "val": { "data": "", "mime_type": mime } });
    let link =
        |uri: &str, name: &str| json!({ "tag": "link", "val": { "uri": uri, "name": name } });
    for (block, reason) in [
        (media("image", "audio/wav"), "none of image/*"),
        (media("image", "imagepng"), "none of image/*"),
        (media("audio", "audio/"), "none of audio/*"),
        (media("audio", "audio/wav\nx"), "none of audio/*"),
        (media("image", &format!("image/{}", "x".repeat(255))), "none of image/*"),
        (text(json!({ "audience": [], "priority": 1.5 })), "priority 1.5"),
        (text(json!({ "audience": [], "priority": -0.1 })), "priority -0.1"),
        (text(json!({ "audience": [], "priority": "NaN" })), "priority NaN"),
        (text(json!({ "audience": [], "last_modified": "yesterday" })), "ISO 8601"),
        (link("a/b", "x"), "absolute"),
        (link("notes://a b", "x"), "absolute"),
        (link("notes://a", ""), "no name"),
        (
            json!({ "tag": "embedded", "val": { "uri": "x:y", "mime_type": "?", "body": { "tag": "text", "val": "" } } }),
            "no MIME type",
        ),
    ] {
        let error = shown(&block).unwrap_err();
        assert!(error.contains(reason), "{error}");
        let error = blocks(&json!([text(Value::Null), block]).to_string()).unwrap_err();
        assert!(error.to_string().starts_with("block 1: "), "{error}");
    }
}

#[test]
fn dates_may_have_every_common_precision() {
    for time in ["2025-01-12", "2025-01-12T15:00:58", "2025-01-12T15:00:58.5+02:00"] {
        let block = json!({ "tag": "text", "val": { "text": "", "annotations": { "audience": [], "last_modified": time } } });
        assert_eq!(shown(&block).unwrap()["annotations"]["lastModified"], time);
    }
}
