//! A parsed file, read key by key. Every mistake is collected; none stops the reading.

use toml_span::Value;
use toml_span::value::{Key as Name, ValueInner};

use super::super::Mistake;
use super::{Form, Key, MISTAKES_MAX, TEXT_MAX_BYTES, leaves};

/// A TOML file that parsed.
pub struct Document<'t> {
    text: &'t str,
    root: Value<'t>,
}

impl<'t> Document<'t> {
    /// Parses a file.
    ///
    /// # Errors
    /// The place at which it stops being TOML, or that it is too long.
    pub fn parse(text: &'t str) -> Result<Self, Vec<Mistake>> {
        if text.len() > TEXT_MAX_BYTES {
            let message = format!("the file is longer than {} KiB", TEXT_MAX_BYTES >> 10);
            return Err(vec![Mistake::at(text, 0, message)]);
        }
        match toml_span::parse(text) {
            Ok(root) => Ok(Self { text, root }),
            Err(error) => {
                let message = match &error.kind {
                    toml_span::ErrorKind::DuplicateKey { key, .. } => {
                        format!("`{key}` is set twice: keep one of them")
                    }
                    toml_span::ErrorKind::DuplicateTable { name, .. } => {
                        format!("`[{name}]` appears twice: join them into one")
                    }
                    _ => format!("not TOML: {error}"),
                };
                Err(vec![Mistake::at(text, error.span.start, message)])
            }
        }
    }

    /// Stores every key into `target`. Answers the mistakes, at most [`MISTAKES_MAX`], in the order
    /// of their places; what was right is stored all the same.
    pub fn read<T>(&self, keys: &'static [Key<T>], target: &mut T) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        let mut reader = Reader { text: self.text, mistakes: &mut mistakes };
        reader.table(keys, keys, "", &self.root, target);
        mistakes.sort();
        mistakes.truncate(MISTAKES_MAX);
        mistakes
    }

    /// Whether the file has a key at its root.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.root.as_table().is_some_and(|table| table.contains_key(name))
    }

    /// A mistake at a key of the root, when the file has that key.
    #[must_use]
    pub fn mistake_at(&self, name: &str, message: impl Into<String>) -> Option<Mistake> {
        let (key, _) = self.root.as_table()?.get_key_value(name)?;
        Some(Mistake::at(self.text, key.span.start, message))
    }
}

/// The entries of an open table: names that the author chose.
pub struct Entries<'r, 't> {
    reader: Reader<'r, 't>,
    path: &'r str,
    value: &'r Value<'t>,
}

impl<'t> Entries<'_, 't> {
    /// The whole as a table of these keys.
    pub fn read<E>(&mut self, keys: &'static [Key<E>], target: &mut E) {
        self.reader.table(keys, keys, &format!("{}.", self.path), self.value, target);
    }

    /// Calls `each` with every entry; an error is a mistake at that entry.
    pub fn each(&mut self, mut each: impl FnMut(&str, Entry<'_, 't>) -> Result<(), String>) {
        let Some(table) = self.value.as_table() else { return };
        for (name, value) in table {
            let path = format!("{}.{}", self.path, name.name);
            let mut mistakes = Vec::new();
            let reader = Reader { text: self.reader.text, mistakes: &mut mistakes };
            let result = each(&name.name, Entry { reader, path: &path, value });
            self.reader.mistakes.append(&mut mistakes);
            if let Err(message) = result {
                self.reader.mistake(name.span.start, format!("`{path}`: {message}"));
            }
        }
    }
}

/// One entry of an open table.
pub struct Entry<'r, 't> {
    reader: Reader<'r, 't>,
    path: &'r str,
    value: &'r Value<'t>,
}

impl Entry<'_, '_> {
    /// The entry as text.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        self.value.as_str()
    }

    /// The entry as a table of these keys.
    pub fn read<E>(&mut self, keys: &'static [Key<E>], target: &mut E) {
        self.reader.table(keys, keys, &format!("{}.", self.path), self.value, target);
    }
}

struct Reader<'r, 't> {
    text: &'t str,
    mistakes: &'r mut Vec<Mistake>,
}

impl<'t> Reader<'_, 't> {
    fn mistake(&mut self, offset: usize, message: String) {
        self.mistakes.push(Mistake::at(self.text, offset, message));
    }

    /// `all` are the keys of the whole file, to find one that was written in the wrong table.
    fn table<T>(
        &mut self,
        keys: &'static [Key<T>],
        all: &'static [Key<T>],
        prefix: &str,
        value: &Value<'t>,
        target: &mut T,
    ) {
        let Some(table) = value.as_table() else {
            let path = prefix.trim_end_matches('.');
            let message = format!("`{path}` is a table: write `[{path}]` and its keys below that");
            self.mistake(value.span.start, message);
            return;
        };
        for (name, value) in table {
            match keys.iter().find(|key| key.name == name.name) {
                Some(key) => self.key(key, all, prefix, name, value, target),
                None => {
                    let message = unknown(keys, all, prefix, &name.name);
                    self.mistake(name.span.start, message);
                }
            }
        }
    }

    fn key<T>(
        &mut self,
        key: &'static Key<T>,
        all: &'static [Key<T>],
        prefix: &str,
        name: &Name<'t>,
        value: &Value<'t>,
        target: &mut T,
    ) {
        let path = format!("{prefix}{}", key.name);
        match &key.form {
            Form::Section(inner) => self.table(inner, all, &format!("{path}."), value, target),
            Form::Table { read, .. } => {
                let reader = Reader { text: self.text, mistakes: &mut *self.mistakes };
                read(target, &mut Entries { reader, path: &path, value });
            }
            Form::Open { entries_max, read, .. } => match value.as_ref() {
                ValueInner::Table(table) if table.len() > *entries_max => {
                    let message = format!(
                        "`{path}` has {} entries, and at most {entries_max} are allowed",
                        table.len()
                    );
                    self.mistake(name.span.start, message);
                }
                ValueInner::Table(_) => {
                    let reader = Reader { text: self.text, mistakes: &mut *self.mistakes };
                    read(target, &mut Entries { reader, path: &path, value });
                }
                _ => self.mistake(
                    name.span.start,
                    format!("`{path}` is a table: write `[{path}]` and its keys below that"),
                ),
            },
            Form::Items { count_max, read, .. } => match value.as_array() {
                Some(items) if items.len() <= *count_max => {
                    for (index, value) in items.iter().enumerate() {
                        let path = format!("{path}[{index}]");
                        let reader = Reader { text: self.text, mistakes: &mut *self.mistakes };
                        if let Err(message) = read(target, Entry { reader, path: &path, value }) {
                            self.mistake(value.span.start, format!("`{path}`: {message}"));
                        }
                    }
                }
                Some(items) => {
                    let count = items.len();
                    self.mistake(
                        name.span.start,
                        format!(
                            "`{path}` has {count} entries, and at most {count_max} are allowed"
                        ),
                    );
                }
                None => {
                    let message = format!("`{path}` must be a list, like `{path} = [\"…\"]`");
                    self.mistake(name.span.start, message);
                }
            },
            _ => {
                if let Err(message) = key.set_value(target, value) {
                    self.mistake(name.span.start, format!("`{path}`: {message}"));
                }
            }
        }
    }
}

/// Names the nearest key of the same table, else the table in which the key does exist.
fn unknown<T>(keys: &'static [Key<T>], all: &'static [Key<T>], prefix: &str, name: &str) -> String {
    let nearest = nearest(name, keys.iter().map(|key| key.name)).map(str::to_owned);
    let elsewhere = || {
        let found = leaves(all).into_iter().find(|(_, key)| key.name == name)?;
        let place = found.0.rsplit_once('.').map_or_else(
            || "above the first `[table]`".to_owned(),
            |(section, _)| format!("below `[{section}]`"),
        );
        Some(format!("unknown key \"{prefix}{name}\": it belongs {place}"))
    };
    match (nearest, elsewhere()) {
        (Some(known), _) => format!("unknown key \"{prefix}{name}\", did you mean \"{known}\"?"),
        (None, Some(message)) => message,
        (None, None) => {
            let known: Vec<_> = keys.iter().map(|key| key.name).collect();
            format!("unknown key \"{prefix}{name}\": the keys here are {}", known.join(", "))
        }
    }
}

/// The known name that `name` was probably meant to be: at most a third of it differs.
#[must_use]
pub fn nearest<'k>(name: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    known
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .min()
        .filter(|(distance, candidate)| *distance * 3 <= candidate.len().max(name.len()))
        .map(|(_, candidate)| candidate)
}
