//! Who can do a step: tools found by words, and the arguments that can be had for them.

use aop_agent::tools::{self, Definition};
use serde_json::{Map, Value};

use crate::plan::Call;

/// Tools that are looked at for one step. The search ranks them; what does not fit by then is luck.
const CANDIDATES_MAX: u32 = 8;

/// The first tool for a goal whose arguments can be filled in from what the goal names and from its subject.
pub(crate) fn assign(goal: &str, subject: &str) -> Result<Call, String> {
    let (words, named) = arguments_in(goal);
    let found = tools::discover(&words, CANDIDATES_MAX).map_err(|failure| failure.to_string())?;
    let mut unfit = Vec::new();
    for tool in found {
        let definition = tools::describe(&tool.name).map_err(|failure| failure.to_string())?;
        match fill_in(&definition, &named, subject) {
            Ok(arguments) => return Ok(Call { tool: tool.name, arguments }),
            Err(why) => unfit.push(format!("{} {why}", tool.name)),
        }
    }
    if unfit.is_empty() {
        return Err("no agent that may be called does this".to_owned());
    }
    Err(format!("nobody can be given what they need: {}", unfit.join("; ")))
}

/// The arguments of a tool: those that are named, and the subject for the one required text that is left.
fn fill_in(
    definition: &Definition,
    named: &[(String, String)],
    subject: &str,
) -> Result<Map<String, Value>, String> {
    let schema = definition.arguments().unwrap_or_default();
    let properties = schema["properties"].as_object().cloned().unwrap_or_default();
    let mut arguments = Map::new();
    for (name, text) in named {
        let property = properties.get(name).ok_or_else(|| format!("takes no `{name}`"))?;
        arguments.insert(name.clone(), read(property, text));
    }
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    let missing = required.iter().filter_map(Value::as_str);
    let missing: Vec<&str> = missing.filter(|name| !arguments.contains_key(*name)).collect();
    match missing[..] {
        [] => Ok(arguments),
        [name] if properties.get(name).is_some_and(|property| property["type"] == "string") => {
            arguments.insert(name.to_owned(), subject.into());
            Ok(arguments)
        }
        _ => Err(format!("needs {}", missing.join(" and "))),
    }
}

/// A value as its type wants it; the tool says what is wrong with one that does not fit.
fn read(property: &Value, text: &str) -> Value {
    if property["type"] == "string" {
        return text.into();
    }
    serde_json::from_str(text).unwrap_or_else(|_| text.into())
}

/// Takes `name=value` and `name="several words"` out of a goal.
fn arguments_in(goal: &str) -> (String, Vec<(String, String)>) {
    let mut words = Vec::new();
    let mut arguments = Vec::new();
    let mut rest = goal.trim();
    while !rest.is_empty() {
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        let equals = rest[..end].find('=').filter(|at| is_name(&rest[..*at]));
        let Some(equals) = equals else {
            words.push(&rest[..end]);
            rest = rest[end..].trim_start();
            continue;
        };
        let (name, value) = (&rest[..equals], &rest[equals + 1..]);
        let quoted = value.strip_prefix('"').and_then(|inside| inside.split_once('"'));
        let (value, after) = quoted.unwrap_or_else(|| value.split_at(end - equals - 1));
        arguments.push((name.to_owned(), value.to_owned()));
        rest = after.trim_start();
    }
    (words.join(" "), arguments)
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests;
