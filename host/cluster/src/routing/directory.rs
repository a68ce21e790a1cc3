//! From what the nodes say they offer to the agents that this node passes calls on to.
//!
//! Each node's document is its own agents only, so nothing is heard twice. Agents of one name are one agent:
//! those with the same component and settings are replicas of each other, and of different versions one is
//! chosen, visibly: the one that the placement record names, else the highest revision, else that of the node with
//! the lowest id.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use aop_core::quota::Payer;
use aop_core::{
    AgentId, AgentName, Digest, Executable, ForeignAgent, Held, NodeId, Revision, Settings,
    TenantName, Tool, ToolName,
};

use super::Router;
use super::attempt::Function;
use super::forward::Forward;
use super::placement::{Key, Placements};
use super::replicas::{Place, ReplicaSet, Version};
use super::wire::feature_named;
use crate::membership::{
    Catalogue, CatalogueAgent, CatalogueTool, Document, Documents, Member, View,
};

/// Calls of one agent that may be under way from this node: its owners bound what runs.
const UNDER_WAY_MAX: u32 = 16_384;
/// The same for those that wait until one of them ends.
const WAITING_MAX: u32 = 1024;

/// The longest call that another node may promise: a day, longer than any settings say.
const TIMEOUT_MAX_MS: u64 = 24 * 60 * 60 * 1000;
/// The largest result that is taken from another node, whatever it promises.
const OUTPUT_MAX_BYTES: u64 = 1 << 30;
/// The most executions of one call.
const RETRIES_MAX: u32 = 16;

/// Numbers that another node says are taken for what they can mean at most.
fn bound(agent: &mut CatalogueAgent) {
    agent.timeout_ms = agent.timeout_ms.min(TIMEOUT_MAX_MS);
    agent.output_max_bytes = agent.output_max_bytes.min(OUTPUT_MAX_BYTES);
    agent.max_retries = agent.max_retries.min(RETRIES_MAX);
    agent.replicas = agent.replicas.map(|replicas| replicas.min(Settings::REPLICAS_MAX));
}

/// What a node offers, from what it holds.
pub(super) fn catalogue(held: &[Held]) -> Catalogue {
    let mut agents: Vec<_> = held.iter().map(agent).collect();
    agents.sort_by(|a, b| (&a.tenant, &a.name).cmp(&(&b.tenant, &b.name)));
    Catalogue { agents }
}

fn agent(held: &Held) -> CatalogueAgent {
    let Held { revision, aliases, description, is_of_a_file } = held;
    let settings = &revision.settings;
    CatalogueAgent {
        tenant: revision.tenant.clone(),
        name: revision.agent.clone(),
        id: revision.id,
        description: description.clone(),
        revision: revision.number,
        digest: revision.digest,
        settings: settings.digest(),
        replicas: settings.replicas,
        balance: settings.balance,
        timeout_ms: u64::try_from(settings.limits.timeout.as_millis()).unwrap_or(u64::MAX),
        output_max_bytes: settings.limits.output_max_bytes,
        max_retries: settings.max_retries,
        is_of_a_file: *is_of_a_file,
        export: settings.export.clone(),
        features: revision.features.keys().map(|feature| feature.as_str().to_owned()).collect(),
        aliases: aliases.iter().map(|(name, tool)| (name.clone(), tool.name.clone())).collect(),
        tools: revision.tools.iter().map(|tool| described(tool)).collect(),
    }
}

fn described(tool: &Tool) -> CatalogueTool {
    CatalogueTool {
        name: tool.name.clone(),
        title: tool.title.clone(),
        description: tool.description.clone(),
        input_schema: tool.input_schema.clone(),
        output_schema: tool.output_schema.clone(),
        signature: tool.signature.clone(),
        hints: tool.hints,
        task: tool.task,
        headers: tool.headers.clone(),
        takes_handles: tool.takes_handles,
    }
}

/// The catalogues of the nodes, each read once.
#[derive(Default)]
pub(super) struct Catalogues(HashMap<NodeId, (Digest, Arc<Catalogue>)>);

impl Catalogues {
    /// Takes in what the nodes published. One that cannot be read is left out until it changes.
    pub(super) fn read(&mut self, documents: &Documents) {
        let named: BTreeMap<_, _> = documents.named(Member::CATALOGUE).collect();
        self.0.retain(|node, _| named.contains_key(node));
        for (node, document) in named {
            let Document { version, bytes } = document;
            if self.0.get(node).is_some_and(|(digest, _)| *digest == version.digest) {
                continue;
            }
            let mut catalogue = Catalogue::from_bytes(bytes).unwrap_or_else(|error| {
                tracing::warn!(%node, %error, "another node's catalogue makes no sense");
                Catalogue::default()
            });
            catalogue.agents.iter_mut().for_each(bound);
            self.0.insert(node.clone(), (version.digest, Arc::new(catalogue)));
        }
    }

    /// What this node offers, which need not come round through the zone.
    pub(super) fn set_own(&mut self, node: &NodeId, catalogue: Catalogue) {
        // No document has this digest, so one that comes round is read again and is the same.
        self.0.insert(node.clone(), (Digest::of(b""), Arc::new(catalogue)));
    }

    /// Every agent with the live node that has it, this one included.
    pub(super) fn agents<'a>(
        &'a self,
        view: &'a View,
    ) -> impl Iterator<Item = (&'a Member, &'a CatalogueAgent)> {
        view.members.values().flat_map(|member| {
            let catalogue = self.0.get(&member.id).map(|(_, catalogue)| catalogue);
            catalogue
                .into_iter()
                .flat_map(move |c| c.agents.iter().map(move |agent| (member, agent)))
        })
    }
}

/// What the live nodes have of one agent, whatever its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owner {
    /// Nodes that have loaded it by themselves have it under ids of their own.
    pub(super) oldest: AgentId,
    /// Nodes on which a file owns it.
    pub(super) files: Vec<NodeId>,
}

/// By agent.
pub(super) type Owned = BTreeMap<Key, Owner>;

/// Who owns the agents of the live nodes.
pub(super) fn owned<'a>(agents: impl Iterator<Item = (&'a Member, &'a CatalogueAgent)>) -> Owned {
    let mut owned = Owned::new();
    for (member, agent) in agents {
        let key = (agent.tenant.clone(), agent.name.clone());
        let owner =
            owned.entry(key).or_insert_with(|| Owner { oldest: agent.id, files: Vec::new() });
        owner.oldest = owner.oldest.min(agent.id);
        owner.files.extend(agent.is_of_a_file.then(|| member.id.clone()));
    }
    owned
}

/// One agent of the zone.
pub(super) struct Gathered<'a> {
    /// The version that calls go to, as one of its nodes describes it.
    pub(super) agent: &'a CatalogueAgent,
    /// Where it takes calls.
    pub(super) places: Vec<Place>,
    /// Every live node that has it, draining ones included.
    pub(super) nodes: Vec<NodeId>,
    /// Nodes that have another version of it.
    pub(super) others: Vec<NodeId>,
}

/// What of the zone's agents are one agent, and where.
pub(super) fn gather<'a>(
    agents: impl Iterator<Item = (&'a Member, &'a CatalogueAgent)>,
    placements: &Placements,
) -> BTreeMap<Key, Gathered<'a>> {
    let mut by_key: BTreeMap<Key, Vec<(&Member, &CatalogueAgent)>> = BTreeMap::new();
    for (member, agent) in agents {
        by_key.entry((agent.tenant.clone(), agent.name.clone())).or_default().push((member, agent));
    }
    let gathered = by_key.into_iter().filter_map(|(key, found)| {
        let placed = placements.0.get(&key).filter(|record| !record.is_gone);
        let placed = placed.map(|record| record.version());
        let rank = |member: &Member, agent: &CatalogueAgent| {
            let is_placed = placed == Some((agent.digest, agent.settings));
            (is_placed, agent.revision, std::cmp::Reverse(member.id.clone()))
        };
        let (_, best) = found.iter().max_by_key(|(member, agent)| rank(member, agent))?;
        let version = version(best);
        let (same, other): (Vec<_>, Vec<_>) =
            found.iter().partition(|(_, agent)| self::version(agent).is_of(&version));
        let taking = same.iter().filter(|(member, _)| !member.draining);
        let gathered = Gathered {
            agent: best,
            places: taking
                .map(|(member, _)| Place { node: member.id.clone(), capacity: member.capacity })
                .collect(),
            nodes: same.iter().map(|(member, _)| member.id.clone()).collect(),
            others: other.iter().map(|(member, _)| member.id.clone()).collect(),
        };
        Some((key, gathered))
    });
    gathered.collect()
}

pub(super) fn version(agent: &CatalogueAgent) -> Version {
    Version { revision: agent.revision, digest: agent.digest, settings: agent.settings }
}

/// An agent as this node passes calls on to it; kept while it stays the same, so that what is known of its
/// replicas is, too.
pub(super) struct Route {
    pub(super) set: Arc<ReplicaSet>,
    /// Its description, to see whether it changed.
    described: Digest,
    foreign: ForeignAgent,
}

impl Route {
    pub(super) fn new(router: &Arc<Router>, gathered: &Gathered<'_>) -> Self {
        let agent = gathered.agent;
        let set = Arc::new(ReplicaSet::new(
            (agent.tenant.clone(), agent.name.clone()),
            version(agent),
            agent.replicas,
            agent.balance,
            functions(agent),
        ));
        let executable = Forward {
            router: Arc::clone(router),
            set: Arc::clone(&set),
            output_max_bytes: agent.output_max_bytes,
        };
        let foreign = foreign(agent, Arc::new(executable));
        Self { set, described: describe(agent), foreign }
    }

    /// Whether it still is what a node describes.
    pub(super) fn is_of(&self, agent: &CatalogueAgent) -> bool {
        self.described == describe(agent)
    }

    /// The agent for the registry, at the nodes where it is now.
    pub(super) fn foreign(&self, nodes: &[NodeId]) -> ForeignAgent {
        let places = nodes.iter().map(ToString::to_string).collect();
        ForeignAgent { places, ..self.foreign.clone() }
    }
}

/// Identifies everything that a node says of an agent, except how often that node loaded it.
fn describe(agent: &CatalogueAgent) -> Digest {
    let same = CatalogueAgent {
        revision: aop_core::RevisionNumber(0),
        is_of_a_file: false,
        ..agent.clone()
    };
    // Plain data: writing it cannot fail.
    Digest::of(&serde_json::to_vec(&same).unwrap_or_default())
}

/// The tools, then the features, in the order of the indices that [`foreign`] gives out.
fn functions(agent: &CatalogueAgent) -> Vec<Function> {
    let tools = agent.tools.iter().map(|tool| Function {
        name: tool.name.clone(),
        feature: None,
        idempotent: tool.hints.idempotent && !tool.takes_handles,
    });
    let features = agent.features.iter().filter_map(|name| {
        // Features only read.
        let (feature, name) = (feature_named(name), ToolName::new(name).ok()?);
        Some(Function { name, feature, idempotent: true })
    });
    tools.chain(features).collect()
}

fn foreign(agent: &CatalogueAgent, executable: Arc<dyn Executable>) -> ForeignAgent {
    let tools: Vec<_> =
        agent.tools.iter().enumerate().map(|(at, tool)| Arc::new(tool_at(tool, at))).collect();
    let features = agent.features.iter().enumerate();
    let features = features.filter_map(|(at, name)| Some((feature_named(name)?, tools.len() + at)));
    let aliases = agent.aliases.iter().filter_map(|(alias, name)| {
        let tool = tools.iter().find(|tool| tool.name == *name)?;
        Some((alias.clone(), Arc::clone(tool)))
    });
    ForeignAgent {
        aliases: aliases.collect(),
        description: agent.description.clone(),
        places: Vec::new(),
        revision: Arc::new(Revision {
            tenant: agent.tenant.clone(),
            agent: agent.name.clone(),
            id: agent.id,
            number: agent.revision,
            digest: agent.digest,
            settings: Arc::new(settings(agent)),
            features: features.collect(),
            executable,
            payer: Payer::nobody(),
            in_flight: 0.into(),
            tools,
        }),
    }
}

fn tool_at(tool: &CatalogueTool, function: usize) -> Tool {
    Tool {
        name: tool.name.clone(),
        title: tool.title.clone(),
        description: tool.description.clone(),
        input_schema: tool.input_schema.clone(),
        output_schema: tool.output_schema.clone(),
        signature: tool.signature.clone(),
        hints: tool.hints,
        task: tool.task,
        headers: tool.headers.clone(),
        // Questions do not travel between nodes: what asks is answered that its client cannot.
        converses: false,
        takes_handles: tool.takes_handles,
        function,
    }
}

/// The settings that matter where calls are only passed on.
fn settings(agent: &CatalogueAgent) -> Settings {
    let mut settings = Settings {
        max_retries: agent.max_retries.max(1),
        replicas: agent.replicas,
        balance: agent.balance,
        export: agent.export.clone(),
        ..Settings::default()
    };
    settings.limits.timeout = std::time::Duration::from_millis(agent.timeout_ms);
    settings.limits.output_max_bytes = agent.output_max_bytes;
    settings.limits.concurrency = UNDER_WAY_MAX;
    settings.limits.queue = WAITING_MAX;
    settings
}

/// The replica sets by tenant and agent; what a call of a balanced agent looks in.
pub(super) type Sets = HashMap<TenantName, HashMap<AgentName, Arc<ReplicaSet>>>;

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use aop_core::{Generation, RevisionNumber};

    use super::super::placement::Placement;
    use super::*;
    use crate::membership::Load;

    fn member(number: u8, draining: bool) -> Member {
        Member {
            id: NodeId::of_public_key(&[number]),
            generation: Generation(1),
            endpoint: SocketAddr::from(([127, 0, 0, 1], 1)),
            load: Load::default(),
            capacity: u32::from(number) + 1,
            labels: BTreeMap::new(),
            draining,
            holds_authority: false,
            documents: BTreeMap::new(),
            version: 0,
        }
    }

    fn agent(component: &str, revision: u64) -> CatalogueAgent {
        CatalogueAgent {
            tenant: TenantName::default_tenant(),
            name: AgentName::new("writer").unwrap(),
            id: AgentId(uuid::Uuid::nil()),
            description: String::new(),
            revision: RevisionNumber(revision),
            digest: Digest::of(component.as_bytes()),
            settings: Settings::default().digest(),
            replicas: None,
            balance: None,
            timeout_ms: 1000,
            output_max_bytes: 1000,
            max_retries: 3,
            is_of_a_file: false,
            export: None,
            features: Vec::new(),
            aliases: Vec::new(),
            tools: Vec::new(),
        }
    }

    #[test]
    fn the_same_component_and_settings_are_one_agent_and_draining_nodes_take_no_calls() {
        let members = [member(0, false), member(1, true), member(2, false)];
        let agents = [agent("x", 1), agent("x", 4), agent("x", 2)];
        let all = gather(members.iter().zip(&agents), &Placements::default());
        let one = all.values().next().unwrap();
        assert_eq!((all.len(), one.nodes.len(), one.others.len()), (1, 3, 0));
        let places: Vec<_> = one.places.iter().map(|place| place.capacity).collect();
        assert_eq!(places, [1, 3]);
    }

    #[test]
    fn of_different_versions_the_higher_revision_is_called_unless_a_placement_says_which() {
        let members = [member(0, false), member(1, false)];
        let agents = [agent("old", 1), agent("new", 2)];
        let mut placements = Placements::default();
        let all = gather(members.iter().zip(&agents), &placements);
        let one = all.values().next().unwrap();
        assert_eq!(
            (one.agent.digest, &one.others[..]),
            (Digest::of(b"new"), &[members[0].id.clone()][..])
        );
        placements.merge(Placement {
            tenant: TenantName::default_tenant(),
            agent: AgentName::new("writer").unwrap(),
            id: AgentId(uuid::Uuid::nil()),
            revision: 1,
            node: members[0].id.clone(),
            digest: Digest::of(b"old"),
            settings: Settings::default(),
            is_gone: false,
            changed_unix_ms: 0,
        });
        let all = gather(members.iter().zip(&agents), &placements);
        assert_eq!(all.values().next().unwrap().agent.digest, Digest::of(b"old"));
    }

    #[test]
    fn the_oldest_id_and_the_nodes_with_files_are_known_of_every_version() {
        let members = [member(0, false), member(1, true), member(2, false)];
        let id = |number| AgentId(uuid::Uuid::from_u128(number));
        let agents = [
            CatalogueAgent { id: id(7), ..agent("x", 1) },
            CatalogueAgent { id: id(3), is_of_a_file: true, ..agent("y", 1) },
            CatalogueAgent { id: id(9), ..agent("x", 1) },
        ];
        let owned = owned(members.iter().zip(&agents));
        let owner = Owner { oldest: id(3), files: vec![members[1].id.clone()] };
        assert_eq!(owned.into_values().collect::<Vec<_>>(), [owner]);
    }

    #[test]
    fn what_a_node_exports_is_exported_by_every_node() {
        let export = aop_core::settings::Export {
            to: vec!["world".to_owned()],
            ..aop_core::settings::Export::default()
        };
        let exported = CatalogueAgent { export: Some(export.clone()), ..agent("x", 1) };
        let bytes = Catalogue { agents: vec![exported] }.to_bytes().unwrap();
        let read = Catalogue::from_bytes(&bytes).unwrap().agents.remove(0);
        assert_eq!(settings(&read).export, Some(export));
        assert_eq!(settings(&agent("x", 1)).export, None);
    }

    #[test]
    fn numbers_of_other_nodes_are_bounded() {
        let absurd = CatalogueAgent {
            timeout_ms: u64::MAX,
            output_max_bytes: u64::MAX,
            max_retries: u32::MAX,
            replicas: Some(u32::MAX),
            ..agent("x", u64::MAX)
        };
        let bytes = Catalogue { agents: vec![absurd] }.to_bytes().unwrap();
        let node = member(0, false).id;
        let version = crate::membership::DocumentVersion { serial: 1, digest: Digest::of(&bytes) };
        let mut documents = Documents::default();
        let document = Document { version, bytes: bytes.into() };
        documents.0.entry(Member::CATALOGUE.to_owned()).or_default().insert(node.clone(), document);
        let mut catalogues = Catalogues::default();
        catalogues.read(&documents);
        let read = &catalogues.0[&node].1.agents[0];
        assert_eq!((read.timeout_ms, read.output_max_bytes), (TIMEOUT_MAX_MS, OUTPUT_MAX_BYTES));
        assert_eq!((read.max_retries, read.replicas), (16, Some(Settings::REPLICAS_MAX)));
    }

    #[test]
    fn how_often_a_node_loaded_an_agent_is_no_change_of_it() {
        assert_eq!(describe(&agent("x", 1)), describe(&agent("x", 2)));
        let slower = CatalogueAgent { timeout_ms: 2000, ..agent("x", 1) };
        assert_ne!(describe(&agent("x", 1)), describe(&slower));
    }
}
