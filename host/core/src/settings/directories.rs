//! One entry of `directories` under `[policy]` or in a ceiling: a rule, or a table with a rule and its limits.

use super::keys::{Bounds, Entry, Form, Key, Row, reference};
use crate::policy::{DirectoryGrant, DirectoryLimits};

/// Longest rule: two of the longest paths that Linux knows.
const RULE_CHARS_MAX: usize = 2 * 4096;

/// An entry while it is read.
#[derive(Default)]
struct Draft {
    permit: Option<String>,
    limits: DirectoryLimits,
}

/// Reads an entry whose rule is read by `rule`.
///
/// # Errors
/// What is wrong with it, and what to write instead.
pub fn read(
    mut entry: Entry<'_, '_>,
    rule: impl Fn(&str) -> Result<DirectoryGrant, String>,
) -> Result<DirectoryGrant, String> {
    if let Some(text) = entry.as_text() {
        return rule(text);
    }
    let mut draft = Draft::default();
    entry.read(KEYS, &mut draft);
    let permit =
        draft.permit.ok_or("it needs `permit`, which says what to do with which directory")?;
    rule(&permit)?.with_limits(draft.limits)
}

/// The lines of the reference for such a table.
#[must_use]
pub fn rows() -> Vec<Row> {
    reference(KEYS)
}

static KEYS: &[Key<Draft>] = &[
    Key {
        name: "permit",
        meaning: "The directory, as a rule.",
        form: Form::Text {
            chars_max: RULE_CHARS_MAX,
            get: |draft| draft.permit.clone(),
            set: |draft, text| {
                draft.permit = Some(text.to_owned());
                Ok(())
            },
        },
    },
    Key::size(
        "size_max",
        "How long all files in a `write` directory may be together, whoever wrote them.",
        Bounds::new(
            0,
            1 << 50,
            "0 lets files be made and deleted, and more belongs to a file system with a quota of its own",
        ),
        |draft| draft.limits.size_max_bytes,
        |draft, bytes| draft.limits.size_max_bytes = bytes,
    ),
    Key::count(
        "files_max",
        "How many files, links and directories may be in a `write` directory and below.",
        Bounds::new(
            0,
            1_000_000,
            "0 lets files be changed and none be made; they are counted again and again, which takes a second for so many",
        ),
        |draft| draft.limits.files_max,
        |draft, count| draft.limits.files_max = count,
    ),
];
