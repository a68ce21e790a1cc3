//! What is wrong with a message, where `rmcp` only knows that something is.

use rmcp::model::{
    CallToolRequestParams, CompleteRequestParams, GetPromptRequestParams,
    ReadResourceRequestParams, SubscribeRequestParams,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

/// Characters of a reason, which may repeat what was sent.
const REASON_MAX: usize = 256;

const NO_SHAPE: &str = "the message is not a JSON-RPC 2.0 request, notification or response";

/// The members of a message, as text: whoever is refused has no tree of values built.
#[derive(Default, Deserialize)]
struct Members<'a> {
    #[serde(borrow)]
    jsonrpc: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Option<&'a RawValue>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

/// Why a JSON object is none of the shapes that JSON-RPC has for requests, notifications and responses.
pub(crate) fn of_shape(message: &[u8]) -> String {
    let reason = serde_json::from_slice::<Members<'_>>(message).map_or(NO_SHAPE, of_members);
    format!("Invalid Request: {reason}")
}

fn of_members(members: Members<'_>) -> &'static str {
    let Members { jsonrpc, id, method, params, result, error } = members;
    let begins = |member: &RawValue, with: char| member.get().starts_with(with);
    match () {
        () if jsonrpc.is_none() => "`jsonrpc` is missing: write \"jsonrpc\": \"2.0\"",
        () if jsonrpc.is_some_and(|version| version.get() != "\"2.0\"") => {
            "`jsonrpc` must be \"2.0\""
        }
        () if id.is_some_and(|id| !begins(id, '"') && id.get().parse::<i64>().is_err()) => {
            "`id` must be a string or an integer"
        }
        () if method.is_some_and(|method| !begins(method, '"')) => "`method` must be a string",
        () if params.is_some_and(|params| !begins(params, '{')) => "`params` must be an object",
        () if method.or(result).or(error).is_none() => {
            "it has neither a `method` nor a `result` or an `error`"
        }
        () => NO_SHAPE,
    }
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
