//! A tool's arguments from the command line: JSON, a file, stdin, or `key=value` pairs.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::Path;

use anyhow::Context as _;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use crate::exit::{CommandError, misuse, usage};

/// The most that is read as arguments: far more than any host accepts in one message.
const ARGUMENTS_MAX_BYTES: u64 = 64 << 20;

/// Reads JSON given as text, as `-` for stdin, or as `@FILE`.
pub(crate) fn read_json(given: &str) -> Result<String, CommandError> {
    let text = match given.strip_prefix('@') {
        _ if given == "-" => read_bounded(std::io::stdin().lock())
            .context("cannot read the arguments from stdin")
            .map_err(usage)?,
        Some(path) => read_file(Path::new(path))?,
        None => given.to_owned(),
    };
    if let Err(error) = serde_json::from_str::<IgnoredAny>(&text) {
        let hint = if given.contains('=') && !given.starts_with(['{', '[']) {
            " (`key=value` works with `aop call`)"
        } else {
            ""
        };
        return Err(misuse(format!("the arguments are not valid JSON: {error}{hint}")));
    }
    Ok(text)
}

/// Reads a text file of bounded size.
pub(crate) fn read_file(path: &Path) -> Result<String, CommandError> {
    let read = || read_bounded(std::fs::File::open(path)?);
    read().with_context(|| format!("cannot read {}", path.display())).map_err(usage)
}

fn read_bounded(source: impl std::io::Read) -> anyhow::Result<String> {
    let mut text = String::new();
    source.take(ARGUMENTS_MAX_BYTES + 1).read_to_string(&mut text)?;
    anyhow::ensure!(
        text.len() as u64 <= ARGUMENTS_MAX_BYTES,
        "it is larger than {} MiB",
        ARGUMENTS_MAX_BYTES >> 20
    );
    Ok(text)
}

/// Whether these words are `key=value` pairs and not one JSON text.
pub(crate) fn are_pairs(words: &[String]) -> bool {
    match words {
        [] => false,
        [one] => !one.starts_with(['{', '[', '@', '"', '-']) && one.contains('='),
        _ => true,
    }
}

/// Turns `key=value` pairs into a JSON object, with the tool's input schema deciding what is text.
pub(crate) fn from_pairs(words: &[String], schema: &Value) -> Result<String, CommandError> {
    let mut object = Map::new();
    for word in words {
        let (key, value) =
            word.split_once('=').filter(|(key, _)| !key.is_empty()).ok_or_else(|| {
                misuse(format!(
                    "`{word}` is not `key=value`: give either one JSON object or only pairs"
                ))
            })?;
        let value = typed(value, schema.pointer(&format!("/properties/{key}")));
        if object.insert(key.to_owned(), value).is_some() {
            return Err(misuse(format!(
                "`{key}` is given twice: write a list as one JSON value, {key}='[…]'"
            )));
        }
    }
    Ok(Value::Object(object).to_string())
}

/// Text where the schema takes nothing else; otherwise JSON if it is any that the schema may take,
/// and text if not.
fn typed(text: &str, schema: Option<&Value>) -> Value {
    let mut kinds = BTreeSet::new();
    if let Some(schema) = schema {
        collect_kinds(schema, &mut kinds);
    }
    let as_text = || Value::String(text.to_owned());
    let takes_text = kinds.contains("string");
    if takes_text && kinds.iter().all(|kind| matches!(*kind, "string" | "null")) {
        return as_text();
    }
    match serde_json::from_str::<Value>(text) {
        Ok(value) if takes_text && !kinds.iter().any(|kind| is_of(&value, kind)) => as_text(),
        Ok(value) => value,
        Err(_) => as_text(),
    }
}

/// The JSON types a schema names, in any of its alternatives.
fn collect_kinds<'a>(schema: &'a Value, kinds: &mut BTreeSet<&'a str>) {
    kinds.extend(schema.get("type").and_then(Value::as_str));
    let alternatives = schema.get("anyOf").and_then(Value::as_array);
    for alternative in alternatives.into_iter().flatten() {
        collect_kinds(alternative, kinds);
    }
}

fn is_of(value: &Value, kind: &str) -> bool {
    match value {
        Value::Null => kind == "null",
        Value::Bool(_) => kind == "boolean",
        Value::Number(_) => matches!(kind, "integer" | "number"),
        Value::String(_) => kind == "string",
        Value::Array(_) => kind == "array",
        Value::Object(_) => kind == "object",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_schema_decides_what_is_text() {
        let schema = json!({"properties": {"id": {"type": "string"}, "count": {"type": "integer"}, "tags": {"type": "array"}}});
        let given =
            words(&["id=12", "count=3", "tags=[\"a\"]", "other=true", "word=x y", "empty="]);
        let object: Value = serde_json::from_str(&from_pairs(&given, &schema).unwrap()).unwrap();
        assert_eq!(
            object,
            json!({"id": "12", "count": 3, "tags": ["a"], "other": true, "word": "x y", "empty": ""})
        );
    }

    #[test]
    fn alternatives_of_a_schema_count() {
        let text = json!({"anyOf": [{"type": "string"}, {"type": "null"}]});
        let number = json!({"anyOf": [{"type": "integer"}, {"type": "string"}]});
        for (given, schema, expected) in [
            ("2", &text, json!("2")),
            ("null", &text, json!("null")),
            ("18446744073709551615", &number, json!(u64::MAX)),
            ("twelve", &number, json!("twelve")),
            ("true", &number, json!("true")),
            ("[1]", &json!({}), json!([1])),
        ] {
            assert_eq!(typed(given, Some(schema)), expected, "{given}");
        }
        assert_eq!(typed("x", None), json!("x"));
    }

    #[test]
    fn what_is_neither_json_nor_a_pair_is_said_to_be_so() {
        let schema = json!({});
        let message = |given: &[&str]| {
            from_pairs(&words(given), &schema).unwrap_err().conclusion().0.unwrap()
        };
        assert_eq!(
            message(&["a=1", "b"]),
            "`b` is not `key=value`: give either one JSON object or only pairs"
        );
        assert!(message(&["a=1", "a=2"]).contains("given twice"));
        assert!(read_json("{").unwrap_err().conclusion().0.unwrap().contains("not valid JSON"));
        assert!(read_json("a=1").unwrap_err().conclusion().0.unwrap().contains("aop call"));
        assert!(
            read_json("@no/such/file")
                .unwrap_err()
                .conclusion()
                .0
                .unwrap()
                .contains("cannot read no/such/file")
        );
    }

    #[test]
    fn arguments_are_bounded() {
        let source = |length| std::io::Read::take(std::io::repeat(b' '), length);
        assert!(read_bounded(source(ARGUMENTS_MAX_BYTES)).is_ok());
        let error = read_bounded(source(ARGUMENTS_MAX_BYTES + 1)).unwrap_err();
        assert_eq!(error.to_string(), "it is larger than 64 MiB");
    }

    #[test]
    fn one_json_text_is_not_a_pair() {
        assert!(!are_pairs(&words(&["{\"a\": \"b=c\"}"])));
        assert!(!are_pairs(&words(&["@file=1"])) && !are_pairs(&words(&["-"])) && !are_pairs(&[]));
        assert!(are_pairs(&words(&["a=1"])) && are_pairs(&words(&["{}", "a=1"])));
    }
}
