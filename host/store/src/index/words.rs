//! The text of a tool that is indexed.

use std::fmt::Write as _;

use aop_core::{AgentName, Tool};
use serde_json::Value;

/// Of each column, at most this much is indexed. Real descriptions are far shorter; a component
/// that carries megabytes of text gains nothing by it.
const TEXT_MAX_BYTES: usize = 16 << 10;

/// The tool's name, its words where it is written in camel case, and the agent's name when the
/// tool was renamed to something that does not show it.
pub(super) fn of_name(agent: &AgentName, tool: &Tool) -> String {
    let mut text = split_camel_case(&tool.name);
    if !tool.name.starts_with(agent.replace('-', "_").as_str()) {
        text.push(' ');
        text.push_str(agent);
    }
    text
}

/// `_` and `-` already separate words for the tokenizer; a capital after a small letter does not.
fn split_camel_case(name: &str) -> String {
    let mut split = String::with_capacity(name.len() + 8);
    let mut after_small = false;
    for c in name.chars() {
        if c.is_ascii_uppercase() && after_small {
            split.push(' ');
        }
        after_small = c.is_ascii_lowercase();
        split.push(c);
    }
    if split == name { split } else { format!("{name} {split}") }
}

/// Title and description.
pub(super) fn of_description(tool: &Tool) -> String {
    let mut text = String::new();
    if let Some(title) = &tool.title {
        text.push_str(title);
        text.push('\n');
    }
    text.push_str(&tool.description);
    text.truncate(text.floor_char_boundary(TEXT_MAX_BYTES));
    text
}

/// Names and descriptions of every property in the input schema, at any depth.
pub(super) fn of_parameters(tool: &Tool) -> String {
    let mut text = String::new();
    // A schema that this host generated always parses; one that does not has nothing to find.
    if let Ok(schema) = serde_json::from_str::<Value>(tool.input_schema.get()) {
        collect(&schema, &mut text);
    }
    text.truncate(text.floor_char_boundary(TEXT_MAX_BYTES));
    text
}

/// The parser bounds the depth of `schema`, and with it this recursion.
fn collect(schema: &Value, text: &mut String) {
    if text.len() > TEXT_MAX_BYTES {
        return;
    }
    match schema {
        Value::Object(members) => {
            if let Some(Value::Object(properties)) = members.get("properties") {
                for name in properties.keys() {
                    // Writing into a String cannot fail.
                    let _ = writeln!(text, "{}", split_camel_case(name));
                }
            }
            if let Some(Value::String(description)) = members.get("description") {
                let _ = writeln!(text, "{description}");
            }
            members.values().for_each(|member| collect(member, text));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, text)),
        _ => {}
    }
}
