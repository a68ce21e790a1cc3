//! A form: its rules, the schema that MCP allows for it, and whether an answer fits it.

use std::collections::HashSet;

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::formats;
use crate::binding::agent_0_1_0::elicit::{
    Choice, ChoiceField, Field, FieldKind, NumberField, TextField,
};

/// Fields of one form: more is not a question but a file.
const FIELDS_MAX: usize = 64;
/// Longest name of a field, or value of a choice.
const NAME_MAX_CHARS: usize = 128;
/// Longest title or description.
const WORDS_MAX_CHARS: usize = 1024;
/// Choices of one field: what a person still scrolls through.
const CHOICES_MAX: usize = 256;
/// Longest text that can be filled in, also where the form says nothing.
const TEXT_MAX_CHARS: usize = 64 << 10;

/// A form that keeps the rules.
pub(super) struct Form(Vec<Field>);

impl Form {
    /// Checks the description of a form.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub(super) fn new(fields: Vec<Field>) -> Result<Self, String> {
        if fields.len() > FIELDS_MAX {
            return Err(format!("a form has {FIELDS_MAX} fields at most"));
        }
        let mut names = HashSet::new();
        for field in &fields {
            let name = field.name.as_str();
            named(name).map_err(|rule| format!("a field's name {rule}"))?;
            if !names.insert(name) {
                return Err(format!("two fields have the name `{name}`"));
            }
            let words = [&field.title, &field.description].into_iter().flatten();
            words.chain(titles(&field.kind)).try_for_each(|words| readable(words))?;
            check_kind(&field.kind).map_err(|rule| format!("the field `{name}` {rule}"))?;
        }
        Ok(Self(fields))
    }

    /// The JSON Schema of the answer: a flat object of primitives, its properties in the form's order,
    /// which is the order in which a person fills them in.
    ///
    /// # Errors
    /// None that a form could cause.
    pub(super) fn schema(&self) -> Result<Box<RawValue>, serde_json::Error> {
        let properties = self.0.iter().map(|field| {
            let (name, schema) = (json!(field.name), Value::Object(schema(field)));
            format!("{name}:{schema}")
        });
        let properties = properties.collect::<Vec<_>>().join(",");
        let required: Vec<_> =
            self.0.iter().filter(|field| field.required).map(|field| &field.name).collect();
        let required = json!(required);
        RawValue::from_string(format!(
            r#"{{"type":"object","properties":{{{properties}}},"required":{required}}}"#
        ))
    }

    /// The answer as a JSON object of the form's fields, in its order.
    ///
    /// # Errors
    /// In what the answer does not fit.
    pub(super) fn check(&self, answer: &RawValue) -> Result<String, String> {
        let wrong = |what: String| format!("the client's answer does not fit the form: {what}");
        let mut values: Map<String, Value> = serde_json::from_str(answer.get())
            .map_err(|_| wrong("it is not a JSON object".to_owned()))?;
        let mut members = Vec::with_capacity(self.0.len());
        for field in &self.0 {
            let name = &field.name;
            // Clients send null for what was left empty.
            let value = values.remove(name).filter(|value| !value.is_null());
            match value {
                Some(value) => {
                    check_value(&field.kind, &value)
                        .map_err(|what| wrong(format!("`{name}` {what}")))?;
                    members.push(format!("{}:{value}", json!(name)));
                }
                None if field.required => return Err(wrong(format!("`{name}` is missing"))),
                None => {}
            }
        }
        if !values.is_empty() {
            return Err(wrong("it has fields that the form does not have".to_owned()));
        }
        Ok(format!("{{{}}}", members.join(",")))
    }
}

fn named(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("is empty".to_owned());
    }
    if text.chars().count() > NAME_MAX_CHARS {
        return Err(format!("has more than {NAME_MAX_CHARS} characters"));
    }
    Ok(())
}

fn readable(text: &str) -> Result<(), String> {
    if text.chars().count() > WORDS_MAX_CHARS {
        return Err(format!("a title or description has more than {WORDS_MAX_CHARS} characters"));
    }
    Ok(())
}

fn titles(kind: &FieldKind) -> impl Iterator<Item = &String> {
    let choices = match kind {
        FieldKind::Choice(field) => field.choices.as_slice(),
        FieldKind::Text(_) | FieldKind::Number(_) | FieldKind::YesNo(_) => &[],
    };
    choices.iter().filter_map(|choice| choice.title.as_ref())
}

/// The rules of one field; what is filled in already must be a legal answer itself.
fn check_kind(kind: &FieldKind) -> Result<(), String> {
    let initial = match kind {
        FieldKind::Text(field) => {
            let (min, max) = (field.min_length.unwrap_or(0), field.max_length);
            if max.is_some_and(|max| max < min) {
                return Err("has a maximum length below its minimum".to_owned());
            }
            field.initial.as_ref().map(|text| json!(text))
        }
        FieldKind::Number(field) => {
            let given = [field.minimum, field.maximum, field.initial];
            if given.into_iter().flatten().any(|number| !number.is_finite()) {
                return Err("has a number that is not finite".to_owned());
            }
            if field.minimum.zip(field.maximum).is_some_and(|(min, max)| max < min) {
                return Err("has a maximum below its minimum".to_owned());
            }
            field.initial.map(|number| number_value(field, number))
        }
        FieldKind::YesNo(_) => None,
        FieldKind::Choice(field) => return check_choices(field),
    };
    initial.map_or(Ok(()), |value| {
        check_value(kind, &value).map_err(|what| format!("is filled in with something that {what}"))
    })
}

fn check_choices(field: &ChoiceField) -> Result<(), String> {
    if !(1..=CHOICES_MAX).contains(&field.choices.len()) {
        return Err(format!("must have 1 to {CHOICES_MAX} choices"));
    }
    let mut values = HashSet::new();
    for choice in &field.choices {
        named(&choice.value).map_err(|rule| format!("has a choice whose value {rule}"))?;
        if !values.insert(choice.value.as_str()) {
            return Err(format!("has the choice `{}` twice", choice.value));
        }
    }
    if !field.multiple && field.initial.len() > 1 {
        return Err("has more than one choice filled in, and takes one".to_owned());
    }
    let mut chosen = HashSet::new();
    if !field.initial.iter().all(|value| values.contains(value.as_str()) && chosen.insert(value)) {
        return Err("is filled in with something that is no choice, or with one twice".to_owned());
    }
    Ok(())
}

fn schema(field: &Field) -> Map<String, Value> {
    let mut schema = match &field.kind {
        FieldKind::Text(text) => text_schema(text),
        FieldKind::Number(number) => number_schema(number),
        FieldKind::YesNo(initial) => {
            let mut schema = typed("boolean");
            put(&mut schema, "default", *initial);
            schema
        }
        FieldKind::Choice(choice) => choice_schema(choice),
    };
    put(&mut schema, "title", field.title.as_deref());
    put(&mut schema, "description", field.description.as_deref());
    schema
}

fn typed(name: &str) -> Map<String, Value> {
    Map::from_iter([("type".to_owned(), json!(name))])
}

fn put(schema: &mut Map<String, Value>, key: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        schema.insert(key.to_owned(), value.into());
    }
}

fn text_schema(field: &TextField) -> Map<String, Value> {
    let mut schema = typed("string");
    put(&mut schema, "format", field.format.map(formats::name));
    put(&mut schema, "minLength", field.min_length);
    put(&mut schema, "maxLength", field.max_length);
    put(&mut schema, "default", field.initial.as_deref());
    schema
}

fn number_schema(field: &NumberField) -> Map<String, Value> {
    let mut schema = typed(if field.integer { "integer" } else { "number" });
    let value = |number| number_value(field, number);
    put(&mut schema, "minimum", field.minimum.map(value));
    put(&mut schema, "maximum", field.maximum.map(value));
    put(&mut schema, "default", field.initial.map(value));
    schema
}

/// Whole numbers are written as such: some clients take 1.0 for no integer.
fn number_value(field: &NumberField, number: f64) -> Value {
    // Beyond this, a float no longer counts by ones.
    let is_exact = number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_991.0;
    #[expect(clippy::cast_possible_truncation, reason = "whole and within 2^53")]
    if field.integer && is_exact { json!(number as i64) } else { json!(number) }
}

fn choice_schema(field: &ChoiceField) -> Map<String, Value> {
    let (values, titled) = choices(&field.choices);
    if !field.multiple {
        let mut schema = typed("string");
        let key = if titled { "oneOf" } else { "enum" };
        schema.insert(key.to_owned(), values);
        put(&mut schema, "default", field.initial.first().map(String::as_str));
        return schema;
    }
    let items = if titled {
        json!({ "anyOf": values })
    } else {
        json!({ "type": "string", "enum": values })
    };
    let mut schema = typed("array");
    schema.insert("items".to_owned(), items);
    let initial = (!field.initial.is_empty()).then(|| json!(field.initial));
    put(&mut schema, "default", initial);
    schema
}

/// The choices, each with its title if any of them has one.
fn choices(choices: &[Choice]) -> (Value, bool) {
    let is_titled = choices.iter().any(|choice| choice.title.is_some());
    let value = |choice: &Choice| {
        if !is_titled {
            return json!(choice.value);
        }
        json!({ "const": choice.value, "title": choice.title.as_ref().unwrap_or(&choice.value) })
    };
    (choices.iter().map(value).collect(), is_titled)
}

/// Whether a value is a legal answer to a field.
fn check_value(kind: &FieldKind, value: &Value) -> Result<(), String> {
    match (kind, value) {
        (FieldKind::Text(field), Value::String(text)) => check_text(field, text),
        (FieldKind::Number(field), Value::Number(number)) => {
            check_number(field, number.as_f64().unwrap_or(f64::NAN))
        }
        (FieldKind::YesNo(_), Value::Bool(_)) => Ok(()),
        (FieldKind::Choice(field), Value::String(chosen)) if !field.multiple => {
            chosen_of(field, chosen)
        }
        (FieldKind::Choice(field), Value::Array(chosen)) if field.multiple => {
            let mut seen = HashSet::new();
            chosen.iter().try_for_each(|item| match item {
                Value::String(item) if seen.insert(item) => chosen_of(field, item),
                _ => Err("must be a list of different choices".to_owned()),
            })
        }
        (FieldKind::Text(_), _) => Err("must be text".to_owned()),
        (FieldKind::Number(_), _) => Err("must be a number".to_owned()),
        (FieldKind::YesNo(_), _) => Err("must be true or false".to_owned()),
        (FieldKind::Choice(_), _) => Err("must be what can be chosen".to_owned()),
    }
}

fn chosen_of(field: &ChoiceField, chosen: &str) -> Result<(), String> {
    let is_choice = field.choices.iter().any(|choice| choice.value == chosen);
    if is_choice { Ok(()) } else { Err("is none of the choices".to_owned()) }
}

fn check_text(field: &TextField, text: &str) -> Result<(), String> {
    let length = text.chars().count();
    let max = field.max_length.map_or(TEXT_MAX_CHARS, |max| TEXT_MAX_CHARS.min(max as usize));
    if length > max {
        return Err(format!("has more than {max} characters"));
    }
    if field.min_length.is_some_and(|min| length < min as usize) {
        return Err("is too short".to_owned());
    }
    match field.format.filter(|format| !formats::fits(*format, text)) {
        Some(format) => Err(format!("is not in the form `{}`", formats::name(format))),
        None => Ok(()),
    }
}

fn check_number(field: &NumberField, number: f64) -> Result<(), String> {
    if !number.is_finite() {
        return Err("is too large a number".to_owned());
    }
    if field.integer && number.fract() != 0.0 {
        return Err("must be a whole number".to_owned());
    }
    if field.minimum.is_some_and(|min| number < min)
        || field.maximum.is_some_and(|max| number > max)
    {
        return Err("is out of range".to_owned());
    }
    Ok(())
}
