//! One value into its place: checked against its form and bounds, whether it comes from a file, the
//! environment or a flag.

use std::fmt::Display;

use toml_span::Value;
use toml_span::value::ValueInner;

use super::super::mistake::shown;
use super::super::{parse_size, parse_time, show_size, show_time};
use super::{Bounds, Form, Key, Unit};

/// How it is written that there is no limit.
pub(super) const NO_LIMIT: &str = "none";

impl<T> Key<T> {
    /// Stores a value given as plain text, as in an environment variable; lists are separated by
    /// commas.
    ///
    /// # Errors
    /// What the text should look like.
    pub fn set_text(&self, target: &mut T, text: &str) -> Result<(), String> {
        match &self.form {
            Form::Text { .. }
            | Form::Time { .. }
            | Form::Size { .. }
            | Form::Choice { .. }
            | Form::Limit { .. } => self.set_written(target, text),
            Form::Flag { set, .. } => {
                let flag = match text {
                    "true" | "1" => true,
                    "false" | "0" => false,
                    _ => return Err(format!("`{text}` is neither `true` nor `false`")),
                };
                set(target, flag);
                Ok(())
            }
            Form::Count { .. } | Form::OptionalCount { .. } => {
                let number =
                    text.parse::<i64>().map_err(|_| format!("`{text}` is not a whole number"))?;
                self.set_number(target, number)
            }
            Form::Number { .. } => {
                let number = text.parse().map_err(|_| format!("`{text}` is not a number"))?;
                self.set_fraction(target, number)
            }
            Form::Texts { .. } => {
                let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
                self.set_list(target, entries.map(str::to_owned).collect())
            }
            Form::Section(_) | Form::Table { .. } | Form::Open { .. } => {
                Err("it is a table: use a file".to_owned())
            }
            Form::Items { .. } => Err("its entries may be tables: use a file".to_owned()),
        }
    }

    /// Stores a value of a file.
    pub(super) fn set_value(&self, target: &mut T, value: &Value<'_>) -> Result<(), String> {
        let inner = value.as_ref();
        match (&self.form, inner) {
            (Form::Flag { set, .. }, ValueInner::Boolean(flag)) => {
                set(target, *flag);
                Ok(())
            }
            (Form::Count { .. } | Form::OptionalCount { .. }, ValueInner::Integer(number)) => {
                self.set_number(target, *number)
            }
            (Form::Limit { unit: Unit::Count, .. }, ValueInner::Integer(number)) => {
                self.set_written(target, &number.to_string())
            }
            (Form::Number { .. }, ValueInner::Float(number)) => self.set_fraction(target, *number),
            (Form::Number { .. }, ValueInner::Integer(number)) => {
                #[expect(clippy::cast_precision_loss, reason = "no bounds reach 2^53")]
                let number = *number as f64;
                self.set_fraction(target, number)
            }
            (
                Form::Text { .. }
                | Form::Time { .. }
                | Form::Size { .. }
                | Form::Choice { .. }
                | Form::Limit { .. },
                ValueInner::String(text),
            ) => self.set_written(target, text),
            (Form::Texts { .. }, ValueInner::Array(entries)) => {
                let texts = entries.iter().map(|entry| entry.as_str().map(str::to_owned));
                match texts.collect::<Option<Vec<_>>>() {
                    Some(texts) => self.set_list(target, texts),
                    None => Err(self.wrong_type(inner)),
                }
            }
            _ => Err(self.wrong_type(inner)),
        }
    }

    fn set_written(&self, target: &mut T, text: &str) -> Result<(), String> {
        match &self.form {
            Form::Text { chars_max, set, .. } => {
                if text.is_empty() {
                    return Err("it must not be empty: leave the key out instead".to_owned());
                }
                let count = text.chars().count();
                if count > *chars_max {
                    return Err(format!(
                        "it has {count} characters, and at most {chars_max} are allowed"
                    ));
                }
                set(target, text)
            }
            Form::Time { bounds, set, .. } => {
                set(target, within(parse_time(text)?, bounds, |time| show_time(*time))?);
                Ok(())
            }
            Form::Size { bounds, set, .. } => {
                set(target, within(parse_size(text)?, bounds, |bytes| show_size(*bytes))?);
                Ok(())
            }
            Form::Limit { set, .. } if text == NO_LIMIT => {
                set(target, None);
                Ok(())
            }
            Form::Limit { unit, bounds, set, .. } => {
                let limit = match unit {
                    Unit::Count => text.parse().map_err(|_| {
                        format!("`{}` is neither a whole number nor `{NO_LIMIT}`", shown(text))
                    }),
                    Unit::Bytes => parse_size(text),
                    Unit::Milliseconds => parse_time(text)
                        .map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
                }?;
                set(target, Some(within(limit, bounds, |limit| unit.show(*limit))?));
                Ok(())
            }
            Form::Choice { choices, set, .. } => {
                let word = choices.iter().find(|choice| **choice == text);
                set(
                    target,
                    word.ok_or_else(|| {
                        format!("`{}` is not one of {}", shown(text), quoted(choices))
                    })?,
                );
                Ok(())
            }
            _ => Err(self.wrong_type(&ValueInner::String(text.into()))),
        }
    }

    fn set_number(&self, target: &mut T, number: i64) -> Result<(), String> {
        let (Form::Count { bounds, set, .. } | Form::OptionalCount { bounds, set, .. }) =
            &self.form
        else {
            return Err(self.wrong_type(&ValueInner::Integer(number)));
        };
        let outside = || outside(&number, &bounds.min, &bounds.max, bounds.reason);
        let count = u64::try_from(number).map_err(|_| outside())?;
        set(target, within(count, bounds, u64::to_string)?);
        Ok(())
    }

    fn set_fraction(&self, target: &mut T, number: f64) -> Result<(), String> {
        let Form::Number { bounds, set, .. } = &self.form else {
            return Err(self.wrong_type(&ValueInner::Float(number)));
        };
        if number.is_nan() {
            return Err("it must be a number".to_owned());
        }
        set(target, within(number, bounds, f64::to_string)?);
        Ok(())
    }

    fn set_list(&self, target: &mut T, entries: Vec<String>) -> Result<(), String> {
        let Form::Texts { count_max, set, .. } = &self.form else {
            return Err(self.wrong_type(&ValueInner::Array(Vec::new())));
        };
        if entries.len() > *count_max {
            return Err(format!(
                "it has {} entries, and at most {count_max} are allowed",
                entries.len()
            ));
        }
        set(target, entries)
    }

    /// Says what the form is by an example in the author's own key.
    fn wrong_type(&self, found: &ValueInner<'_>) -> String {
        let name = self.name;
        let number = match found {
            ValueInner::Integer(number) if *number >= 0 => Some(*number),
            _ => None,
        };
        let (expected, example) = match &self.form {
            Form::Text { .. } => ("text in quotes", "\"…\"".to_owned()),
            Form::Flag { .. } => ("`true` or `false`, without quotes", "true".to_owned()),
            Form::Count { bounds, .. } | Form::OptionalCount { bounds, .. } => {
                ("a whole number, without quotes", bounds.min.to_string())
            }
            Form::Number { bounds, .. } => {
                ("a number, without quotes", format!("{:?}", bounds.min))
            }
            Form::Time { .. } => {
                ("a duration with its unit", format!("\"{}s\"", number.unwrap_or(30)))
            }
            Form::Size { .. } => {
                ("a size with its unit", format!("\"{}MiB\"", number.unwrap_or(64)))
            }
            Form::Limit { unit: Unit::Count, bounds, .. } => {
                ("a whole number, or \"none\"", bounds.min.to_string())
            }
            Form::Limit { unit: Unit::Bytes, .. } => {
                ("a size with its unit, or \"none\"", format!("\"{}MiB\"", number.unwrap_or(64)))
            }
            Form::Limit { unit: Unit::Milliseconds, .. } => {
                ("a duration with its unit, or \"none\"", format!("\"{}s\"", number.unwrap_or(30)))
            }
            Form::Choice { choices, .. } => {
                ("one of some words", format!("{:?}", choices.first().unwrap_or(&"…")))
            }
            Form::Texts { .. } | Form::Items { .. } => ("a list of texts", "[\"…\"]".to_owned()),
            Form::Section(_) | Form::Table { .. } | Form::Open { .. } => {
                return format!("it is a table: write `[{name}]` and its keys below that");
            }
        };
        format!(
            "expected {expected}, like `{name} = {example}`, but this is of type {}",
            found.type_str()
        )
    }
}

fn within<V: PartialOrd>(
    value: V,
    bounds: &Bounds<V>,
    show: impl Fn(&V) -> String,
) -> Result<V, String> {
    if value < bounds.min || value > bounds.max {
        return Err(outside(&show(&value), &show(&bounds.min), &show(&bounds.max), bounds.reason));
    }
    Ok(value)
}

fn outside(value: &dyn Display, min: &dyn Display, max: &dyn Display, reason: &str) -> String {
    format!("{value} is outside {min} to {max} ({reason})")
}

pub(super) fn quoted(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}
