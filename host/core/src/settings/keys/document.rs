//! A parsed file, read key by key. No mistake stops the reading; the first [`MISTAKES_MAX`] are collected, and once there
//! are so many, nothing is spent on explaining more of them: a file may be nothing but mistakes, and strangers send some.

use toml_span::Value;
use toml_span::value::{Key as Name, ValueInner};

use super::super::Mistake;
use super::super::lines::Index;
use super::super::mistake::{NAME_CHARS_MAX, shown};
use super::{Form, Key, MISTAKES_MAX, TEXT_MAX_BYTES, leaves};

/// A TOML file that parsed.
pub struct Document<'t> {
    text: &'t str,
    index: Index,
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
            return Err(vec![Mistake { line: 1, column: 1, message }]);
        }
        let index = Index::of(text);
        match toml_span::parse(text) {
            Ok(root) => Ok(Self { text, index, root }),
            Err(error) => {
                let message = match &error.kind {
                    toml_span::ErrorKind::DuplicateKey { key, .. } => {
                        format!("`{}` is set twice: keep one of them", shown(key))
                    }
                    toml_span::ErrorKind::DuplicateTable { name, .. } => {
                        format!("`[{}]` appears twice: join them into one", shown(name))
                    }
                    _ => format!("not TOML: {error}"),
                };
                Err(vec![Mistake::at(text, &index, error.span.start, &message)])
            }
        }
    }

    /// Stores every key into `target`. Answers the mistakes that were found first, at most [`MISTAKES_MAX`], in the
    /// order of their places; what was right is stored all the same.
    pub fn read<T>(&self, keys: &'static [Key<T>], target: &mut T) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        let mut reader = Reader { text: self.text, index: &self.index, mistakes: &mut mistakes };
        reader.table(keys, keys, "", &self.root, target);
        mistakes.sort();
        mistakes
    }

    /// Whether the file has a key at its root.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.root.as_table().is_some_and(|table| table.contains_key(name))
    }

    /// A mistake at a key of the root, when the file has that key.
    #[must_use]
    pub fn mistake_at(&self, name: &str, message: &str) -> Option<Mistake> {
        let (key, _) = self.root.as_table()?.get_key_value(name)?;
        Some(Mistake::at(self.text, &self.index, key.span.start, message))
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
            let path = format!("{}.{}", self.path, shown(&name.name));
            let reader = self.reader.again();
            if let Err(message) = each(&name.name, Entry { reader, path: &path, value }) {
                self.reader.mistake(name.span.start, || format!("`{path}`: {message}"));
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
    index: &'r Index,
    mistakes: &'r mut Vec<Mistake>,
}

impl<'t> Reader<'_, 't> {
    fn again(&mut self) -> Reader<'_, 't> {
        Reader { text: self.text, index: self.index, mistakes: self.mistakes }
    }

    /// The message is put together only while there is room for it.
    fn mistake(&mut self, offset: usize, message: impl FnOnce() -> String) {
        if self.mistakes.len() < MISTAKES_MAX {
            self.mistakes.push(Mistake::at(self.text, self.index, offset, &message()));
        }
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
            self.mistake(value.span.start, || no_table(prefix.trim_end_matches('.')));
            return;
        };
        for (name, value) in table {
            match keys.iter().find(|key| key.name == name.name) {
                Some(key) => self.key(key, all, prefix, name, value, target),
                None => {
                    self.mistake(name.span.start, || unknown(keys, all, prefix, &name.name));
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
                read(target, &mut Entries { reader: self.again(), path: &path, value });
            }
            Form::Open { entries_max, read, .. } => match value.as_ref() {
                ValueInner::Table(table) if table.len() > *entries_max => {
                    self.mistake(name.span.start, || too_many(&path, table.len(), *entries_max));
                }
                ValueInner::Table(_) => {
                    read(target, &mut Entries { reader: self.again(), path: &path, value });
                }
                _ => self.mistake(name.span.start, || no_table(&path)),
            },
            Form::Items { count_max, read, .. } => match value.as_array() {
                Some(items) if items.len() <= *count_max => {
                    for (index, value) in items.iter().enumerate() {
                        let path = format!("{path}[{index}]");
                        let entry = Entry { reader: self.again(), path: &path, value };
                        if let Err(message) = read(target, entry) {
                            self.mistake(value.span.start, || format!("`{path}`: {message}"));
                        }
                    }
                }
                Some(items) => {
                    self.mistake(name.span.start, || too_many(&path, items.len(), *count_max));
                }
                None => self.mistake(name.span.start, || {
                    format!("`{path}` must be a list, like `{path} = [\"…\"]`")
                }),
            },
            _ => {
                if let Err(message) = key.set_value(target, value) {
                    self.mistake(name.span.start, || format!("`{path}`: {message}"));
                }
            }
        }
    }
}

fn no_table(path: &str) -> String {
    format!("`{path}` is a table: write `[{path}]` and its keys below that")
}

fn too_many(path: &str, count: usize, count_max: usize) -> String {
    format!("`{path}` has {count} entries, and at most {count_max} are allowed")
}

/// Names the nearest key of the same table, else the table in which the key does exist.
fn unknown<T>(keys: &'static [Key<T>], all: &'static [Key<T>], prefix: &str, name: &str) -> String {
    let nearest = nearest(name, keys.iter().map(|key| key.name));
    let elsewhere = || {
        let found = leaves(all).into_iter().find(|(_, key)| key.name == name)?;
        let place = found.0.rsplit_once('.').map_or_else(
            || "above the first `[table]`".to_owned(),
            |(section, _)| format!("below `[{section}]`"),
        );
        Some(format!("unknown key \"{prefix}{name}\": it belongs {place}"))
    };
    let elsewhere = elsewhere();
    let name = shown(name);
    match (nearest, elsewhere) {
        (Some(known), _) => format!("unknown key \"{prefix}{name}\", did you mean \"{known}\"?"),
        (None, Some(message)) => message,
        (None, None) => {
            let known: Vec<_> = keys.iter().map(|key| key.name).collect();
            format!("unknown key \"{prefix}{name}\": the keys here are {}", known.join(", "))
        }
    }
}

/// The known name that `name` was probably meant to be: at most a third of it differs. None for a name that is longer than
/// people write.
#[must_use]
pub fn nearest<'k>(name: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    if name.chars().nth(NAME_CHARS_MAX).is_some() {
        return None;
    }
    known
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .min()
        .filter(|(distance, candidate)| *distance * 3 <= candidate.len().max(name.len()))
        .map(|(_, candidate)| candidate)
}
