//! A skill as an agent hands it out, held against the rules: those of Agent Skills for its name and its frontmatter,
//! those of the extension for its size, and those of URIs for its paths.

use std::collections::BTreeMap;

use aop_core::{AgentName, Digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rmcp::model::{
    Resource, SKILL_MD, Skill as SkillEntry, SkillFrontmatter, SkillResource, SkillResources,
};
use serde::Deserialize;

use super::frontmatter;
use crate::content::{self, BadContent, Body, shown};

/// What a `SKILL.md` is when its agent does not say.
const MARKDOWN: &str = "text/markdown";
/// The most files of a skill: what every client that conforms to the extension takes.
const FILES_MAX: usize = 512;
/// The most bytes of all files of a skill: the same.
const TOTAL_MAX_BYTES: u64 = 16 << 20;
/// The most skills that one answer may list: more than a model chooses from. Each is hashed and its frontmatter parsed.
const SKILLS_MAX: usize = 256;
/// The longest name of a skill (Agent Skills).
const NAME_MAX_BYTES: usize = 64;
/// The longest path of a file: it goes into a URI, which may not grow with what is in front of it.
const PATH_MAX_BYTES: usize = 255;
/// The deepest path of a file: deeper than any skill that a person sorts.
const PATH_MAX_SEGMENTS: usize = 16;

/// A skill that keeps the rules.
#[derive(Debug)]
pub(super) struct Skill {
    agent: AgentName,
    pub(super) name: String,
    frontmatter: SkillFrontmatter,
    /// By their paths.
    pub(super) files: BTreeMap<String, File>,
    is_dynamic: bool,
}

/// A file of a skill.
#[derive(Debug)]
pub(super) struct File {
    pub(super) mime_type: Option<String>,
    pub(super) body: Body,
    size_bytes: u64,
    digest: Digest,
}

/// A skill as the codec writes it.
#[derive(Deserialize)]
struct Offered {
    name: String,
    files: Vec<OfferedFile>,
    dynamic: bool,
}

#[derive(Deserialize)]
struct OfferedFile {
    path: String,
    mime_type: Option<String>,
    body: Body,
}

/// What `list` answered: every skill, or the rule that it breaks.
///
/// # Errors
/// It is no list of skills.
pub(super) fn all(
    agent: &AgentName,
    json: &str,
) -> Result<Vec<Result<Skill, BadContent>>, BadContent> {
    let offered: Vec<Offered> =
        serde_json::from_str(json).map_err(|error| BadContent::new(error.to_string()))?;
    if offered.len() > SKILLS_MAX {
        return Err(BadContent::new(format!(
            "it lists {} skills; {SKILLS_MAX} are the most: list those that matter, `get` finds the others",
            offered.len()
        )));
    }
    Ok(offered.into_iter().map(|offered| offered.checked(agent)).collect())
}

/// What `get` answered.
///
/// # Errors
/// The rule that it breaks.
pub(super) fn one(agent: &AgentName, json: &str) -> Result<Skill, BadContent> {
    let offered: Offered =
        serde_json::from_str(json).map_err(|error| BadContent::new(error.to_string()))?;
    offered.checked(agent)
}

/// Whether Agent Skills allows a name.
pub(super) fn is_name(name: &str) -> bool {
    let letters = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=NAME_MAX_BYTES).contains(&name.len())
        && name.bytes().all(letters)
        && name.split('-').all(|part| !part.is_empty())
}

/// Checks the path of a file. What it is made of needs no escape in a URI, so that a path and the end of its URI are
/// the same text.
///
/// # Errors
/// The rule that it breaks.
pub(super) fn check_path(path: &str) -> Result<(), BadContent> {
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(&byte);
    let is_segment = |part: &str| !matches!(part, "" | "." | "..") && part.bytes().all(letters);
    if path.len() > PATH_MAX_BYTES || path.split('/').count() > PATH_MAX_SEGMENTS {
        return Err(BadContent::new(format!(
            "the path `{}` has more than {PATH_MAX_BYTES} bytes or {PATH_MAX_SEGMENTS} segments",
            shown(path)
        )));
    }
    if !path.split('/').all(is_segment) {
        return Err(BadContent::new(format!(
            "the path `{}` must be segments of letters, digits and -._~!$&'()*+,;=:@ with `/` between them, none of them `.` or `..`",
            shown(path)
        )));
    }
    Ok(())
}

impl Offered {
    fn checked(self, agent: &AgentName) -> Result<Skill, BadContent> {
        let named = shown(&self.name);
        self.skill(agent).map_err(|bad| BadContent::new(format!("skill `{named}`: {bad}")))
    }

    fn skill(self, agent: &AgentName) -> Result<Skill, BadContent> {
        let Self { name, files, dynamic } = self;
        if !is_name(&name) {
            return Err(BadContent::new(format!(
                "its name must be 1 to {NAME_MAX_BYTES} of a-z, 0-9 and single hyphens between them"
            )));
        }
        let files = checked(files)?;
        let Some(File { body: Body::Text(text), .. }) = files.get(SKILL_MD) else {
            return Err(BadContent::new(format!("it has no text `{SKILL_MD}`")));
        };
        let frontmatter = frontmatter::of(text, &name)?;
        let agent = agent.clone();
        Ok(Skill { agent, name, frontmatter, files, is_dynamic: dynamic })
    }
}

/// The files by their paths.
fn checked(offered: Vec<OfferedFile>) -> Result<BTreeMap<String, File>, BadContent> {
    if offered.len() > FILES_MAX {
        return Err(BadContent::new(format!(
            "it has {} files; clients take {FILES_MAX}",
            offered.len()
        )));
    }
    let (mut files, mut total_bytes) = (BTreeMap::new(), 0);
    for OfferedFile { path, mime_type, body } in offered {
        check_path(&path)?;
        let file = File::new(&path, mime_type, body)?;
        total_bytes += file.size_bytes;
        if files.insert(path.clone(), file).is_some() {
            return Err(BadContent::new(format!("it has two files `{path}`")));
        }
    }
    if total_bytes > TOTAL_MAX_BYTES {
        return Err(BadContent::new(format!(
            "its files have {total_bytes} bytes together; clients take {TOTAL_MAX_BYTES}"
        )));
    }
    for path in files.keys() {
        let above = path.match_indices('/').map(|(end, _)| &path[..end]);
        if let Some(file) = above.into_iter().find(|above| files.contains_key(*above)) {
            return Err(BadContent::new(format!("`{file}` is a file and a directory")));
        }
    }
    Ok(files)
}

impl File {
    fn new(path: &str, mime_type: Option<String>, body: Body) -> Result<Self, BadContent> {
        let mime_type = mime_type.map(content::mime).transpose()?;
        let markdown = || (path == SKILL_MD).then(|| MARKDOWN.to_owned());
        let (size, digest) = match &body {
            Body::Text(text) => (text.len(), Digest::of(text.as_bytes())),
            Body::Blob(blob) => {
                let bytes = BASE64.decode(blob).map_err(|error| {
                    BadContent::new(format!("`{path}` is not what the codec writes: {error}"))
                })?;
                (bytes.len(), Digest::of(&bytes))
            }
        };
        let size_bytes = u64::try_from(size).unwrap_or(u64::MAX);
        Ok(Self { mime_type: mime_type.or_else(markdown), body, size_bytes, digest })
    }
}

impl Skill {
    /// The URI of a file or directory in it.
    pub(super) fn uri(&self, path: &str) -> String {
        format!("skill://{}/{}/{path}", self.agent, self.name)
    }

    /// As lists of skills show it.
    pub(super) fn entry(&self) -> SkillEntry {
        let resource = |(path, file): (&String, &File)| {
            SkillResource::new(self.uri(path), file.digest.to_string(), file.size_bytes)
        };
        let resources = if self.is_dynamic {
            SkillResources::Dynamic
        } else {
            SkillResources::Files(self.files.iter().map(resource).collect())
        };
        SkillEntry::new(self.uri(SKILL_MD), self.frontmatter.clone(), resources)
    }

    /// A file of it, as directories show it.
    pub(super) fn resource(&self, path: &str, file: &File) -> Resource {
        if path == SKILL_MD {
            return self.instructions();
        }
        let name = path.rsplit('/').next().unwrap_or(path);
        self.described(path, file, name)
    }

    /// Its `SKILL.md`, as lists of resources show it: named and described by its frontmatter.
    pub(super) fn instructions(&self) -> Resource {
        let mut resource = match self.files.get(SKILL_MD) {
            Some(file) => self.described(SKILL_MD, file, &self.name),
            None => Resource::new(self.uri(SKILL_MD), self.name.clone()),
        };
        resource.description = Some(self.frontmatter.description.clone());
        resource
    }

    fn described(&self, path: &str, file: &File, name: &str) -> Resource {
        let mut resource = Resource::new(self.uri(path), name);
        resource.mime_type.clone_from(&file.mime_type);
        // Of what is made anew for every call, nobody knows the size.
        resource.size = (!self.is_dynamic).then_some(file.size_bytes);
        resource
    }
}
