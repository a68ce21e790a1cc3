//! Keys of a TOML file, declared once: what each is called, what it may hold, why, and where its
//! value goes. A file is read, an environment variable is set and the reference is printed from the
//! same declaration, so none of them can drift from the others.
//!
//! A [`Key`] writes straight into the target type through function pointers, and reads the default
//! out of `T::default()`; there is no untyped map in between whose names could be misspelt.

mod document;
mod scalar;

use std::time::Duration;

pub use document::{Document, Entries, Entry, nearest};

use super::{show_size, show_time};

/// The most text that is read as settings: far more than a person writes, and little enough that a
/// hostile upload costs nothing.
pub const TEXT_MAX_BYTES: usize = 1 << 20;
/// The most mistakes that are reported; a wholly different file would otherwise yield thousands.
pub const MISTAKES_MAX: usize = 100;

/// One key of a table in `T`'s file.
pub struct Key<T: 'static> {
    /// As written: `snake_case`.
    pub name: &'static str,
    /// What it does, in a sentence.
    pub meaning: &'static str,
    /// What it holds.
    pub form: Form<T>,
}

/// What a value must lie between, ends included, and why.
#[derive(Debug, Clone, Copy)]
pub struct Bounds<V> {
    /// The least.
    pub min: V,
    /// The most.
    pub max: V,
    /// Why not less or more.
    pub reason: &'static str,
}

/// What a key holds, how it is stored and how it is read back for the reference.
pub enum Form<T: 'static> {
    /// Text that is not empty.
    Text {
        /// The most characters.
        chars_max: usize,
        /// Reads it; none when there is no default.
        get: fn(&T) -> Option<String>,
        /// Stores it, or says what it should look like.
        set: fn(&mut T, &str) -> Result<(), String>,
    },
    /// `true` or `false`.
    Flag {
        /// Reads it; none when there is no default.
        get: fn(&T) -> Option<bool>,
        /// Stores it.
        set: fn(&mut T, bool),
    },
    /// A whole number.
    Count {
        /// Ends.
        bounds: Bounds<u64>,
        /// Reads it.
        get: fn(&T) -> u64,
        /// Stores it.
        set: fn(&mut T, u64),
    },
    /// A whole number that may be left out.
    OptionalCount {
        /// Ends.
        bounds: Bounds<u64>,
        /// Reads it; none when there is no default.
        get: fn(&T) -> Option<u64>,
        /// Stores it.
        set: fn(&mut T, u64),
    },
    /// A limit that need not be there: a number, size or duration, or the word `none`.
    Limit {
        /// What its number counts.
        unit: Unit,
        /// Ends.
        bounds: Bounds<u64>,
        /// Reads it; none is no limit.
        get: fn(&T) -> Option<u64>,
        /// Stores it.
        set: fn(&mut T, Option<u64>),
    },
    /// A number that need not be whole.
    Number {
        /// Ends.
        bounds: Bounds<f64>,
        /// Reads it; none when there is no default.
        get: fn(&T) -> Option<f64>,
        /// Stores it.
        set: fn(&mut T, f64),
    },
    /// A duration with its unit, as text.
    Time {
        /// Ends.
        bounds: Bounds<Duration>,
        /// Reads it.
        get: fn(&T) -> Duration,
        /// Stores it.
        set: fn(&mut T, Duration),
    },
    /// A number of bytes with its unit, as text.
    Size {
        /// Ends.
        bounds: Bounds<u64>,
        /// Reads it.
        get: fn(&T) -> u64,
        /// Stores it.
        set: fn(&mut T, u64),
    },
    /// One of some words.
    Choice {
        /// The words.
        choices: &'static [&'static str],
        /// Reads it; none when there is no default.
        get: fn(&T) -> Option<&'static str>,
        /// Stores it.
        set: fn(&mut T, &'static str),
    },
    /// A list of texts.
    Texts {
        /// The most entries.
        count_max: usize,
        /// Reads it.
        get: fn(&T) -> Vec<String>,
        /// Stores it, or says what is wrong.
        set: fn(&mut T, Vec<String>) -> Result<(), String>,
    },
    /// A list of texts, or of tables for what a text cannot say.
    Items {
        /// The most entries.
        count_max: usize,
        /// Reads it, each entry as it would be shown.
        get: fn(&T) -> Vec<String>,
        /// Stores one entry.
        read: fn(&mut T, Entry<'_, '_>) -> Result<(), String>,
        /// The rows of the reference for such a table.
        rows: fn() -> Vec<Row>,
    },
    /// A table of these keys.
    Section(&'static [Key<T>]),
    /// A table of something else's keys.
    Table {
        /// Stores it.
        read: fn(&mut T, &mut Entries<'_, '_>),
        /// The rows of the reference below it.
        rows: fn() -> Vec<Row>,
    },
    /// A table whose keys the author chooses.
    Open {
        /// What stands for such a key in the reference.
        placeholder: &'static str,
        /// The most entries.
        entries_max: usize,
        /// Stores the entries.
        read: fn(&mut T, &mut Entries<'_, '_>),
        /// The rows of the reference below it, relative to one entry.
        rows: fn() -> Vec<Row>,
    },
}

/// What a [`Form::Limit`] counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Things; written as a number.
    Count,
    /// Bytes; written as a size.
    Bytes,
    /// Milliseconds; written as a duration.
    Milliseconds,
}

impl Unit {
    /// A value as it is written in a file, without quotes.
    #[must_use]
    pub fn show(self, value: u64) -> String {
        match self {
            Self::Count => value.to_string(),
            Self::Bytes => show_size(value),
            Self::Milliseconds => show_time(Duration::from_millis(value)),
        }
    }
}

/// One line of the reference.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Row {
    /// The key with its sections: `warm.idle`.
    pub key: String,
    /// What kind of value it takes.
    pub form: String,
    /// What holds without it; empty for nothing.
    pub default: String,
    /// What it must lie between and why; empty for no bounds.
    pub bounds: String,
    /// What it does.
    pub meaning: String,
}

/// Every key as a line of the reference, in the declared order.
#[must_use]
pub fn reference<T: Default>(keys: &'static [Key<T>]) -> Vec<Row> {
    let mut rows = Vec::new();
    describe(keys, "", &T::default(), &mut rows);
    rows
}

/// Every key that is not a table, with its path joined by `.`.
#[must_use]
pub fn leaves<T>(keys: &'static [Key<T>]) -> Vec<(String, &'static Key<T>)> {
    fn walk<T>(keys: &'static [Key<T>], prefix: &str, found: &mut Vec<(String, &'static Key<T>)>) {
        for key in keys {
            let path = format!("{prefix}{}", key.name);
            match &key.form {
                Form::Section(inner) => walk(inner, &format!("{path}."), found),
                Form::Open { .. } | Form::Table { .. } => {}
                _ => found.push((path, key)),
            }
        }
    }
    let mut found = Vec::new();
    walk(keys, "", &mut found);
    found
}

fn describe<T>(keys: &'static [Key<T>], prefix: &str, defaults: &T, rows: &mut Vec<Row>) {
    for key in keys {
        let path = format!("{prefix}{}", key.name);
        match &key.form {
            Form::Section(inner) => describe(inner, &format!("{path}."), defaults, rows),
            Form::Table { rows: inner, .. } => {
                let below = |row: Row| Row { key: format!("{path}.{}", row.key), ..row };
                rows.extend(inner().into_iter().map(below));
            }
            Form::Open { placeholder, rows: inner, .. } => {
                for row in inner() {
                    let tail =
                        if row.key.is_empty() { String::new() } else { format!(".{}", row.key) };
                    rows.push(Row { key: format!("{path}.{placeholder}{tail}"), ..row });
                }
            }
            form => {
                rows.push(Row {
                    key: path.clone(),
                    form: form.kind(),
                    default: form.show(defaults),
                    bounds: form.bounds(),
                    meaning: key.meaning.to_owned(),
                });
                if let Form::Items { rows: inner, .. } = form {
                    let below = |row: Row| Row { key: format!("{path}[].{}", row.key), ..row };
                    rows.extend(inner().into_iter().map(below));
                }
            }
        }
    }
}

/// Short forms of declarations.
impl<T> Key<T> {
    /// `true` or `false`.
    pub const fn flag(
        name: &'static str,
        meaning: &'static str,
        get: fn(&T) -> Option<bool>,
        set: fn(&mut T, bool),
    ) -> Self {
        Self { name, meaning, form: Form::Flag { get, set } }
    }

    /// A whole number.
    pub const fn count(
        name: &'static str,
        meaning: &'static str,
        bounds: Bounds<u64>,
        get: fn(&T) -> u64,
        set: fn(&mut T, u64),
    ) -> Self {
        Self { name, meaning, form: Form::Count { bounds, get, set } }
    }

    /// A duration.
    pub const fn time(
        name: &'static str,
        meaning: &'static str,
        bounds: Bounds<Duration>,
        get: fn(&T) -> Duration,
        set: fn(&mut T, Duration),
    ) -> Self {
        Self { name, meaning, form: Form::Time { bounds, get, set } }
    }

    /// A number of bytes.
    pub const fn size(
        name: &'static str,
        meaning: &'static str,
        bounds: Bounds<u64>,
        get: fn(&T) -> u64,
        set: fn(&mut T, u64),
    ) -> Self {
        Self { name, meaning, form: Form::Size { bounds, get, set } }
    }

    /// A limit that need not be there.
    pub const fn limit(
        name: &'static str,
        meaning: &'static str,
        (unit, bounds): (Unit, Bounds<u64>),
        get: fn(&T) -> Option<u64>,
        set: fn(&mut T, Option<u64>),
    ) -> Self {
        Self { name, meaning, form: Form::Limit { unit, bounds, get, set } }
    }

    /// A table of keys.
    pub const fn section(name: &'static str, meaning: &'static str, keys: &'static [Self]) -> Self {
        Self { name, meaning, form: Form::Section(keys) }
    }
}

impl<V> Bounds<V> {
    /// The ends and the reason for them.
    pub const fn new(min: V, max: V, reason: &'static str) -> Self {
        Self { min, max, reason }
    }
}

impl<T> Key<T> {
    /// The value in `target`, as it would be written in a file; empty for none and for tables.
    #[must_use]
    pub fn show(&self, target: &T) -> String {
        self.form.show(target)
    }
}

impl<T> Form<T> {
    /// What kind of value it takes, for the reference.
    fn kind(&self) -> String {
        match self {
            Self::Text { .. } => "text".to_owned(),
            Self::Flag { .. } => "`true` or `false`".to_owned(),
            Self::Count { .. } | Self::OptionalCount { .. } | Self::Number { .. } => {
                "number".to_owned()
            }
            Self::Limit { unit, .. } => match unit {
                Unit::Count => "number or `none`".to_owned(),
                Unit::Bytes => "size or `none`".to_owned(),
                Unit::Milliseconds => "duration or `none`".to_owned(),
            },
            Self::Time { .. } => "duration".to_owned(),
            Self::Size { .. } => "size".to_owned(),
            Self::Choice { choices, .. } => scalar::quoted(choices),
            Self::Texts { .. } => "list of texts".to_owned(),
            Self::Items { .. } => "list of texts or tables".to_owned(),
            Self::Section(_) | Self::Table { .. } | Self::Open { .. } => "table".to_owned(),
        }
    }

    fn show(&self, target: &T) -> String {
        match self {
            Self::Text { get, .. } => {
                get(target).map(|text| format!("{text:?}")).unwrap_or_default()
            }
            Self::Flag { get, .. } => get(target).map(|flag| flag.to_string()).unwrap_or_default(),
            Self::Count { get, .. } => get(target).to_string(),
            Self::OptionalCount { get, .. } => {
                get(target).map(|count| count.to_string()).unwrap_or_default()
            }
            Self::Limit { unit, get, .. } => match (get(target), unit) {
                (None, _) => format!("{:?}", scalar::NO_LIMIT),
                (Some(count), Unit::Count) => count.to_string(),
                (Some(value), unit) => format!("{:?}", unit.show(value)),
            },
            Self::Number { get, .. } => {
                get(target).map(|number| number.to_string()).unwrap_or_default()
            }
            Self::Time { get, .. } => format!("{:?}", show_time(get(target))),
            Self::Size { get, .. } => format!("{:?}", show_size(get(target))),
            Self::Choice { get, .. } => {
                get(target).map(|word| format!("{word:?}")).unwrap_or_default()
            }
            Self::Texts { get, .. } | Self::Items { get, .. } => format!("{:?}", get(target)),
            Self::Section(_) | Self::Table { .. } | Self::Open { .. } => String::new(),
        }
    }

    fn bounds(&self) -> String {
        match self {
            Self::Text { chars_max, .. } => format!("at most {chars_max} characters"),
            Self::Count { bounds, .. } | Self::OptionalCount { bounds, .. } => {
                range(bounds.min, bounds.max, bounds.reason)
            }
            Self::Limit { unit, bounds, .. } => {
                range(unit.show(bounds.min), unit.show(bounds.max), bounds.reason)
            }
            Self::Number { bounds, .. } => range(bounds.min, bounds.max, bounds.reason),
            Self::Time { bounds, .. } => {
                range(show_time(bounds.min), show_time(bounds.max), bounds.reason)
            }
            Self::Size { bounds, .. } => {
                range(show_size(bounds.min), show_size(bounds.max), bounds.reason)
            }
            Self::Texts { count_max, .. } | Self::Items { count_max, .. } => {
                format!("at most {count_max} entries")
            }
            Self::Flag { .. }
            | Self::Choice { .. }
            | Self::Section(_)
            | Self::Table { .. }
            | Self::Open { .. } => String::new(),
        }
    }
}

fn range(min: impl std::fmt::Display, max: impl std::fmt::Display, reason: &str) -> String {
    format!("{min} to {max}: {reason}")
}
