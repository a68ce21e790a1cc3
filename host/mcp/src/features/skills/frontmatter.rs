//! The YAML at the beginning of a `SKILL.md`.
//!
//! What it says goes out as JSON, whole: clients hold it against the file. So only what JSON can say is accepted, and
//! what would grow when it is written as JSON is not: aliases are refused before anything is read.

use rmcp::model::{JsonObject, SkillFrontmatter};
use serde_json::Value;
use serde_saphyr::options::MergeKeyPolicy;

use crate::content::{BadContent, shown};

/// The longest frontmatter: descriptions have 1,024 characters, and the rest is little beside them.
const LENGTH_MAX_BYTES: usize = 16 << 10;
/// The deepest nesting, with the frontmatter itself.
const DEPTH_MAX: usize = 16;
/// The longest description (Agent Skills).
const DESCRIPTION_MAX_CHARS: usize = 1024;
/// Keys of `metadata` that extensions of MCP define; none has defined one yet.
const RESERVED: &str = "io.modelcontextprotocol/";

/// The frontmatter of a `SKILL.md` of the skill `name`.
///
/// # Errors
/// The rule that it breaks.
pub(super) fn of(text: &str, name: &str) -> Result<SkillFrontmatter, BadContent> {
    let yaml = block(text).ok_or_else(|| {
        BadContent::new("its `SKILL.md` must begin with YAML between two lines `---`")
    })?;
    if yaml.len() > LENGTH_MAX_BYTES {
        let reason = format!("its frontmatter has more than {LENGTH_MAX_BYTES} bytes");
        return Err(BadContent::new(reason));
    }
    let mut fields = parse(yaml)?;
    if fields.remove("name").as_ref().and_then(Value::as_str) != Some(name) {
        let reason = format!("the `name` in its frontmatter must be `{name}`");
        return Err(BadContent::new(reason));
    }
    let description = fields.remove("description");
    let description = description.as_ref().and_then(Value::as_str).filter(|text| {
        !text.trim().is_empty() && text.chars().nth(DESCRIPTION_MAX_CHARS).is_none()
    });
    let Some(description) = description else {
        return Err(BadContent::new(format!(
            "the `description` in its frontmatter must have 1 to {DESCRIPTION_MAX_CHARS} characters"
        )));
    };
    let metadata = fields.get("metadata").and_then(Value::as_object);
    if metadata.is_some_and(|metadata| metadata.keys().any(|key| key.starts_with(RESERVED))) {
        let reason =
            format!("keys of `metadata` may not begin with `{RESERVED}`: MCP defines those");
        return Err(BadContent::new(reason));
    }
    let mut frontmatter = SkillFrontmatter::new(name, description);
    frontmatter.extra = fields;
    Ok(frontmatter)
}

/// What is between the first line, `---`, and the next of its kind.
fn block(text: &str) -> Option<&str> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = text.split_inclusive('\n');
    let is_fence = |line: &str| line.trim_end() == "---";
    let first = lines.next().filter(|line| line.trim_end_matches(['\r', '\n']) == "---")?;
    let begin = first.len();
    let mut end = begin;
    for line in lines {
        if is_fence(line) {
            return Some(&text[begin..end]);
        }
        end += line.len();
    }
    None
}

/// Reads YAML 1.2, whose plain words mean the same to every client: `no` is a word, `true` is not.
fn parse(yaml: &str) -> Result<JsonObject, BadContent> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            flow_nesting_limit: DEPTH_MAX,
            max_aliases: 0,
            max_anchors: 0,
            max_depth: DEPTH_MAX,
            max_documents: 1,
        },
        merge_keys: MergeKeyPolicy::Error,
        reject_unsupported_tags: true,
        strict_booleans: true,
        underscored_numbers_as_strings: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(yaml, options).map_err(|error| {
        let error = error.to_string();
        let first = shown(error.lines().next().unwrap_or_default());
        BadContent::new(format!("its frontmatter is no YAML that JSON can say: {first}"))
    })
}
