//! Resources: which there are, and what is inside one.

use aop_core::interface::Feature;
use aop_core::{AgentName, Caller, ErrorCode, Offer, Reply};
use iri_string::template::UriTemplateStr;
use rmcp::ErrorData;
use rmcp::model::{ReadResourceResult, Resource, ResourceTemplate};
use serde::Deserialize;
use serde_json::json;

use super::listing::{self, Entry, Source};
use super::skills::{self, Address};
use super::{Paged, bad_output, check_texts, error, not_found, tag};
use crate::content::{self, BadContent, Body, Hints, Link, shown};
use crate::edge::{Edge, is_unknown};
use crate::uri;

const OFFERED: Source<Resource> = Source {
    feature: Feature::ResourcesList,
    read: |agent, json| {
        let links: Vec<Link> = read(json)?;
        let entry = |link: Link| {
            owned(agent, &link.uri)?;
            check_texts(&link.name, link.title.as_deref(), link.description.as_deref())?;
            Ok(Entry { key: link.uri.clone(), item: link.into_mcp()? })
        };
        Ok(links.into_iter().map(entry).collect())
    },
};

/// A page of the resources that exist now, the instructions of skills among them.
///
/// # Errors
/// A cursor that this server did not give out.
pub(crate) async fn list(
    edge: &Edge,
    caller: &Caller,
    cursor: Option<&str>,
) -> Result<Paged<Resource>, ErrorData> {
    listing::page(edge, caller, &[OFFERED, skills::INSTRUCTIONS], cursor).await
}

#[derive(Deserialize)]
struct Template {
    uri_template: String,
    name: String,
    title: Option<String>,
    description: Option<String>,
    mime_type: Option<String>,
    annotations: Option<Hints>,
}

const FAMILIES: Source<ResourceTemplate> = Source {
    feature: Feature::ResourcesTemplates,
    read: |agent, json| {
        let templates: Vec<Template> = read(json)?;
        let entry = |template: Template| {
            let Template { uri_template, name, title, description, mime_type, annotations } =
                template;
            owned(agent, &uri_template)?;
            if let Err(error) = UriTemplateStr::new(&uri_template) {
                let template = shown(&uri_template);
                return Err(BadContent::new(format!(
                    "`{template}` is no URI template of RFC 6570: {error}"
                )));
            }
            check_texts(&name, title.as_deref(), description.as_deref())?;
            let mut item = ResourceTemplate::new(uri_template.clone(), name);
            item.title = title;
            item.description = description;
            item.mime_type = mime_type.map(content::mime).transpose()?;
            item.annotations = content::hints(annotations)?;
            Ok(Entry { key: uri_template, item })
        };
        Ok(templates.into_iter().map(entry).collect())
    },
};

/// A page of the families of resources.
///
/// # Errors
/// A cursor that this server did not give out.
pub(crate) async fn templates(
    edge: &Edge,
    caller: &Caller,
    cursor: Option<&str>,
) -> Result<Paged<ResourceTemplate>, ErrorData> {
    listing::page(edge, caller, &[FAMILIES], cursor).await
}

fn read<T: for<'a> Deserialize<'a>>(json: &str) -> Result<Vec<T>, BadContent> {
    serde_json::from_str(json).map_err(|error| BadContent::new(error.to_string()))
}

/// Checks that an agent speaks for itself.
fn owned(agent: &AgentName, uri: &str) -> Result<(), BadContent> {
    match uri::scheme(uri) {
        Some(Offer::SKILL_SCHEME) => {
            let uri = shown(uri);
            Err(BadContent::new(format!(
                "`{uri}` has the scheme of skills: offer those by `aop:agent/skills`"
            )))
        }
        Some(scheme) if scheme == agent.as_str() => match Offer::owner(uri) {
            Some(_) => Ok(()),
            None => Err(BadContent::new(format!(
                "`{scheme}:` means the same everywhere: an agent that offers resources needs another name"
            ))),
        },
        _ => {
            let uri = shown(uri);
            Err(BadContent::new(format!("`{uri}` is no URI of the agent's own scheme, `{agent}:`")))
        }
    }
}

/// Who is to be asked for a resource, and how.
#[derive(Debug, Clone)]
pub(crate) enum Reader {
    /// An agent that offers resources under its own scheme.
    Own(AgentName),
    /// The file is in a skill.
    Skill(Address),
}

impl Reader {
    /// Of the caller's agents.
    ///
    /// # Errors
    /// Not found: none of them offers such a resource.
    pub(crate) fn of(edge: &Edge, caller: &Caller, uri: &str) -> Result<Self, ErrorData> {
        if uri::scheme(uri) == Some(Offer::SKILL_SCHEME) {
            let file = skills::find(edge, caller, uri).filter(Address::is_in_a_skill);
            return file.map(Self::Skill).ok_or_else(|| not_found(uri));
        }
        let readers = || edge.parts.catalog.offering(&caller.tenant, Feature::ResourcesRead);
        let owner = uri::owner(uri).filter(|owner| readers().contains(owner));
        owner.map(Self::Own).ok_or_else(|| not_found(uri))
    }

    pub(crate) const fn agent(&self) -> &AgentName {
        match self {
            Self::Own(agent) => agent,
            Self::Skill(address) => &address.agent,
        }
    }

    /// What the agent is asked by.
    pub(crate) const fn feature(&self) -> Feature {
        match self {
            Self::Own(_) => Feature::ResourcesRead,
            Self::Skill(_) => Feature::SkillsGet,
        }
    }

    /// The arguments of that.
    pub(crate) fn arguments(&self, uri: &str) -> String {
        match self {
            Self::Own(_) => json!({ "uri": uri }).to_string(),
            Self::Skill(address) => address.arguments(),
        }
    }

    /// What the agent answered.
    ///
    /// # Errors
    /// Not found, or why it cannot be read.
    pub(crate) fn contents(
        &self,
        uri: &str,
        reply: &Reply,
    ) -> Result<ReadResourceResult, ErrorData> {
        match self {
            Self::Own(agent) => contents(agent, uri, reply),
            Self::Skill(address) => address.contents(uri, reply),
        }
    }
}

/// What an agent answered when it was asked for a resource.
///
/// # Errors
/// Not found, or why it cannot be read.
fn contents(agent: &AgentName, uri: &str, reply: &Reply) -> Result<ReadResourceResult, ErrorData> {
    #[derive(Deserialize)]
    struct Contents {
        uri: String,
        mime_type: Option<String>,
        body: Body,
    }
    let output = match &reply.result {
        Ok(output) => output,
        Err(_) if is_unknown(reply) => return Err(not_found(uri)),
        Err(failure)
            if failure.code == ErrorCode::GuestError
                && tag(failure).as_deref() == Some("not_found") =>
        {
            return Err(not_found(uri));
        }
        Err(failure) => return Err(error(failure)),
    };
    let contents: Vec<Contents> = serde_json::from_str(output.json.get()).map_err(bad_output)?;
    let checked = contents.into_iter().map(|part| {
        owned(agent, &part.uri)?;
        if !part.uri.starts_with(uri) {
            let part = shown(&part.uri);
            return Err(BadContent::new(format!(
                "`{part}` is not below the URI that was asked for"
            )));
        }
        part.body.into_mcp(part.uri, part.mime_type)
    });
    let checked = checked.collect::<Result<Vec<_>, _>>().map_err(bad_output)?;
    if checked.is_empty() {
        return Err(not_found(uri));
    }
    Ok(ReadResourceResult::new(checked))
}
