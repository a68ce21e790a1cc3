//! Resources: which there are, and what is inside one.

use aop_core::interface::Feature;
use aop_core::{AgentName, Caller, ErrorCode, Reply};
use rmcp::ErrorData;
use rmcp::model::{ReadResourceResult, Resource, ResourceTemplate};
use serde::Deserialize;
use serde_json::json;

use super::listing::{self, Entry};
use super::{Paged, bad_output, check_texts, error, tag};
use crate::content::{self, BadContent, Body, Hints, Link, shown};
use crate::edge::{Edge, is_unknown};
use crate::uri;

/// A page of the resources that exist now.
///
/// # Errors
/// A cursor that this server did not give out.
pub(crate) async fn list(
    edge: &Edge,
    caller: &Caller,
    cursor: Option<&str>,
) -> Result<Paged<Resource>, ErrorData> {
    listing::page(edge, caller, Feature::ResourcesList, cursor, |agent, json| {
        let links: Vec<Link> = read(json)?;
        let entry = |link: Link| {
            owned(agent, &link.uri)?;
            check_texts(&link.name, link.title.as_deref(), link.description.as_deref())?;
            Ok(Entry { key: link.uri.clone(), item: link.into_mcp()? })
        };
        Ok(links.into_iter().map(entry).collect())
    })
    .await
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

/// A page of the families of resources.
///
/// # Errors
/// A cursor that this server did not give out.
pub(crate) async fn templates(
    edge: &Edge,
    caller: &Caller,
    cursor: Option<&str>,
) -> Result<Paged<ResourceTemplate>, ErrorData> {
    listing::page(edge, caller, Feature::ResourcesTemplates, cursor, |agent, json| {
        let templates: Vec<Template> = read(json)?;
        let entry = |template: Template| {
            let Template { uri_template, name, title, description, mime_type, annotations } =
                template;
            owned(agent, &uri_template)?;
            check_texts(&name, title.as_deref(), description.as_deref())?;
            let mut item = ResourceTemplate::new(uri_template.clone(), name);
            item.title = title;
            item.description = description;
            item.mime_type = mime_type.map(content::mime).transpose()?;
            item.annotations = content::hints(annotations)?;
            Ok(Entry { key: uri_template, item })
        };
        Ok(templates.into_iter().map(entry).collect())
    })
    .await
}

fn read<T: for<'a> Deserialize<'a>>(json: &str) -> Result<Vec<T>, BadContent> {
    serde_json::from_str(json).map_err(|error| BadContent::new(error.to_string()))
}

/// Checks that an agent speaks for itself.
fn owned(agent: &AgentName, uri: &str) -> Result<(), BadContent> {
    match uri::scheme(uri) {
        Some(scheme) if scheme == agent.as_str() => Ok(()),
        _ => {
            let uri = shown(uri);
            Err(BadContent::new(format!("`{uri}` is no URI of the agent's own scheme, `{agent}:`")))
        }
    }
}

/// The agent that is to be asked for a resource.
///
/// # Errors
/// Not found: no agent of the caller's offers resources under this scheme.
pub(crate) fn reader(edge: &Edge, caller: &Caller, uri: &str) -> Result<AgentName, ErrorData> {
    let readers = || edge.parts.catalog.offering(&caller.tenant, Feature::ResourcesRead);
    uri::owner(uri).filter(|owner| readers().contains(owner)).ok_or_else(|| not_found(uri))
}

/// The arguments of `read`.
pub(crate) fn read_arguments(uri: &str) -> String {
    json!({ "uri": uri }).to_string()
}

/// What an agent answered when it was asked for a resource.
///
/// # Errors
/// Not found, or why it cannot be read.
pub(crate) fn contents(
    agent: &AgentName,
    uri: &str,
    reply: &Reply,
) -> Result<ReadResourceResult, ErrorData> {
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

/// What rmcp tells clients of 2026-07-28 as invalid params, as that revision wants it.
fn not_found(uri: &str) -> ErrorData {
    let uri = shown(uri);
    ErrorData::resource_not_found(format!("no resource `{uri}`"), Some(json!({ "uri": uri })))
}
