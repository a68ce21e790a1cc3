//! Which scope a method needs. The front of the host knows who asks; only what is in the body says what for.
//!
//! Denied by default: a method that is not named here, and a message whose method cannot be told, needs the scope
//! that runs tools. The built-in tools that search need what listing needs (`edge`).

use aop_core::{Caller, Challenge, Scope};
use http::HeaderValue;

/// What a method needs; none for those that only open, follow or end a conversation.
pub(crate) fn needed(method: Option<&str>) -> Option<Scope> {
    match method {
        Some(
            "initialize"
            | "ping"
            | "server/discover"
            | "logging/setLevel"
            | "notifications/initialized"
            | "notifications/cancelled"
            | "notifications/progress"
            | "notifications/roots/list_changed",
        ) => None,
        Some(
            "tools/list"
            | "resources/list"
            | "resources/directory/read"
            | "resources/templates/list"
            | "resources/subscribe"
            | "resources/unsubscribe"
            | "prompts/list"
            | "skills/get"
            | "skills/list"
            | "subscriptions/listen",
        ) => Some(Scope::ToolsList),
        _ => Some(Scope::ToolsCall),
    }
}

/// The scope that a caller lacks for a method, if any.
pub(crate) fn lacking(caller: &Caller, method: Option<&str>) -> Option<Scope> {
    needed(method).filter(|scope| !caller.scopes.has(*scope))
}

/// `WWW-Authenticate` for a caller that lacks a scope.
pub(crate) fn challenge(challenge: Option<&Challenge>, scope: Scope) -> Option<HeaderValue> {
    let none = Challenge::default();
    let value = challenge.unwrap_or(&none).header(Some("insufficient_scope"), scope.as_str());
    HeaderValue::from_str(&value).ok()
}
