//! What the fuzz target `skill` looks at: a `SKILL.md`, or a skill as the codec writes it.
#![allow(clippy::unwrap_used, reason = "a panic is how a target says that it found something")]

use aop_core::AgentName;
use serde_json::Value;

use super::{Address, frontmatter, manifest};

/// What a byte of YAML becomes at the most, as JSON: an escape.
const GROWTH_MAX: usize = 6;

/// What is accepted says what it is in a URI that leads to it, and is no longer than what was read.
pub(crate) fn skill(text: &str) {
    if let Ok(read) = frontmatter::of(text, "a") {
        let json = serde_json::to_string(&read).unwrap();
        assert!(json.len() <= GROWTH_MAX * text.len() + 64, "{} bytes", json.len());
        let value: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["name"], "a");
    }
    let agent = AgentName::new("tutor").unwrap();
    let listed = manifest::all(&agent, text).unwrap_or_default();
    for skill in listed.into_iter().flatten().chain(manifest::one(&agent, text)) {
        serde_json::to_string(&skill.entry()).unwrap();
        for (path, file) in &skill.files {
            let expected = Address {
                agent: agent.clone(),
                skill: Some(skill.name.clone()),
                path: Some(path.clone()),
            };
            assert_eq!(Address::parse(&skill.uri(path)), Some(expected));
            assert_eq!(skill.resource(path, file).uri, skill.uri(path));
        }
    }
}
