//! What agents offer besides tools: resources, skills, prompts, and suggestions while a person fills something in.
//!
//! A function of `aop:agent` answers each of MCP's requests; the host decides whom to ask and checks what they
//! say. A list asks every agent that offers one, a bounded number at a time and each for a short time: an agent
//! that fails or hangs is left out of it, as is an entry that breaks a rule, so that one agent never costs a
//! client the others. Nothing is kept between requests.

pub(crate) mod completion;
mod listing;
pub(crate) mod prompts;
pub(crate) mod resources;
pub(crate) mod skills;
#[cfg(test)]
mod tests;

use aop_core::{ErrorCode, Failure};
use rmcp::ErrorData;
use rmcp::model::ErrorCode as RpcCode;
use serde_json::{Value, json};

pub(crate) use listing::Paged;

use crate::content::{BadContent, shown};
use crate::http::OVERLOADED;

/// The longest name or title that goes into a list: a line in a menu.
const NAME_MAX_CHARS: usize = 256;
/// The longest description that goes into a list: as much as of a tool.
const DESCRIPTION_MAX_CHARS: usize = 4096;

/// The case of the agent's own error type that a failure carries, when it has one.
fn tag(failure: &Failure) -> Option<String> {
    let details = serde_json::from_str::<Value>(failure.details.as_ref()?.get()).ok()?;
    details.get("tag")?.as_str().map(str::to_owned)
}

/// A failure as an error of the protocol, for requests that have no results that are errors.
pub(crate) fn error(failure: &Failure) -> ErrorData {
    let mut data = json!({ "code": failure.code.as_str() });
    if let Some(after) = failure.retry_after {
        data["retry_after_ms"] = Value::from(u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
    }
    let code = match failure.code {
        ErrorCode::InvalidArguments => RpcCode::INVALID_PARAMS,
        ErrorCode::ResourceExhausted | ErrorCode::RateLimited | ErrorCode::Unavailable => {
            OVERLOADED
        }
        _ => RpcCode::INTERNAL_ERROR,
    };
    ErrorData::new(code, failure.message.clone(), Some(data))
}

/// What rmcp tells clients of 2026-07-28 as invalid params, as that revision wants it.
fn not_found(uri: &str) -> ErrorData {
    let uri = shown(uri);
    ErrorData::resource_not_found(format!("no resource `{uri}`"), Some(json!({ "uri": uri })))
}

/// The agent answered something that the protocol does not allow.
fn bad_output(reason: impl std::fmt::Display) -> ErrorData {
    let reason = format!("the agent's answer breaks a rule of MCP: {reason}");
    error(&Failure::executed(ErrorCode::BadOutput, reason))
}

/// Checks what lists show of an entry.
fn check_texts(
    name: &str,
    title: Option<&str>,
    description: Option<&str>,
) -> Result<(), BadContent> {
    let is_long = |text: &str, max: usize| text.chars().nth(max).is_some();
    if name.is_empty() || is_long(name, NAME_MAX_CHARS) {
        let reason =
            format!("the name `{}` must have 1 to {NAME_MAX_CHARS} characters", shown(name));
        return Err(BadContent::new(reason));
    }
    if title.is_some_and(|title| is_long(title, NAME_MAX_CHARS)) {
        let reason =
            format!("the title of `{}` has more than {NAME_MAX_CHARS} characters", shown(name));
        return Err(BadContent::new(reason));
    }
    if description.is_some_and(|text| is_long(text, DESCRIPTION_MAX_CHARS)) {
        let reason = format!(
            "the description of `{}` has more than {DESCRIPTION_MAX_CHARS} characters",
            shown(name)
        );
        return Err(BadContent::new(reason));
    }
    Ok(())
}
