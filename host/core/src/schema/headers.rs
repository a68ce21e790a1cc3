//! Parameters that HTTP headers repeat, as settings name them (`[tools.<function>.headers]`).
//!
//! MCP allows it for parameters of the root that are strings, whole numbers or bools, each with a header of
//! its own. A client drops a tool that breaks these rules, so mistakes are found when the agent is loaded.

use std::collections::BTreeMap;

use super::identifier;
use crate::RepeatedParameter;
use crate::interface::{Function, Interface, TypeKind};
use crate::settings::ToolSettings;

/// The headers of a function. Settings may spell a parameter as WIT or as JSON does.
pub(super) fn of(function: &Function, said: &ToolSettings) -> Vec<RepeatedParameter> {
    let named = function.parameters.iter().filter_map(|parameter| {
        let name = identifier(&parameter.name);
        let header = said.headers.get(&parameter.name).or_else(|| said.headers.get(&name))?;
        Some(RepeatedParameter { parameter: name, header: header.clone() })
    });
    named.collect()
}

/// What is wrong with the headers in settings.
pub(super) fn mistakes(interface: &Interface, said: &[Option<&ToolSettings>]) -> Vec<String> {
    let mut mistakes = Vec::new();
    for (function, said) in interface.functions.iter().zip(said) {
        let Some(said) = said else { continue };
        let place = format!("`[tools.\"{}\".headers]`", function.path());
        let mut parameters: BTreeMap<String, &str> = BTreeMap::new();
        let mut headers: BTreeMap<String, &str> = BTreeMap::new();
        for (key, header) in &said.headers {
            let found = function
                .parameters
                .iter()
                .find(|parameter| parameter.name == *key || identifier(&parameter.name) == *key);
            let Some(parameter) = found else {
                mistakes.push(format!("{place}: the function has no parameter `{key}`"));
                continue;
            };
            if !is_repeatable(&interface.get(parameter.ty).kind) {
                mistakes.push(format!(
                    "{place}: a header cannot repeat `{key}`: only text, a character, a choice, a whole number of at most 32 bits or a bool that is not optional"
                ));
            }
            if let Some(other) = parameters.insert(identifier(key), key) {
                mistakes.push(format!("{place}: `{other}` and `{key}` are the same parameter"));
            }
            if let Some(other) = headers.insert(header.to_ascii_lowercase(), key) {
                mistakes.push(format!(
                    "{place}: `{other}` and `{key}` have the same header `{header}`"
                ));
            }
        }
    }
    mistakes
}

/// Whether the schema of a type is that of one string, whole number or bool.
const fn is_repeatable(kind: &TypeKind) -> bool {
    use TypeKind::{Bool, Char, Enum, S8, S16, S32, String, U8, U16, U32};
    matches!(kind, Bool | Char | Enum(_) | S8 | S16 | S32 | String | U8 | U16 | U32)
}
