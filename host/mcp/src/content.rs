//! What an agent shows in its own words: blocks of `aop:agent/content` as MCP's content blocks.
//!
//! The codec guarantees the types, so what is checked here is what a type cannot say: that a MIME type
//! fits its block, that URIs are absolute, that hints are in range. A block that breaks a rule fails the
//! whole result, because a client that trusted half of it would show something the agent never meant. Sizes
//! are bounded by the agent's output limit, under which the codec wrote the text.

use chrono::{DateTime, NaiveDate, NaiveDateTime};
use rmcp::model::{
    Annotations, AudioContent, ContentBlock, EmbeddedResource, ImageContent, Resource,
    ResourceContents, Role, TextContent,
};
use serde::Deserialize;

use crate::uri;

/// The longest MIME type: twice 127 characters and a slash (RFC 4288, section 4.2).
const MIME_LENGTH_MAX: usize = 255;

/// A rule that a block breaks, in words for the agent's author.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct BadContent(String);

/// Whether a list of blocks, as the codec writes it, keeps the rules of MCP, and shows nothing that is another agent's:
/// `is_anothers` says so of a URI.
///
/// # Errors
/// The first rule that a block breaks, in words for the agent's author.
pub fn check(json: &str, is_anothers: &dyn Fn(&str) -> bool) -> Result<(), String> {
    let blocks = blocks(json).map_err(|bad| bad.to_string())?;
    blocks.iter().try_for_each(|block| owned(block, is_anothers)).map_err(|bad| bad.to_string())
}

/// Whether a block shows nothing that is another agent's.
///
/// # Errors
/// What it shows.
pub(crate) fn owned(
    block: &ContentBlock,
    is_anothers: &dyn Fn(&str) -> bool,
) -> Result<(), BadContent> {
    let uri = match block {
        ContentBlock::ResourceLink(link) => &link.uri,
        ContentBlock::Resource(embedded) => match &embedded.resource {
            ResourceContents::TextResourceContents { uri, .. }
            | ResourceContents::BlobResourceContents { uri, .. } => uri,
            // Nothing here makes others.
            _ => return Ok(()),
        },
        _ => return Ok(()),
    };
    if !is_anothers(uri) {
        return Ok(());
    }
    Err(BadContent::new(format!(
        "`{}` is of another agent, for which only that one answers: name it in a text instead",
        shown(uri)
    )))
}

impl BadContent {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

/// A block as the codec writes it.
#[derive(Deserialize)]
#[serde(tag = "tag", content = "val", rename_all = "snake_case")]
pub(crate) enum Block {
    Text(Text),
    Image(Media),
    Audio(Media),
    Link(Link),
    Embedded(Embedded),
}

#[derive(Deserialize)]
pub(crate) struct Text {
    text: String,
    annotations: Option<Hints>,
}

#[derive(Deserialize)]
pub(crate) struct Media {
    /// Base64, as MCP wants it too.
    data: String,
    mime_type: String,
    annotations: Option<Hints>,
}

#[derive(Deserialize)]
pub(crate) struct Embedded {
    uri: String,
    mime_type: Option<String>,
    body: Body,
    annotations: Option<Hints>,
}

/// What links and entries of lists have in common.
#[derive(Deserialize)]
pub(crate) struct Link {
    pub(crate) uri: String,
    pub(crate) name: String,
    pub(crate) title: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) mime_type: Option<String>,
    size: Option<Wide>,
    annotations: Option<Hints>,
}

/// What is inside a resource.
#[derive(Debug, Deserialize)]
#[serde(tag = "tag", content = "val", rename_all = "snake_case")]
pub(crate) enum Body {
    Text(String),
    /// Base64.
    Blob(String),
}

/// Who says something.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Speaker {
    User,
    Assistant,
}

impl From<Speaker> for Role {
    fn from(speaker: Speaker) -> Self {
        match speaker {
            Speaker::User => Self::User,
            Speaker::Assistant => Self::Assistant,
        }
    }
}

#[derive(Deserialize)]
pub(crate) struct Hints {
    audience: Vec<Speaker>,
    priority: Option<Float>,
    last_modified: Option<String>,
}

/// The codec writes what is no number in JSON as text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Float {
    Number(f64),
    Text(String),
}

/// The codec writes what JavaScript cannot count as text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Wide {
    Number(u64),
    Text(String),
}

/// The blocks of a result: one, or a list.
///
/// # Errors
/// [`BadContent`], naming the block.
pub(crate) fn blocks(json: &str) -> Result<Vec<ContentBlock>, BadContent> {
    let unreadable = |error: serde_json::Error| BadContent(format!("is no content: {error}"));
    if !json.starts_with('[') {
        return serde_json::from_str::<Block>(json)
            .map_err(unreadable)?
            .into_mcp()
            .map(|b| vec![b]);
    }
    let blocks: Vec<Block> = serde_json::from_str(json).map_err(unreadable)?;
    let numbered = blocks.into_iter().enumerate().map(|(index, block)| {
        block
            .into_mcp()
            .map_err(|BadContent(reason)| BadContent(format!("block {index}: {reason}")))
    });
    numbered.collect()
}

impl Block {
    /// As MCP has it.
    ///
    /// # Errors
    /// [`BadContent`].
    pub(crate) fn into_mcp(self) -> Result<ContentBlock, BadContent> {
        Ok(match self {
            Self::Text(Text { text, annotations }) => {
                let mut content = TextContent::new(text);
                content.annotations = hints(annotations)?;
                ContentBlock::Text(content)
            }
            Self::Image(Media { data, mime_type, annotations }) => {
                fits(&mime_type, "image")?;
                let mut content = ImageContent::new(data, mime_type);
                content.annotations = hints(annotations)?;
                ContentBlock::Image(content)
            }
            Self::Audio(Media { data, mime_type, annotations }) => {
                fits(&mime_type, "audio")?;
                let mut content = AudioContent::new(data, mime_type);
                content.annotations = hints(annotations)?;
                ContentBlock::Audio(content)
            }
            Self::Link(link) => ContentBlock::ResourceLink(link.into_mcp()?),
            Self::Embedded(Embedded { uri, mime_type, body, annotations }) => {
                let mut content = EmbeddedResource::new(body.into_mcp(uri, mime_type)?);
                content.annotations = hints(annotations)?;
                ContentBlock::Resource(content)
            }
        })
    }
}

impl Link {
    /// As MCP has it.
    ///
    /// # Errors
    /// [`BadContent`].
    pub(crate) fn into_mcp(self) -> Result<Resource, BadContent> {
        absolute(&self.uri)?;
        if self.name.is_empty() {
            return Err(BadContent(format!("`{}` has no name", self.uri)));
        }
        let mut resource = Resource::new(self.uri, self.name);
        resource.title = self.title;
        resource.description = self.description;
        resource.mime_type = self.mime_type.map(mime).transpose()?;
        resource.size = self.size.and_then(|size| match size {
            Wide::Number(bytes) => Some(bytes),
            Wide::Text(digits) => digits.parse().ok(),
        });
        resource.annotations = hints(self.annotations)?;
        Ok(resource)
    }
}

impl Body {
    /// As MCP has it.
    ///
    /// # Errors
    /// [`BadContent`].
    pub(crate) fn into_mcp(
        self,
        uri: String,
        mime_type: Option<String>,
    ) -> Result<ResourceContents, BadContent> {
        absolute(&uri)?;
        let mime_type = mime_type.map(mime).transpose()?;
        Ok(match self {
            Self::Text(text) => {
                ResourceContents::TextResourceContents { uri, mime_type, text, meta: None }
            }
            Self::Blob(blob) => {
                ResourceContents::BlobResourceContents { uri, mime_type, blob, meta: None }
            }
        })
    }
}

/// Checks hints and leaves out what says nothing.
pub(crate) fn hints(hints: Option<Hints>) -> Result<Option<Annotations>, BadContent> {
    let Some(Hints { audience, priority, last_modified }) = hints else { return Ok(None) };
    let mut annotations = Annotations::default();
    if !audience.is_empty() {
        annotations.audience = Some(audience.into_iter().map(Role::from).collect());
    }
    annotations.priority = match priority {
        None => None,
        #[expect(clippy::cast_possible_truncation, reason = "between 0 and 1, f32 is what MCP has")]
        Some(Float::Number(number)) if (0.0..=1.0).contains(&number) => Some(number as f32),
        Some(Float::Number(number)) => return Err(out_of_range(&number)),
        Some(Float::Text(text)) => return Err(out_of_range(&text)),
    };
    if let Some(time) = &last_modified
        && !is_time(time)
    {
        return Err(BadContent(format!(
            "the last modification `{}` is no ISO 8601 date and time",
            shown(time)
        )));
    }
    annotations.last_modified = last_modified;
    Ok((annotations != Annotations::default()).then_some(annotations))
}

fn out_of_range(priority: &dyn std::fmt::Display) -> BadContent {
    BadContent(format!("the priority {priority} is not between 0 and 1"))
}

fn is_time(text: &str) -> bool {
    DateTime::parse_from_rfc3339(text).is_ok()
        || text.parse::<NaiveDateTime>().is_ok()
        || text.parse::<NaiveDate>().is_ok()
}

fn absolute(uri: &str) -> Result<(), BadContent> {
    match uri::scheme(uri) {
        Some(_) => Ok(()),
        None => Err(BadContent(format!("`{}` is no absolute URI", shown(uri)))),
    }
}

/// Checks that a MIME type is of a kind.
fn fits(mime_type: &str, kind: &str) -> Result<(), BadContent> {
    match essence(mime_type) {
        Some((found, _)) if found.eq_ignore_ascii_case(kind) => Ok(()),
        _ => Err(BadContent(format!("the MIME type `{}` is none of {kind}/*", shown(mime_type)))),
    }
}

/// Checks that a MIME type is one.
pub(crate) fn mime(mime_type: String) -> Result<String, BadContent> {
    match essence(&mime_type) {
        Some(_) => Ok(mime_type),
        None => Err(BadContent(format!("`{}` is no MIME type", shown(&mime_type)))),
    }
}

/// The two halves of a MIME type, parameters left out.
fn essence(mime_type: &str) -> Option<(&str, &str)> {
    let fits = mime_type.len() <= MIME_LENGTH_MAX
        && mime_type.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    let essence = mime_type.split(';').next()?.trim_end();
    let (kind, subtype) = essence.split_once('/')?;
    let token = |text: &str| {
        let special = |byte: u8| b"!#$&-^_.+%'*`|~".contains(&byte);
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || special(byte))
    };
    (fits && token(kind) && token(subtype)).then_some((kind, subtype))
}

/// As much of a guest's text as a message should repeat.
pub(crate) fn shown(text: &str) -> String {
    const SHOWN_MAX_CHARS: usize = 128;
    text.chars().take(SHOWN_MAX_CHARS).collect()
}

#[cfg(test)]
mod tests;
