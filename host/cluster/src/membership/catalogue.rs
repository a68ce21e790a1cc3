//! What a node offers: the content of its document [`Member::CATALOGUE`](super::Member::CATALOGUE).
//! Routing fills and reads it; here it only has a form, a limit and a text that is the same for the
//! same content, so that its digest is.

use aop_core::settings::{Balance, Export};
use aop_core::{
    AgentId, AgentName, Digest, Hints, RepeatedParameter, RevisionNumber, TaskUse, TenantName,
    ToolName,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::MembershipError;

/// Everything that a node offers to its zone.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Catalogue {
    /// In the order of tenants and names.
    pub agents: Vec<CatalogueAgent>,
}

/// An agent that serves on a node.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CatalogueAgent {
    /// Whose.
    pub tenant: TenantName,
    /// Its name.
    pub name: AgentName,
    /// Its identity there.
    pub id: AgentId,
    /// What it is for.
    pub description: String,
    /// Which revision, as counted by the node.
    pub revision: RevisionNumber,
    /// The component.
    pub digest: Digest,
    /// Of its settings: agents with the same component and settings are replicas of each other.
    pub settings: Digest,
    /// How many replicas the zone should have; none when it lives where it was loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
    /// How calls are spread over them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub balance: Option<Balance>,
    /// How long a call may take, from its arrival to its answer.
    pub timeout_ms: u64,
    /// How large a result may be.
    pub output_max_bytes: u64,
    /// Executions per call in total.
    pub max_retries: u32,
    /// Whether a file of the node owns it, so that only the file removes it.
    #[serde(default)]
    pub is_of_a_file: bool,
    /// Who may call it from other zones: every node says the same of the zone's exports, and passes their calls on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub export: Option<Export>,
    /// What it offers besides tools, by the features' names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<String>,
    /// Further names, each with the tool it leads to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<(ToolName, ToolName)>,
    /// In name order.
    pub tools: Vec<CatalogueTool>,
}

/// A tool of such an agent; [`aop_core::Tool`] as it travels.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CatalogueTool {
    /// Its name.
    pub name: ToolName,
    /// A short name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What a model reads.
    pub description: String,
    /// JSON Schema of the arguments.
    pub input_schema: Box<RawValue>,
    /// JSON Schema of the envelope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<Box<RawValue>>,
    /// The function as WIT text.
    pub signature: String,
    /// What settings say of its behaviour.
    #[serde(default)]
    pub hints: Hints,
    /// Whether a call becomes a task.
    #[serde(default)]
    pub task: TaskUse,
    /// Parameters that HTTP headers repeat.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<RepeatedParameter>,
    /// Whether it works on resources that live in an instance of its node.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub takes_handles: bool,
}

impl Catalogue {
    /// The text that travels.
    ///
    /// # Errors
    /// [`MembershipError::Malformed`] when it cannot be written, which is a bug.
    pub fn to_bytes(&self) -> Result<Vec<u8>, MembershipError> {
        serde_json::to_vec(self).map_err(|error| MembershipError::Malformed(error.to_string()))
    }

    /// Reads what another node sent; its digest was checked, its content was not.
    ///
    /// # Errors
    /// [`MembershipError::Malformed`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, MembershipError> {
        serde_json::from_slice(bytes)
            .map_err(|error| MembershipError::Malformed(format!("a catalogue: {error}")))
    }
}
