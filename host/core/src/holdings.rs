//! This host's own agents, as its zone needs them: what a node offers others, and the components that others
//! pull from it.

use std::sync::Arc;

use crate::{BoxFuture, Digest, Revision, Tool, ToolName};

/// An agent of this host that serves.
#[derive(Clone)]
pub struct Held {
    /// What serves.
    pub revision: Arc<Revision>,
    /// Further names that lead to its tools.
    pub aliases: Vec<(ToolName, Arc<Tool>)>,
    /// What it is for.
    pub description: String,
    /// Whether a file owns it, so that only the file removes it.
    pub is_of_a_file: bool,
}

/// The agents of this host. `registry` implements it.
pub trait Holdings: Send + Sync {
    /// Every agent that serves here, in the order of tenants and names. Foreign ones are not here.
    fn held(&self) -> Vec<Held>;

    /// The bytes of a component that some revision refers to, checked against their digest; none when there is
    /// no such component, or it is damaged.
    fn component(&self, digest: Digest) -> BoxFuture<'_, Option<Vec<u8>>>;
}
