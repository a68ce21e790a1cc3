//! The keys of `[export]`: who may call an agent from other zones.

use super::super::keys::{Document, Form, Key};
use super::super::{Export, Mistake};
use super::Draft;
use crate::AgentName;

/// Most zones that an agent is published to by name: beyond this, it is the world.
const ZONES_MAX: usize = 64;
/// Most words of its own that an agent is found by.
const TAGS_MAX: usize = 32;
/// Longest such word.
const TAG_MAX_BYTES: usize = 64;

fn export(draft: &mut Draft) -> &mut Export {
    draft.settings.export.get_or_insert_default()
}

/// What is missing of the table, once it was read.
pub(super) fn check(document: &Document, draft: &Draft) -> Option<Mistake> {
    let is_nobody = draft.settings.export.as_ref().is_some_and(|export| export.to.is_empty());
    let message = "`[export]` needs `to`: `[\"world\"]`, `[\"parent\"]` or names of zones";
    if is_nobody { document.mistake_at("export", message) } else { None }
}

pub(super) static EXPORT_KEYS: &[Key<Draft>] = &[
    Key {
        name: "to",
        meaning: "Who may find and call it: `world`, `parent` (the zone above), or zones by name, such as `eu.acme.example`.",
        form: Form::Texts {
            count_max: ZONES_MAX,
            get: |draft| draft.settings.export.clone().unwrap_or_default().to,
            set: |draft, zones| {
                let is_zone = |zone: &String| {
                    let legal = |c: char| {
                        c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-')
                    };
                    matches!(zone.as_str(), "world" | "parent")
                        || (zone.contains('.') && zone.chars().all(legal))
                };
                if let Some(bad) = zones.iter().find(|zone| !is_zone(zone)) {
                    return Err(format!(
                        "`{bad}` must be `world`, `parent` or a zone's name like `eu.acme.example`"
                    ));
                }
                export(draft).to = zones;
                Ok(())
            },
        },
    },
    Key {
        name: "name",
        meaning: "What it is called there, instead of its own name. No two exported agents of a zone have the same.",
        form: Form::Text {
            chars_max: 63,
            get: |draft| draft.settings.export.as_ref()?.name.as_ref().map(ToString::to_string),
            set: |draft, text| {
                let name = AgentName::new(text).map_err(|error| error.to_string())?;
                export(draft).name = Some(name);
                Ok(())
            },
        },
    },
    Key {
        name: "tags",
        meaning: "Words that other zones find it by, besides its own name and those of its tools.",
        form: Form::Texts {
            count_max: TAGS_MAX,
            get: |draft| draft.settings.export.clone().unwrap_or_default().tags,
            set: |draft, tags| {
                let is_word = |tag: &String| {
                    (1..=TAG_MAX_BYTES).contains(&tag.len())
                        && tag.chars().all(|c| c.is_alphanumeric() || c == '-')
                };
                if let Some(bad) = tags.iter().find(|tag| !is_word(tag)) {
                    return Err(format!("`{bad}` must be a single word of at most 64 letters"));
                }
                export(draft).tags = tags.iter().map(|tag| tag.to_lowercase()).collect();
                Ok(())
            },
        },
    },
];
