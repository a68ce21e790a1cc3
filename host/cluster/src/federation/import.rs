//! Tools of other zones that the operator wants listed here like own ones: `textkit_summarize__eu_acme_example`.
//!
//! They enter the registry as every agent that runs elsewhere does. What could be imported once stays while its zone
//! does not answer: calls say so then, and the list of tools does not flicker.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, PoisonError};

use aop_core::{Caller, ForeignAgent, Publish, RefusedAgent, Revision, Source, TenantName, Tool};

use futures::future::join_all;

use super::Zone;
use super::call::Foreign;
use super::name::{FullName, ZoneName};

/// Imports that are looked up together, so that one zone that does not answer keeps few others waiting.
const LOOKUPS_MAX: usize = 16;

/// What is imported, and into what.
pub struct Imports {
    names: Vec<FullName>,
    publish: Arc<dyn Publish>,
    kept: Mutex<BTreeMap<FullName, Kept>>,
}

/// An agent as it was published last.
struct Kept {
    foreign: Arc<Foreign>,
    labels: BTreeSet<String>,
    agent: ForeignAgent,
}

impl Imports {
    /// Imports of agents or tools by full name.
    #[must_use]
    pub fn new(names: Vec<FullName>, publish: Arc<dyn Publish>) -> Self {
        Self { names, publish, kept: Mutex::default() }
    }

    /// The zones that they are in.
    fn zones(&self) -> BTreeSet<ZoneName> {
        self.names.iter().map(FullName::zone).collect()
    }

    /// Looks every import up and publishes what was found.
    pub(super) async fn refresh(&self, zone: &Arc<Zone>) {
        let caller = Caller::local(TenantName::default_tenant());
        let mut found: BTreeMap<FullName, (Arc<Foreign>, BTreeSet<String>)> = BTreeMap::new();
        let mut missing = Vec::new();
        let mut looked = Vec::with_capacity(self.names.len());
        for names in self.names.chunks(LOOKUPS_MAX) {
            let lookups = names.iter().map(|name| zone.foreign(&caller, name));
            looked.extend(names.iter().zip(join_all(lookups).await));
        }
        for (name, result) in looked {
            match result {
                Ok(foreign) => {
                    let entry = found.entry(foreign.name().clone());
                    let (_, labels) = entry.or_insert_with(|| (foreign, BTreeSet::new()));
                    labels.insert(name.label().to_owned());
                }
                Err(failure) => {
                    tracing::warn!(%name, reason = failure.message, "an import is not renewed");
                    missing.push(name);
                }
            }
        }
        for refused in self.publish_all(found, &missing) {
            tracing::warn!(agent = %refused.agent, reason = refused.reason, "an import is refused");
        }
    }

    fn publish_all(
        &self,
        found: BTreeMap<FullName, (Arc<Foreign>, BTreeSet<String>)>,
        missing: &[&FullName],
    ) -> Vec<RefusedAgent> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        // What is not known now stays as it was.
        kept.retain(|agent, old| {
            found.contains_key(agent)
                || missing
                    .iter()
                    .any(|name| name.zone() == agent.zone() && old.labels.contains(name.label()))
        });
        for (name, (foreign, labels)) in found {
            let is_same = kept
                .get(&name)
                .is_some_and(|old| Arc::ptr_eq(&old.foreign, &foreign) && old.labels == labels);
            if !is_same {
                let agent = renamed(&foreign, &labels);
                kept.insert(name, Kept { foreign, labels, agent });
            }
        }
        let mut refused = Vec::new();
        for zone in self.zones() {
            let agents = kept.iter().filter(|(name, _)| name.zone() == zone);
            let agents = agents.map(|(_, kept)| kept.agent.clone()).collect();
            refused.extend(self.publish.publish(&Source::Zone(zone.to_string()), agents));
        }
        refused
    }
}

/// An agent with those of its tools that are imported, under the names that they have here.
fn renamed(foreign: &Foreign, labels: &BTreeSet<String>) -> ForeignAgent {
    let (revision, name) = (foreign.revision(), foreign.name());
    let zone = name.zone();
    let is_whole = labels.contains(name.label());
    let mut tools = Vec::new();
    for tool in &revision.tools {
        if !is_whole && !labels.contains(tool.name.as_str()) {
            continue;
        }
        match zone.imported_tool_name(&tool.name) {
            Some(name) => tools.push(Arc::new(Tool { name, ..Tool::clone(tool) })),
            None => tracing::warn!(
                tool = %tool.name,
                %zone,
                "a tool is not imported because its name would be too long: call it by its full name"
            ),
        }
    }
    tools.sort_by(|a, b| a.name.cmp(&b.name));
    let revision = Revision {
        tenant: revision.tenant.clone(),
        agent: revision.agent.clone(),
        id: revision.id,
        number: revision.number,
        digest: revision.digest,
        settings: Arc::clone(&revision.settings),
        tools,
        features: BTreeMap::new(),
        executable: Arc::clone(&revision.executable),
        payer: aop_core::quota::Payer::nobody(),
        in_flight: AtomicU32::new(0),
    };
    ForeignAgent {
        revision: Arc::new(revision),
        aliases: Vec::new(),
        description: foreign.description().to_owned(),
        places: vec![zone.to_string()],
    }
}
