//! Schemas of mounted tools as this host lists them.
//!
//! An input schema stays as it is, since the server checks arguments by it. An output schema is of this host's
//! [`Envelope`](aop_core::Envelope), like that of every tool here, with the server's as its `result`; where the server's is
//! that of an envelope already, since it is such a host, with the `result` of that.

use aop_core::ErrorCode;
use rmcp::model::JsonObject;
use serde::Deserialize as _;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::call::Shape;

/// Bytes of one schema: more than a model reads, and what agents of this host may have, too.
const SCHEMA_MAX_BYTES: usize = 256 << 10;
/// Deepest nesting: parsers stop at 128, and a schema is listed within messages.
const DEPTH_MAX: usize = 64;

/// The input schema of a tool.
///
/// # Errors
/// Why no client could use it.
pub(super) fn input(schema: &JsonObject) -> Result<Box<RawValue>, String> {
    if schema.get("type").and_then(Value::as_str) != Some("object") {
        return Err("its input schema is not that of an object".to_owned());
    }
    let mut schema = schema.clone();
    // Which headers repeat parameters is between this host and the server.
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        for property in properties.values_mut().filter_map(Value::as_object_mut) {
            property.remove("x-mcp-header");
        }
    }
    bounded(&Value::Object(schema), "input")
}

/// What an envelope may have.
const MEMBERS: [&str; 6] = ["success", "result", "error", "code", "details", "retry_after_ms"];

/// Whether an output schema is that of an envelope, and of nothing more.
fn is_envelope(schema: &JsonObject) -> bool {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        return false;
    };
    let codes = properties.get("code").and_then(|code| code.get("enum")).and_then(Value::as_array);
    let are_ours = |codes: &Vec<Value>| {
        !codes.is_empty() && codes.iter().all(|code| ErrorCode::deserialize(code).is_ok())
    };
    properties.contains_key("success")
        && properties.keys().all(|name| MEMBERS.contains(&name.as_str()))
        && codes.is_some_and(are_ours)
}

/// The output schema of a tool, and what its results look like; none when it answers in its own words, or when its schema
/// cannot be part of another.
///
/// # Errors
/// Why no client could use it.
pub(super) fn output(
    schema: Option<&JsonObject>,
) -> Result<(Option<Box<RawValue>>, Shape), String> {
    const IN_ITS_OWN_WORDS: (Option<Box<RawValue>>, Shape) = (None, Shape::Content);
    let Some(schema) = schema else { return Ok(IN_ITS_OWN_WORDS) };
    let shape = if is_envelope(schema) { Shape::Enveloped } else { Shape::Structured };
    let mut result = Value::Object(schema.clone());
    let mut definitions = serde_json::Map::new();
    if let Some(object) = result.as_object_mut() {
        object.remove("$schema");
        // References count from the root, so what they lead to moves there.
        for place in ["$defs", "definitions"] {
            if let Some(moved) = object.remove(place) {
                definitions.insert(place.to_owned(), moved);
            }
        }
    }
    if shape == Shape::Enveloped {
        result = result["properties"].get_mut("result").map_or(json!({}), Value::take);
    }
    if !refers_only_to(&result, &definitions)
        || !definitions.values().all(|part| refers_only_to(part, &definitions))
    {
        return Ok(IN_ITS_OWN_WORDS);
    }
    let codes: Vec<_> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
    let mut envelope = json!({
        "type": "object",
        "properties": {
            "success": { "type": "boolean", "description": "Whether the call succeeded" },
            "result": result,
            "error": { "type": "string", "description": "What went wrong" },
            "code": { "type": "string", "enum": codes },
            "details": { "description": "What the server says of the failure" },
            "retry_after_ms": { "type": "integer", "minimum": 0, "description": "When to try again" },
        },
        "required": ["success"],
    });
    if let Some(object) = envelope.as_object_mut() {
        object.extend(definitions);
    }
    Ok((Some(bounded(&envelope, "output")?), shape))
}

/// Whether every reference leads to a definition that moves along.
fn refers_only_to(schema: &Value, definitions: &serde_json::Map<String, Value>) -> bool {
    match schema {
        Value::Array(items) => items.iter().all(|item| refers_only_to(item, definitions)),
        Value::Object(object) => object.iter().all(|(key, value)| match (key.as_str(), value) {
            ("$ref", Value::String(to)) => {
                let place = to.strip_prefix("#/").and_then(|path| path.split('/').next());
                place.is_some_and(|place| definitions.contains_key(place))
            }
            ("$dynamicRef" | "$anchor" | "$dynamicAnchor" | "$id", Value::String(_)) => false,
            (_, value) => refers_only_to(value, definitions),
        }),
        _ => true,
    }
}

fn bounded(schema: &Value, which: &str) -> Result<Box<RawValue>, String> {
    if depth(schema) > DEPTH_MAX {
        return Err(format!("its {which} schema is nested more than {DEPTH_MAX} deep"));
    }
    let text = serde_json::value::to_raw_value(schema).map_err(|error| error.to_string())?;
    if text.get().len() > SCHEMA_MAX_BYTES {
        let limit = SCHEMA_MAX_BYTES >> 10;
        return Err(format!("its {which} schema has more than {limit} KiB"));
    }
    Ok(text)
}

/// What was parsed is at most 128 deep, so recursion is bounded.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(object) => 1 + object.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}
