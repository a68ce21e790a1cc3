//! What is wrong with a message, where `rmcp` only knows that something is.

use rmcp::model::{
    CallToolRequestParams, CompleteRequestParams, GetPromptRequestParams,
    ReadResourceRequestParams, SubscribeRequestParams,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Characters of a reason, which may repeat what was sent.
const REASON_MAX: usize = 256;

/// Why a JSON object is none of the shapes that JSON-RPC has for requests, notifications and responses.
pub(crate) fn of_shape(message: &[u8]) -> String {
    let message = serde_json::from_slice::<Value>(message).unwrap_or_default();
    let reason = match &message["jsonrpc"] {
        // Too deep for a tree of values.
        _ if message.is_null() => NO_SHAPE,
        Value::Null => "`jsonrpc` is missing: write \"jsonrpc\": \"2.0\"",
        version if *version != "2.0" => "`jsonrpc` must be \"2.0\"",
        _ => of_members(&message),
    };
    format!("Invalid Request: {reason}")
}

const NO_SHAPE: &str = "the message is not a JSON-RPC 2.0 request, notification or response";

fn of_members(message: &Value) -> &'static str {
    let has = |member: &str| message.get(member).is_some();
    match () {
        () if has("id") && !is_id(&message["id"]) => "`id` must be a string or an integer",
        () if has("method") && !message["method"].is_string() => "`method` must be a string",
        () if has("params") && !message["params"].is_object() => "`params` must be an object",
        () if !has("method") && !has("result") && !has("error") => {
            "it has neither a `method` nor a `result` or an `error`"
        }
        () => NO_SHAPE,
    }
}

fn is_id(id: &Value) -> bool {
    id.is_string() || id.is_i64() || id.is_u64()
}

/// Where the params of a method that this server knows do not fit it.
pub(crate) fn of_params(method: &str, params: Option<&Value>) -> String {
    let misfit = match method {
        "tools/call" => misfit::<CallToolRequestParams>(params),
        "prompts/get" => misfit::<GetPromptRequestParams>(params),
        "resources/read" => misfit::<ReadResourceRequestParams>(params),
        "resources/subscribe" => misfit::<SubscribeRequestParams>(params),
        "completion/complete" => misfit::<CompleteRequestParams>(params),
        _ => None,
    };
    match misfit {
        Some(misfit) => format!("Invalid params for {method}: {misfit}"),
        None => format!("Invalid params for {method}"),
    }
}

fn misfit<T: DeserializeOwned>(params: Option<&Value>) -> Option<String> {
    let Some(params) = params else { return Some("`params` is missing".to_owned()) };
    let error = serde_path_to_error::deserialize::<_, T>(params).err()?;
    let path = error.path().to_string();
    let reason = error.into_inner().to_string();
    let reason = if path == "." { reason } else { format!("`{path}`: {reason}") };
    Some(reason.chars().take(REASON_MAX).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_message_of_no_shape_hears_which_member_is_wrong() {
        for (message, part) in [
            (json!({ "id": 1, "method": "ping" }), "`jsonrpc` is missing"),
            (json!({ "jsonrpc": "1.0", "id": 1, "method": "ping" }), "must be \"2.0\""),
            (json!({ "jsonrpc": "2.0", "id": {}, "method": "ping" }), "`id` must be"),
            (json!({ "jsonrpc": "2.0", "id": 1.5, "method": "ping" }), "`id` must be"),
            (json!({ "jsonrpc": "2.0", "id": 1, "method": 7 }), "`method` must be"),
            (json!({ "jsonrpc": "2.0", "id": 1, "method": "ping", "params": [] }), "`params` must"),
            (json!({ "jsonrpc": "2.0", "id": 1 }), "neither a `method`"),
        ] {
            let said = of_shape(message.to_string().as_bytes());
            assert!(said.contains(part), "{message}: {said}");
        }
    }

    #[test]
    fn params_that_do_not_fit_hear_where() {
        for (method, params, part) in [
            ("tools/call", Some(json!({})), "missing field `name`"),
            ("tools/call", Some(json!({ "name": 1 })), "`name`: invalid type"),
            (
                "tools/call",
                Some(json!({ "name": "a", "arguments": [] })),
                "`arguments`: invalid type",
            ),
            ("prompts/get", None, "`params` is missing"),
            ("resources/read", Some(json!({ "uri": 5 })), "`uri`: invalid type"),
        ] {
            let said = of_params(method, params.as_ref());
            assert!(said.starts_with(&format!("Invalid params for {method}: ")), "{said}");
            assert!(said.contains(part), "{said}");
        }
    }
}
