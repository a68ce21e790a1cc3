//! What model APIs are known to refuse in tool schemas. Several clients send schemas on as they
//! are, and one bad tool fails the whole request, so every generated schema passes this in the
//! tests, and what depends on a component's own names and sizes becomes a warning at load.
//!
//! The limits are the strictest of the three subsets: OpenAI (function calling), Anthropic (tool
//! use) and Gemini (function declarations).

use serde_json::{Map, Value};

use crate::Tool;

/// OpenAI: properties of one schema in total.
const PROPERTIES_MAX: usize = 5_000;
/// OpenAI: enum values of one schema in total.
const ENUM_VALUES_MAX: usize = 1_000;
/// OpenAI: characters of all property names, definition names and enum values.
const NAMES_LENGTH_MAX: usize = 120_000;
/// OpenAI: characters of a function's description.
const DESCRIPTION_LENGTH_MAX: usize = 1_024;
/// Anthropic: characters of a property key.
const KEY_LENGTH_MAX: usize = 64;
/// OpenAI and Gemini: objects within objects. They accept somewhat more, unevenly.
const NESTING_MAX: usize = 32;
/// Findings of one schema: beyond that they repeat.
const FINDINGS_MAX: usize = 8;

/// The keywords that at least one API documents and none refuses.
const KEYWORDS: [&str; 21] = [
    "type",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "prefixItems",
    "minItems",
    "maxItems",
    "uniqueItems",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "pattern",
    "enum",
    "anyOf",
    "description",
    "contentEncoding",
    "$defs",
    "$ref",
    "title",
];

/// Everything that some API may refuse in a tool.
#[must_use]
pub fn tool(tool: &Tool) -> Vec<String> {
    let mut findings = Vec::new();
    let length = tool.description.chars().count();
    if length > DESCRIPTION_LENGTH_MAX {
        findings.push(format!(
            "its description has {length} characters, and some model APIs accept {DESCRIPTION_LENGTH_MAX}: shorten it with `description` in its settings"
        ));
    }
    let output = tool.output_schema.as_ref().map(|schema| ("output", schema));
    for (which, text) in [("input", &tool.input_schema)].into_iter().chain(output) {
        let found = match serde_json::from_str(text.get()) {
            Ok(value) => schema(&value),
            Err(error) => vec![error.to_string()],
        };
        findings.extend(found.into_iter().map(|finding| format!("its {which} schema {finding}")));
    }
    findings
}

/// Everything that some API may refuse in a schema.
#[must_use]
pub fn schema(root: &Value) -> Vec<String> {
    let mut lint = Lint::default();
    match root {
        Value::Object(object) => {
            if object.get("type") != Some(&Value::from("object")) {
                lint.find(|| "is not a plain object at its root".to_owned());
            }
            if object.contains_key("anyOf") || object.contains_key("$ref") {
                lint.find(|| "is a union or a reference at its root".to_owned());
            }
            lint.definitions = object.get("$defs").and_then(Value::as_object);
            lint.node(object, 0);
            for (name, definition) in lint.definitions.into_iter().flatten() {
                lint.names_length += name.len();
                lint.value(definition, 1);
            }
        }
        _ => lint.find(|| "is not an object".to_owned()),
    }
    lint.totals();
    lint.findings
}

#[derive(Default)]
struct Lint<'a> {
    definitions: Option<&'a Map<String, Value>>,
    properties: usize,
    enum_values: usize,
    names_length: usize,
    findings: Vec<String>,
}

impl<'a> Lint<'a> {
    fn find(&mut self, finding: impl FnOnce() -> String) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding());
        }
    }

    fn totals(&mut self) {
        let totals = [
            (self.properties, PROPERTIES_MAX, "properties"),
            (self.enum_values, ENUM_VALUES_MAX, "enum values"),
            (self.names_length, NAMES_LENGTH_MAX, "characters of names"),
        ];
        for (count, limit, what) in totals {
            if count > limit {
                self.find(|| format!("has {count} {what}, and some model APIs accept {limit}"));
            }
        }
    }

    fn value(&mut self, value: &'a Value, depth: usize) {
        match value {
            Value::Object(node) => self.node(node, depth),
            _ => self.find(|| "has a schema that is not an object".to_owned()),
        }
    }

    fn node(&mut self, node: &'a Map<String, Value>, depth: usize) {
        if depth == NESTING_MAX {
            return self.find(|| format!("nests more than {NESTING_MAX} levels"));
        }
        for key in node.keys() {
            if !KEYWORDS.contains(&key.as_str()) {
                self.find(|| format!("uses `{key}`"));
            }
        }
        self.reference(node);
        if node.get("type").is_some_and(|ty| !ty.is_string()) {
            self.find(|| "has a `type` that is not one string".to_owned());
        }
        if node.get("type") == Some(&Value::from("array")) && !node.contains_key("items") {
            self.find(|| "has an array without `items`".to_owned());
        }
        self.enumeration(node);
        for (name, property) in
            node.get("properties").and_then(Value::as_object).into_iter().flatten()
        {
            self.properties += 1;
            self.names_length += name.len();
            let fits = |c: u8| c.is_ascii_alphanumeric() || b"_.-".contains(&c);
            if name.len() > KEY_LENGTH_MAX || !name.bytes().all(fits) {
                self.find(|| {
                    format!("has the property name `{name}`, which some model APIs refuse")
                });
            }
            self.value(property, depth + 1);
        }
        match node.get("additionalProperties") {
            None | Some(Value::Bool(_)) => {}
            Some(schema) => self.value(schema, depth + 1),
        }
        if let Some(items) = node.get("items") {
            self.value(items, depth + 1);
        }
        for list in ["prefixItems", "anyOf"] {
            let Some(list) = node.get(list) else { continue };
            match list.as_array().map(Vec::as_slice) {
                None | Some([]) => self.find(|| "has an empty list of schemas".to_owned()),
                Some(schemas) => schemas.iter().for_each(|schema| self.value(schema, depth + 1)),
            }
        }
    }

    fn reference(&mut self, node: &Map<String, Value>) {
        let Some(reference) = node.get("$ref") else { return };
        if node.len() > 1 {
            self.find(|| "has something beside a `$ref`".to_owned());
        }
        let name = reference.as_str().and_then(|text| text.strip_prefix("#/$defs/"));
        let is_known = |name| self.definitions.is_some_and(|all| all.contains_key(name));
        if !name.is_some_and(is_known) {
            self.find(|| format!("refers to {reference}, which is not there"));
        }
    }

    fn enumeration(&mut self, node: &Map<String, Value>) {
        let Some(values) = node.get("enum") else { return };
        let values = values.as_array().map(Vec::as_slice).unwrap_or_default();
        let texts: Vec<_> = values.iter().filter_map(Value::as_str).collect();
        if texts.is_empty() || texts.len() != values.len() || texts.contains(&"") {
            self.find(|| "has an `enum` of something else than names".to_owned());
        }
        self.enum_values += texts.len();
        self.names_length += texts.iter().map(|text| text.len()).sum::<usize>();
    }
}
