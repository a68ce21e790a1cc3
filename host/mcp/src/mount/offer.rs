//! From what a server lists to a foreign agent of this host.
//!
//! Names: a tool is called `{server}_{tool}` unless the operator wants its own name. What no tool here may be called is
//! made valid and gets some digits of its own name's hash, so a name never depends on what else a server has, and never leads
//! to another tool than yesterday. Names of *other* agents are
//! protected by the registry, which refuses the whole agent and says which name is taken.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use aop_core::quota::Payer;
use aop_core::{
    AgentId, Digest, ForeignAgent, Hints, Limits, Revision, RevisionNumber, Settings, TaskUse,
    Tool, ToolName,
};

use super::call::{Mounted, Remote, Shape};
use super::config::MountConfig;
use super::connect::printable;
use super::hold::Mount;
use super::schema;
use crate::builtin;

/// Longest description of a tool and of a server, in bytes: what a model can be asked to read.
const DESCRIPTION_MAX_BYTES: usize = 16 << 10;
/// Longest title, in bytes.
const TITLE_MAX_BYTES: usize = 256;
/// Bytes of all schemas of one server, as of one agent.
const SCHEMAS_MAX_BYTES: usize = aop_core::schema::SCHEMAS_MAX_BYTES;
/// The most remarks that are kept about one server.
const NOTES_MAX: usize = 20;
/// Hexadecimal digits of a hash that make a name its own.
const HASH_DIGITS: usize = 8;

/// What a server has, as this host publishes it.
pub(super) struct Offer {
    pub(super) agent: ForeignAgent,
    /// Of everything that is published of it.
    digest: Digest,
    /// What was left out or changed, and why.
    pub(super) notes: Vec<String>,
}

impl Offer {
    pub(super) fn tools(&self) -> usize {
        self.agent.revision.tools.len()
    }

    /// What a server listed. `before` is published again when nothing changed.
    pub(super) fn new(
        mount: &Arc<Mount>,
        listed: Vec<rmcp::model::Tool>,
        about: Option<&str>,
        before: Option<Self>,
    ) -> Self {
        let config = mount.config();
        let mut notes = Vec::new();
        let taken = take(config, listed, &mut notes);
        let description = cut(about.unwrap_or_default(), DESCRIPTION_MAX_BYTES);
        let digest = digest(&taken, &description);
        notes.truncate(NOTES_MAX);
        let number = match &before {
            Some(same) if same.digest == digest => {
                return Self { agent: same.agent.clone(), digest, notes };
            }
            Some(older) => older.agent.revision.number.0 + 1,
            None => 1,
        };
        let (mut tools, mut remote) = (Vec::new(), Vec::new());
        for (function, Taken { tool, own_name, shape }) in taken.into_iter().enumerate() {
            remote.push(Remote { name: own_name.into(), shape });
            tools.push(Arc::new(Tool { function, ..tool }));
        }
        let revision = Revision {
            tenant: config.tenant.clone(),
            agent: config.name.clone(),
            id: id_of(config),
            number: RevisionNumber(number),
            digest,
            settings: Arc::new(settings(config)),
            tools,
            features: BTreeMap::new(),
            executable: Arc::new(Mounted::new(Arc::downgrade(mount), remote)),
            payer: Payer::nobody(),
            in_flight: AtomicU32::new(0),
        };
        let agent = ForeignAgent {
            revision: Arc::new(revision),
            aliases: Vec::new(),
            description,
            places: vec![config.transport.place()],
        };
        Self { agent, digest, notes }
    }
}

fn settings(config: &MountConfig) -> Settings {
    Settings {
        limits: Limits {
            timeout: config.timeout,
            concurrency: config.calls_max,
            output_max_bytes: config.answer_max_bytes,
            ..Limits::default()
        },
        ..Settings::default()
    }
}

/// A tool under its name here, with the one it has there.
struct Taken {
    tool: Tool,
    own_name: String,
    shape: Shape,
}

fn take(
    config: &MountConfig,
    mut listed: Vec<rmcp::model::Tool>,
    notes: &mut Vec<String>,
) -> Vec<Taken> {
    listed.sort_by(|a, b| a.name.cmp(&b.name));
    let mut seen = BTreeSet::new();
    listed.retain(|tool| {
        let is_new = seen.insert(tool.name.clone());
        if !is_new {
            notes.push(format!(
                "it lists `{}` twice: the second is left out",
                printable(&tool.name)
            ));
        }
        is_new
    });
    // Those of another host like this one find and call what it lists as well, and this host has its own for that.
    let is_own = |tool: &rmcp::model::Tool| builtin::is_reserved(&tool.name);
    if !listed.iter().all(is_own) {
        let before = listed.len();
        listed.retain(|tool| !is_own(tool));
        if listed.len() < before {
            notes.push("its `aop_` tools are left out: this host has its own".to_owned());
        }
    }
    if listed.len() > config.tools_max {
        notes.push(format!(
            "it has {} tools, of which the first {} in name order are taken: see `tools_max`",
            listed.len(),
            config.tools_max
        ));
        listed.truncate(config.tools_max);
    }
    // A name as the server gave it is that tool's, whatever another one was changed to.
    let unchanged: BTreeSet<_> =
        listed.iter().filter_map(|tool| unchanged(config, &tool.name)).collect();
    let mut changed = BTreeSet::new();
    let mut taken: Vec<Taken> = Vec::new();
    let mut schema_bytes = 0;
    for tool in listed {
        let own_name = tool.name.clone().into_owned();
        let named = name(config, &own_name).and_then(|(name, is_changed)| {
            if is_changed && (unchanged.contains(name.as_str()) || !changed.insert(name.clone())) {
                return Err(format!("another of its tools is `{name}`"));
            }
            definition(name, tool)
        });
        match named {
            Ok((tool, shape)) => {
                schema_bytes += tool.input_schema.get().len()
                    + tool.output_schema.as_ref().map_or(0, |schema| schema.get().len());
                if schema_bytes > SCHEMAS_MAX_BYTES {
                    let limit = SCHEMAS_MAX_BYTES >> 20;
                    notes.push(format!("its schemas have more than {limit} MiB: the tools from `{}` on are left out", printable(&own_name)));
                    break;
                }
                taken.push(Taken { tool, own_name, shape });
            }
            Err(reason) => {
                notes.push(format!("`{}` is left out: {reason}", printable(&own_name)));
            }
        }
    }
    taken.sort_by(|a, b| a.tool.name.cmp(&b.tool.name));
    taken
}

fn definition(name: ToolName, tool: rmcp::model::Tool) -> Result<(Tool, Shape), String> {
    let annotations = tool.annotations.unwrap_or_default();
    let title = tool.title.or(annotations.title).filter(|title| !title.is_empty());
    let (output_schema, shape) = schema::output(tool.output_schema.as_deref())?;
    let tool = Tool {
        name,
        title: title.map(|title| cut(&title, TITLE_MAX_BYTES)),
        description: cut(tool.description.as_deref().unwrap_or_default(), DESCRIPTION_MAX_BYTES),
        input_schema: schema::input(&tool.input_schema)?,
        output_schema,
        signature: String::new(),
        hints: Hints {
            idempotent: annotations.idempotent_hint == Some(true),
            read_only: annotations.read_only_hint,
            destructive: annotations.destructive_hint,
            open_world: annotations.open_world_hint,
        },
        task: TaskUse::Never,
        headers: Vec::new(),
        converses: false,
        takes_handles: false,
        function: 0,
    };
    Ok((tool, shape))
}

/// How a tool is called here, and whether that is not what the server calls it.
///
/// # Errors
/// Why it cannot have a name.
fn name(config: &MountConfig, own: &str) -> Result<(ToolName, bool), String> {
    let (valid, is_changed) = valid(config, own);
    let name = if is_changed { hashed(&valid, own) } else { valid };
    ToolName::new(&name).map(|name| (name, is_changed)).map_err(|error| error.to_string())
}

/// The name of a tool whose own name is valid.
fn unchanged(config: &MountConfig, own: &str) -> Option<String> {
    let (valid, is_changed) = valid(config, own);
    (!is_changed).then_some(valid)
}

/// The name nearest to a server's own that is valid but for its length, and whether the server's is another one.
fn valid(config: &MountConfig, own: &str) -> (String, bool) {
    let prefix = config.name.replace('-', "_");
    let wanted = if config.prefix { format!("{prefix}_{own}") } else { own.to_owned() };
    let mut name = String::with_capacity(wanted.len());
    for c in wanted.chars() {
        let c = if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
        if c != '_' || !name.ends_with('_') {
            name.push(c);
        }
    }
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        name.insert_str(0, if name.starts_with('_') { "t" } else { "t_" });
    }
    let is_changed = name != wanted || name.len() > ToolName::LENGTH_MAX;
    (name, is_changed)
}

/// A name with some digits of what it stands for, within the longest length.
fn hashed(name: &str, own: &str) -> String {
    let digest = Digest::of(own.as_bytes()).hex();
    let room = ToolName::LENGTH_MAX - HASH_DIGITS - 1;
    // Made of ASCII alone by now.
    let kept = name[..name.len().min(room)].trim_end_matches('_');
    format!("{kept}_{}", &digest[..HASH_DIGITS])
}

fn cut(text: &str, bytes_max: usize) -> String {
    text[..text.floor_char_boundary(bytes_max)].to_owned()
}

fn digest(taken: &[Taken], description: &str) -> Digest {
    let mut text = description.to_owned();
    for Taken { tool, own_name, .. } in taken {
        text.push('\n');
        text.push_str(own_name);
        text.push('\n');
        // Strings and raw JSON: writing them cannot fail.
        text.push_str(&serde_json::to_string(tool).unwrap_or_default());
        text.push_str(&serde_json::to_string(&tool.hints).unwrap_or_default());
    }
    Digest::of(text.as_bytes())
}

/// Always the same for a mount, and no other agent's.
fn id_of(config: &MountConfig) -> AgentId {
    let text = format!("mount\n{}\n{}\n{}", config.tenant, config.name, config.transport.place());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&Digest::of(text.as_bytes()).as_bytes()[..16]);
    AgentId(uuid::Builder::from_custom_bytes(bytes).into_uuid())
}

#[cfg(test)]
mod tests;
