//! What the fuzz targets of `tests/fuzz` run in this crate. Each checks what must hold for any input and panics where it
//! does not. In no build of the host: only in that of a fuzzer, and in the tests, which repeat every input that was kept.
#![allow(clippy::expect_used, reason = "a panic is how a target says that it found something")]

use http::{Method, Uri};

use crate::bucket::SessionId;
use crate::handle::Handle;
use crate::policy::{Ceilings, HttpRule};
use crate::settings::Lines;
use crate::{
    AgentName, Digest, KeyId, NodeId, SecretName, Settings, TenantName, ToolName, TraceContext,
};

/// Settings of an agent: whatever is accepted can be stored, read back, and held against a ceiling.
pub fn settings(text: &str) {
    let lines = Lines::in_text(text);
    match Settings::from_toml(text) {
        Ok(settings) => {
            let stored = serde_json::to_string(&settings).expect("settings can be stored");
            let read: Settings = serde_json::from_str(&stored).expect("and read back");
            assert_eq!(read, settings);
            let ceilings = Ceilings { host: Some(Default::default()), ..Ceilings::default() };
            for excess in ceilings.excesses(&TenantName::default_tenant(), &settings) {
                let written = excess.setting.contains('.').then(|| lines.of(&excess.setting));
                // Tokens have defaults that a silent ceiling does not limit; everything else was written.
                assert_ne!(written, Some(None), "{excess}");
            }
        }
        Err(mistakes) => {
            assert!(!mistakes.is_empty());
            let count = text.lines().count() + 1;
            assert!(mistakes.iter().all(|mistake| mistake.line <= count), "{mistakes:?}");
        }
    }
}

/// Rules for requests: two rules and a URL, a line each. A rule reads back as it was written, lies within itself, and
/// permits nothing that a rule around it does not.
pub fn rule(text: &str) {
    let mut lines = text.lines();
    let (Some(rule), Some(limit), Some(url)) = (lines.next(), lines.next(), lines.next()) else {
        return;
    };
    let Ok(rule) = rule.parse::<HttpRule>() else { return };
    assert_eq!(rule.to_string().parse::<HttpRule>().as_ref(), Ok(&rule));
    let (Ok(limit), Ok(url)) = (HttpRule::parse_ceiling(limit), url.parse::<Uri>()) else { return };
    for method in [Method::GET, Method::POST] {
        if rule.is_within(&limit) && rule.permits(&method, &url) {
            assert!(limit.permits(&method, &url), "{rule} in {limit}: {method} {url}");
        }
    }
}

/// Handles, ids, names and traces as they come in requests: what is read has one spelling.
pub fn token(text: &str) {
    if let Ok(handle) = text.parse::<Handle>() {
        assert_eq!(handle.to_string(), text);
    }
    if let Ok(trace) = text.parse::<TraceContext>() {
        assert_eq!(trace.to_string().parse(), Ok(trace));
        assert!(trace.trace_id != 0 && trace.parent_id != 0);
    }
    if let Ok(digest) = text.parse::<Digest>() {
        assert_eq!(digest.to_string().parse(), Ok(digest));
    }
    if let Some(session) = SessionId::new(text) {
        assert_eq!(session.as_str(), text);
    }
    let spelt = [
        text.parse::<NodeId>().map(|id| id.to_string()).ok(),
        text.parse::<KeyId>().map(|id| id.to_string()).ok(),
        text.parse::<SecretName>().map(|name| name.as_str().to_owned()).ok(),
        text.parse::<AgentName>().map(|name| name.to_string()).ok(),
        text.parse::<TenantName>().map(|name| name.to_string()).ok(),
        text.parse::<ToolName>().map(|name| name.to_string()).ok(),
    ];
    assert!(spelt.iter().flatten().all(|spelt| spelt == text), "{spelt:?}");
}

#[cfg(test)]
mod tests;
