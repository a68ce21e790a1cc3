//! Parameters that HTTP headers repeat (`x-mcp-header`, 2026-07-28): whatever routed the request by its headers
//! and whoever reads the body must see the same.
//!
//! `rmcp` makes this check for servers whose tools are the same for everybody. The rules are its own: a
//! parameter that is there has its header, one that is not has none, no header comes twice, and a value
//! that HTTP cannot carry is wrapped as `=?base64?…?=`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::HeaderMap;
use http::request::Parts;
use rmcp::ErrorData;
use rmcp::model::{Extensions, JsonObject};
use serde_json::Value;

use aop_core::RepeatedParameter;

/// Holds a request's headers against its arguments. A request that came without HTTP has none.
///
/// # Errors
/// Header mismatch.
pub(crate) fn check(
    repeated: &[RepeatedParameter],
    extensions: &Extensions,
    arguments: Option<&JsonObject>,
) -> Result<(), ErrorData> {
    let Some(parts) = extensions.get::<Parts>() else { return Ok(()) };
    for RepeatedParameter { parameter, header } in repeated {
        let value = arguments.and_then(|arguments| arguments.get(parameter)).and_then(text);
        agree(&parts.headers, &format!("Mcp-Param-{header}"), parameter, value.as_deref())
            .map_err(|reason| ErrorData::header_mismatch(reason, None))?;
    }
    Ok(())
}

fn agree(
    headers: &HeaderMap,
    name: &str,
    parameter: &str,
    value: Option<&str>,
) -> Result<(), String> {
    let mut said = headers.get_all(name).iter();
    let (said, more) = (said.next(), said.next());
    if more.is_some() {
        return Err(format!("the header {name} comes twice"));
    }
    match (said, value) {
        (None, None) => Ok(()),
        (None, Some(_)) => Err(format!("the header {name} is missing: `{parameter}` has a value")),
        (Some(_), None) => Err(format!("there is a header {name}, and `{parameter}` has no value")),
        (Some(said), Some(value)) => {
            let said = said.to_str().ok().and_then(decoded);
            match said {
                None => Err(format!("the header {name} is not encoded as it must be")),
                Some(said) if said == value => Ok(()),
                Some(_) => Err(format!("the header {name} is not what `{parameter}` says")),
            }
        }
    }
}

/// A value as a header has it before it is encoded; none for what no header repeats.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn decoded(said: &str) -> Option<String> {
    match said.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?=")) {
        Some(encoded) => String::from_utf8(BASE64.decode(encoded).ok()?).ok(),
        None => Some(said.to_owned()),
    }
}

#[cfg(test)]
mod tests;
