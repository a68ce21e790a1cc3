//! What this zone publishes beyond itself: the agents whose settings have an `[export]`, each under a name that is
//! unique in the zone, and the document that describes its tools.
//!
//! Deny by default: what has no `[export]` does not exist for other zones, and who may not see an agent gets the very
//! answer that an absent name gets.
//!
//! Of two agents that want one name, the older one has it, by the ids that agents get when they are first loaded: that
//! stays the same over restarts, and every node of the zone finds the same from it, in whichever order agents appear.
//! The other one is not published, and that is logged and shown in `aop zone status`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aop_core::settings::Export;
use aop_core::{
    AgentId, AgentName, Digest, Hints, Resolve, Revision, TenantName, Tool, ToolList, ToolName,
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::book::Relation;
use super::cache::Reach;
use super::name::{FullName, ZoneName};
use super::record::{TAG_MAX_BYTES, TAGS_MAX};

/// The largest document that is published or read: schemas of a hundred tools.
pub const DESCRIPTOR_MAX_BYTES: usize = 2 << 20;
/// Tools of one agent of another zone.
pub const TOOLS_MAX: usize = 1024;
/// How long the table may be older than the registry: settings can change without the set of tools doing so.
const TABLE_AGE_MAX: Duration = Duration::from_secs(1);

/// The tools of an exported agent, as its record's digest names them.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Descriptor {
    /// The form of this document; 1.
    pub v: u32,
    /// The agent's full name.
    pub agent: FullName,
    /// Its revision.
    pub version: u64,
    /// What it is for.
    pub description: String,
    /// How long a list of these tools is fresh, as MCP's lists say it.
    #[serde(rename = "ttlMs")]
    pub ttl_ms: u64,
    /// The longest that a call takes.
    pub timeout_ms: u64,
    /// The tools.
    pub tools: Vec<DescribedTool>,
}

/// A tool of another zone.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct DescribedTool {
    /// Unique in its zone.
    pub name: ToolName,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What a model reads.
    pub description: String,
    /// JSON Schema of the arguments.
    pub input_schema: Box<RawValue>,
    /// JSON Schema of the envelope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<Box<RawValue>>,
    /// The function as WIT.
    pub signature: String,
    /// What its operator says of its behaviour.
    pub hints: Hints,
}

impl Descriptor {
    /// Reads a document that has the digest of a record.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(bytes: &[u8], digest: Digest, name: &FullName) -> Result<Self, String> {
        if Digest::of(bytes) != digest {
            return Err("the descriptor does not have the digest that its record names".to_owned());
        }
        let read: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let is_object = |schema: &RawValue| schema.get().starts_with('{');
        let are_sound = read.tools.iter().all(|tool| {
            is_object(&tool.input_schema)
                && tool.output_schema.as_deref().is_none_or(is_object)
                && !tool.name.contains("__")
        });
        if read.v != 1 || read.agent != *name || read.tools.len() > TOOLS_MAX || !are_sound {
            return Err(
                "the descriptor is not one of this agent in a form that is known".to_owned()
            );
        }
        Ok(read)
    }
}

/// One published agent.
#[derive(Debug)]
pub struct Exported {
    /// Its full name.
    pub name: FullName,
    /// Whose it is; calls run as, and are billed to, this tenant.
    pub tenant: TenantName,
    /// Its own name there.
    pub agent: AgentName,
    /// Its revision.
    pub version: u64,
    /// What it is for.
    pub description: String,
    /// Words that say where to search for it: those of its settings and of its names.
    pub tags: BTreeSet<String>,
    /// Those of its settings, by which it is found whatever it is called.
    pub own_tags: Vec<String>,
    /// Its tools.
    pub tools: Vec<Arc<Tool>>,
    /// The document that describes them.
    pub descriptor: Bytes,
    /// The digest of that.
    pub digest: Digest,
    to: Vec<String>,
}

/// Another zone, as far as this one knows who asks.
#[derive(Debug, Clone, Copy)]
pub enum Asker<'a> {
    /// This zone.
    Itself,
    /// Somebody without a token.
    Stranger,
    /// Who showed the token that it was given.
    Zone(&'a ZoneName, Relation),
}

impl Exported {
    /// To whom it is published, as its operator wrote it.
    #[must_use]
    pub fn to(&self) -> &[String] {
        &self.to
    }

    /// Whether somebody may see and call it.
    #[must_use]
    pub fn is_for(&self, asker: Asker<'_>) -> bool {
        self.to.iter().any(|to| match asker {
            _ if to == "world" => true,
            Asker::Itself => true,
            Asker::Stranger => false,
            Asker::Zone(_, Relation::Parent) if to == "parent" => true,
            Asker::Zone(zone, _) => to == zone.as_str(),
        })
    }

    /// Who else may see what somebody was told of it.
    #[must_use]
    pub fn reach(&self) -> Reach {
        if self.to.iter().any(|to| to == "world") { Reach::World } else { Reach::Zone }
    }
}

/// Everything that is published, at one moment.
#[derive(Debug, Default)]
pub struct Table {
    agents: BTreeMap<String, Exported>,
    /// From a tool's name to its agent's label.
    tools: HashMap<ToolName, String>,
    /// From either in lower case to the agent's label, of those that have it first.
    folded: HashMap<String, String>,
    /// What could not be published, and why.
    pub refused: Vec<(TenantName, AgentName, String)>,
}

impl Table {
    /// What is published under a label: an agent's, or one of its tools'. DNS ignores case.
    #[must_use]
    pub fn find(&self, label: &str) -> Option<&Exported> {
        let agent = self.tools.get(label).map_or(label, String::as_str);
        self.agents
            .get(agent)
            .or_else(|| self.agents.get(self.folded.get(&label.to_ascii_lowercase())?))
    }

    /// Every published agent, in name order.
    pub fn agents(&self) -> impl Iterator<Item = &Exported> {
        self.agents.values()
    }

    /// The published agent that is a tenant's own of some name.
    #[must_use]
    pub fn of(&self, tenant: &TenantName, agent: &str) -> Option<&Exported> {
        self.agents().find(|exported| exported.tenant == *tenant && *exported.agent == *agent)
    }

    /// Names that led to another agent in an earlier table: that one, and the one now.
    fn passed_on_since<'a>(
        &'a self,
        before: &'a Self,
    ) -> impl Iterator<Item = (&'a Exported, &'a Exported)> {
        let pairs =
            self.agents.iter().filter_map(|(label, now)| Some((before.agents.get(label)?, now)));
        pairs.filter(|(old, new)| (&old.tenant, &old.agent) != (&new.tenant, &new.agent))
    }

    /// Words that what somebody may see is found by.
    #[must_use]
    pub fn tags(&self, asker: Asker<'_>) -> Vec<String> {
        let visible = self.agents().filter(|exported| exported.is_for(asker));
        let tags: BTreeSet<&String> = visible.flat_map(|exported| &exported.tags).collect();
        tags.into_iter().take(TAGS_MAX).cloned().collect()
    }
}

/// What there is to be exported.
pub trait Local: Send + Sync {
    /// The tenants of this host, in an order that stays.
    fn tenants(&self) -> Vec<TenantName>;
    /// The tools of one: the same `Arc` until they change.
    fn tools(&self, tenant: &TenantName) -> Arc<ToolList>;
    /// What an agent is for.
    fn description(&self, tenant: &TenantName, agent: &AgentName) -> String;
    /// The oldest id that an agent has on any node of the zone: files give one agent an id of its own on each node. None
    /// when nobody knows.
    fn oldest(&self, tenant: &TenantName, agent: &AgentName) -> Option<AgentId>;
}

/// Where the table comes from.
pub struct Exports {
    zone: ZoneName,
    ttl: Duration,
    local: Box<dyn Local>,
    resolve: Arc<dyn Resolve>,
    made: Mutex<Option<Made>>,
}

struct Made {
    table: Arc<Table>,
    lists: Vec<Arc<ToolList>>,
    at: Instant,
}

impl Exports {
    /// The exports of a zone. `ttl` is how long its records are fresh.
    #[must_use]
    pub fn new(
        zone: ZoneName,
        ttl: Duration,
        local: Box<dyn Local>,
        resolve: Arc<dyn Resolve>,
    ) -> Self {
        Self { zone, ttl, local, resolve, made: Mutex::new(None) }
    }

    /// What is published now, at most a second old.
    pub fn table(&self) -> Arc<Table> {
        let tenants = self.local.tenants();
        let lists: Vec<_> = tenants.iter().map(|tenant| self.local.tools(tenant)).collect();
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = &*made
            && made.at.elapsed() < TABLE_AGE_MAX
            && made.lists.len() == lists.len()
            && made.lists.iter().zip(&lists).all(|(old, new)| Arc::ptr_eq(old, new))
        {
            return Arc::clone(&made.table);
        }
        let table = Arc::new(self.make(&tenants, &lists));
        let before = made.as_ref().map(|made| &*made.table);
        if before.is_none_or(|before| before.refused != table.refused) {
            for (tenant, agent, reason) in &table.refused {
                tracing::warn!(%tenant, %agent, reason, "an agent is not exported");
            }
        }
        for (old, new) in before.into_iter().flat_map(|before| table.passed_on_since(before)) {
            tracing::warn!(
                name = %new.name,
                from = %format_args!("{}/{}", old.tenant, old.agent),
                to = %format_args!("{}/{}", new.tenant, new.agent),
                "an exported name leads to another agent now"
            );
        }
        *made = Some(Made { table: Arc::clone(&table), lists, at: Instant::now() });
        table
    }

    fn make(&self, tenants: &[TenantName], lists: &[Arc<ToolList>]) -> Table {
        let mut claims = BTreeMap::new();
        for (tenant, list) in tenants.iter().zip(lists) {
            for tool in &list.tools {
                if let Some(route) = self.resolve.resolve(tenant, &tool.name)
                    && route.revision.settings.export.is_some()
                    // What another tenant shares here is that one's to export.
                    && route.revision.tenant == *tenant
                {
                    let (agent, id) = (route.revision.agent.clone(), route.revision.id);
                    let oldest =
                        self.local.oldest(tenant, &agent).map_or(id, |other| id.min(other));
                    claims.insert((oldest, tenant.clone(), agent), route.revision);
                }
            }
        }
        let mut table = Table::default();
        for ((_, tenant, agent), revision) in claims {
            let Some(export) = &revision.settings.export else { continue };
            if let Err(reason) = self.add(&mut table, &revision, export) {
                table.refused.push((tenant, agent, reason));
            }
        }
        table
    }

    fn add(&self, table: &mut Table, revision: &Revision, export: &Export) -> Result<(), String> {
        let label = export.name.as_ref().unwrap_or(&revision.agent).to_string();
        let taken = |what: &str| {
            format!(
                "`{what}` is exported by an older agent of this zone: set `[export] name`, or rename the tool"
            )
        };
        if table.agents.contains_key(&label) {
            return Err(taken(&label));
        }
        // A handle belongs to whoever got it, and other zones' callers are one to this host.
        let is_whole = |tool: &&Arc<Tool>| !tool.takes_handles;
        let tools: Vec<_> = revision.tools.iter().filter(is_whole).map(Arc::clone).collect();
        if let Some(tool) = tools.iter().find(|tool| table.tools.contains_key(&tool.name)) {
            return Err(taken(&tool.name));
        }
        let name = FullName::new(&label, &self.zone).map_err(|error| error.to_string())?;
        let description = self.local.description(&revision.tenant, &revision.agent);
        let descriptor = self.describe(&name, revision, &tools, &description);
        let bytes = serde_json::to_vec(&descriptor).map_err(|error| error.to_string())?;
        if bytes.len() > DESCRIPTOR_MAX_BYTES || descriptor.tools.len() > TOOLS_MAX {
            return Err("what describes its tools is too large to be published".to_owned());
        }
        for name in tools.iter().map(|tool| tool.name.as_str()).chain([label.as_str()]) {
            table.folded.entry(name.to_ascii_lowercase()).or_insert_with(|| label.clone());
        }
        for tool in &tools {
            table.tools.insert(tool.name.clone(), label.clone());
        }
        let exported = Exported {
            name,
            tenant: revision.tenant.clone(),
            agent: revision.agent.clone(),
            version: revision.number.0,
            tags: tags(&label, revision, export),
            own_tags: export.tags.clone(),
            description,
            tools,
            digest: Digest::of(&bytes),
            descriptor: bytes.into(),
            to: export.to.clone(),
        };
        table.agents.insert(label, exported);
        Ok(())
    }

    fn describe(
        &self,
        name: &FullName,
        revision: &Revision,
        tools: &[Arc<Tool>],
        description: &str,
    ) -> Descriptor {
        let tool = |tool: &Arc<Tool>| DescribedTool {
            name: tool.name.clone(),
            title: tool.title.clone(),
            description: tool.description.clone(),
            input_schema: tool.input_schema.clone(),
            output_schema: tool.output_schema.clone(),
            signature: tool.signature.clone(),
            hints: tool.hints,
        };
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Descriptor {
            v: 1,
            agent: name.clone(),
            version: revision.number.0,
            description: description.to_owned(),
            ttl_ms: millis(self.ttl),
            timeout_ms: millis(revision.settings.limits.timeout),
            tools: tools.iter().map(tool).collect(),
        }
    }
}

/// The words of an agent: its own tags, and those that its names are made of.
fn tags(label: &str, revision: &Revision, export: &Export) -> BTreeSet<String> {
    let names = revision.tools.iter().map(|tool| tool.name.as_str()).chain([label]);
    let words = names.flat_map(|name| name.split(['_', '-'])).map(str::to_lowercase);
    let mut tags: BTreeSet<_> = export.tags.iter().cloned().chain(words).collect();
    tags.retain(|tag| (2..=TAG_MAX_BYTES).contains(&tag.len()));
    tags
}

#[cfg(test)]
mod tests;
