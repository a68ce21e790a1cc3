//! Where in a file each key is, so that whoever is told of a setting can go there.

use std::collections::BTreeMap;

use toml_span::Value;
use toml_span::value::ValueInner;

/// The lines of a file's keys, by their path: `policy.http`, and `policy.http[1]` for an entry of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lines(BTreeMap<String, usize>);

impl Lines {
    /// Reads a file; one that is not TOML has none.
    #[must_use]
    pub fn in_text(text: &str) -> Self {
        let mut lines = Self::default();
        if let Ok(root) = toml_span::parse(text) {
            lines.walk(&Index::of(text), "", &root);
        }
        lines
    }

    /// The line of a key, counted from 1.
    #[must_use]
    pub fn of(&self, path: &str) -> Option<usize> {
        self.0.get(path).copied()
    }

    fn walk(&mut self, index: &Index, path: &str, value: &Value<'_>) {
        match value.as_ref() {
            ValueInner::Table(table) => {
                for (name, value) in table {
                    let path = if path.is_empty() {
                        name.name.to_string()
                    } else {
                        format!("{path}.{}", name.name)
                    };
                    self.0.insert(path.clone(), index.line(name.span.start).0);
                    self.walk(index, &path, value);
                }
            }
            ValueInner::Array(entries) => {
                for (at, entry) in entries.iter().enumerate() {
                    let path = format!("{path}[{at}]");
                    self.0.insert(path.clone(), index.line(entry.span.start).0);
                    self.walk(index, &path, entry);
                }
            }
            _ => {}
        }
    }
}

/// Where each line begins.
pub(super) struct Index(Vec<usize>);

impl Index {
    pub(super) fn of(text: &str) -> Self {
        Self(text.match_indices('\n').map(|(at, _)| at + 1).collect())
    }

    /// The line of a byte, counted from 1, and where that line begins.
    pub(super) fn line(&self, offset: usize) -> (usize, usize) {
        let above = self.0.partition_point(|begin| *begin <= offset);
        (above + 1, above.checked_sub(1).map_or(0, |last| self.0[last]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_entries_have_lines() {
        let text = "timeout = \"1s\"\n\n[policy]\nhttp = [\n  \"https://a.test\",\n  { permit = \"https://b.test\" },\n]\n";
        let lines = Lines::in_text(text);
        let of = |path: &str| lines.of(path);
        assert_eq!((of("timeout"), of("policy"), of("policy.http")), (Some(1), Some(3), Some(4)));
        assert_eq!((of("policy.http[0]"), of("policy.http[1].permit")), (Some(5), Some(6)));
        assert_eq!((of("policy.tools"), Lines::in_text("=").of("")), (None, None));
    }
}
