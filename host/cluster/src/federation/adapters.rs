//! What this zone exports to the world, in the formats in which others look for agents:
//!
//! | path | format |
//! |---|---|
//! | `/.well-known/ai-catalog.json` | [AI catalog](https://agent-card.github.io/ai-catalog/) 1.0: one entry for each agent |
//! | `/.well-known/agent-card.json` | [A2A](https://a2a-protocol.org) agent card: the zone as one agent, its tools as skills |
//! | `/v0.1/servers`, `/v0.1/servers/{name}/versions`, and `/versions/{version}` behind it | the read API of an MCP registry |
//!
//! Thin on purpose: these formats still move, and nothing here depends on what they say. Only what every stranger may see
//! and call is in them; what a zone of the book may see beyond that, it learns by `/zone/v1`. Nothing is signed here:
//! whoever wants to be sure resolves the full name.
//!
//! What bounds it: what is exported at all, a hundred servers of a page, and the places of questions at the door.

use axum::Json;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::authority::Authority;
use super::export::{Asker, Exported};
use super::record::Endpoint;
use super::wire::REVISION;

/// Servers of one page, and when nobody says how many.
const PAGE_MAX: usize = 100;
const PAGE_DEFAULT: usize = 30;
/// The longest words of a search, and the longest name, as queries and paths have them.
const WORDS_MAX_BYTES: usize = 512;
/// The longest description that the registry's format takes.
const DESCRIPTION_CHARS_MAX: usize = 100;
/// The version of A2A whose card this is; a client looks at the interfaces, of which none speaks A2A.
const A2A_VERSION: &str = "1.0";
/// Where whoever the catalogues are for may list and call what is in them, without a key.
const ENDPOINT: &str = "/zone/v1/mcp";
const SERVER_SCHEMA: &str =
    "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json";
const REGISTRY_META: &str = "io.modelcontextprotocol.registry/official";

type Published = Json<Value>;

const fn published(value: Value) -> Published {
    Json(value)
}

/// A request for a page of servers.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Page {
    cursor: Option<String>,
    limit: Option<usize>,
    search: Option<String>,
    version: Option<String>,
}

/// The zone, as adapters see it.
pub(super) struct World<'a>(pub(super) &'a Authority);

impl World<'_> {
    fn zone(&self) -> String {
        self.0.zone().to_string()
    }

    /// Where others reach this zone: the first of its endpoints, which are all alike.
    fn url(&self) -> String {
        let first = |endpoint: &Endpoint| endpoint.url.trim_end_matches('/').to_owned();
        self.0.endpoints().first().map(first).unwrap_or_default()
    }

    /// The AI catalog.
    pub(super) fn catalog(&self) -> Published {
        let (zone, url, table) = (self.zone(), self.url(), self.0.exported());
        let agents = table.agents().filter(|agent| agent.is_for(Asker::Stranger));
        let entries = agents.map(|agent| {
            let name = server_name(&zone, agent).replace('/', "%2F");
            json!({
                "identifier": format!("urn:air:{zone}:agent:{}", agent.name.label()),
                "displayName": agent.name.to_string(),
                "type": "application/mcp-server+json",
                "url": format!("{url}/v0.1/servers/{name}/versions/latest"),
                "description": agent.description,
                "tags": agent.tags,
                "version": version(agent),
            })
        });
        let entries: Vec<_> = entries.collect();
        published(json!({
            "specVersion": "1.0",
            "host": { "displayName": zone, "identifier": zone },
            "entries": entries,
        }))
    }

    /// The A2A agent card.
    pub(super) fn card(&self) -> Published {
        let (zone, url, table) = (self.zone(), self.url(), self.0.exported());
        let agents = table.agents().filter(|agent| agent.is_for(Asker::Stranger));
        let skills = agents.flat_map(|agent| {
            agent.tools.iter().map(|tool| {
                json!({
                    "id": *tool.name,
                    "name": tool.title.as_deref().unwrap_or(&tool.name),
                    "description": tool.description,
                    "tags": agent.tags,
                })
            })
        });
        let skills: Vec<_> = skills.collect();
        let endpoint = format!("{url}{ENDPOINT}");
        published(json!({
            "protocolVersion": A2A_VERSION,
            "name": zone,
            "description": format!("The agents that the zone {zone} exports to the world; its interface speaks MCP"),
            "version": env!("CARGO_PKG_VERSION"),
            "url": endpoint,
            "preferredTransport": "MCP",
            "supportedInterfaces": [
                { "url": endpoint, "protocolBinding": "MCP", "protocolVersion": REVISION },
            ],
            "capabilities": { "streaming": false, "pushNotifications": false },
            "defaultInputModes": ["application/json"],
            "defaultOutputModes": ["application/json"],
            "skills": skills,
        }))
    }

    /// A page of the registry.
    ///
    /// # Errors
    /// What is wrong with the request.
    pub(super) fn servers(&self, page: &Page) -> Result<Published, (StatusCode, Published)> {
        let is_long =
            |text: &Option<String>| text.as_ref().is_some_and(|text| text.len() > WORDS_MAX_BYTES);
        let limit = page.limit.unwrap_or(PAGE_DEFAULT);
        if !(1..=PAGE_MAX).contains(&limit) || is_long(&page.cursor) || is_long(&page.search) {
            return Err(refused(
                StatusCode::BAD_REQUEST,
                "limit must be 1 to 100, cursor and search at most 512 bytes",
            ));
        }
        let (zone, url, table) = (self.zone(), self.url(), self.0.exported());
        let words = page.search.as_deref().unwrap_or_default().to_lowercase();
        let mut found: Vec<_> = table
            .agents()
            .filter(|agent| agent.is_for(Asker::Stranger))
            .map(|agent| (server_name(&zone, agent), agent))
            .filter(|(name, agent)| {
                let is_asked = page.version.as_ref().is_none_or(|asked| is_version(agent, asked));
                is_asked && name.to_lowercase().contains(&words)
            })
            .collect();
        found.sort_by(|(a, _), (b, _)| a.cmp(b));
        if let Some(cursor) = &page.cursor {
            found.retain(|(name, _)| name > cursor);
        }
        let next = found.get(limit).and(found.get(limit - 1)).map(|(name, _)| name.clone());
        let servers: Vec<_> =
            found.iter().take(limit).map(|(name, agent)| server(&url, name, agent)).collect();
        let mut metadata = json!({ "count": servers.len() });
        if let Some(next) = next {
            metadata["nextCursor"] = json!(next);
        }
        Ok(published(json!({ "servers": servers, "metadata": metadata })))
    }

    /// The versions of a server, of which there is one.
    ///
    /// # Errors
    /// When there is no such server.
    pub(super) fn versions(&self, name: &str) -> Result<Published, (StatusCode, Published)> {
        let server = self.server(name, "latest")?;
        Ok(published(json!({ "servers": [server], "metadata": { "count": 1 } })))
    }

    /// One version of a server, or its `latest`.
    ///
    /// # Errors
    /// When there is no such server.
    pub(super) fn version(
        &self,
        name: &str,
        version: &str,
    ) -> Result<Published, (StatusCode, Published)> {
        self.server(name, version).map(published)
    }

    fn server(&self, name: &str, asked: &str) -> Result<Value, (StatusCode, Published)> {
        let (zone, table) = (self.zone(), self.0.exported());
        let mut agents = table.agents().filter(|agent| agent.is_for(Asker::Stranger));
        agents
            .find(|agent| server_name(&zone, agent) == name && is_version(agent, asked))
            .map(|agent| server(&self.url(), name, agent))
            .ok_or_else(|| refused(StatusCode::NOT_FOUND, "Server not found"))
    }
}

fn refused(status: StatusCode, error: &str) -> (StatusCode, Published) {
    (status, published(json!({ "error": error })))
}

/// The zone's labels in the registry's order, and the agent's: `example.acme.eu/writer`.
fn server_name(zone: &str, agent: &Exported) -> String {
    let labels: Vec<_> = zone.rsplit('.').collect();
    format!("{}/{}", labels.join("."), agent.name.label())
}

/// Revisions are whole numbers; what reads versions wants three.
fn version(agent: &Exported) -> String {
    format!("{}.0.0", agent.version)
}

fn is_version(agent: &Exported, asked: &str) -> bool {
    asked == "latest" || asked == version(agent)
}

fn server(url: &str, name: &str, agent: &Exported) -> Value {
    let description: String = agent.description.chars().take(DESCRIPTION_CHARS_MAX).collect();
    json!({
        "server": {
            "$schema": SERVER_SCHEMA,
            "name": name,
            "title": agent.name.to_string(),
            "description": description,
            "version": version(agent),
            "remotes": [{ "type": "streamable-http", "url": format!("{url}{ENDPOINT}") }],
        },
        "_meta": { REGISTRY_META: { "status": "active", "isLatest": true } },
    })
}

#[cfg(test)]
mod tests;
