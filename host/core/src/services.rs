//! What a running agent can ask its host for. It travels in the context of every call, so that nothing is
//! bound late and a test can give an agent a host of its own.

use std::fmt;
use std::sync::{Arc, Weak};

use crate::bucket::Buckets;
use crate::egress::Egress;
use crate::model::Models;
use crate::{Audit, Invoke, Library, Listen, Witness};

/// The host, as capabilities see it. One per host.
pub struct Services {
    /// Runs calls of agents; weak, because whoever runs calls owns the services.
    pub invoke: Weak<dyn Invoke>,
    /// Finds tools.
    pub library: Library,
    /// Language models.
    pub models: Arc<dyn Models>,
    /// What agents remember.
    pub buckets: Arc<dyn Buckets>,
    /// The way out.
    pub egress: Arc<dyn Egress>,
    /// Where it is written down what was refused.
    pub audit: Arc<dyn Audit>,
    /// Who is told that an agent's resources or prompts changed.
    pub listeners: Vec<Arc<dyn Listen>>,
    /// Who sees what agents ask for; nobody in a host that serves.
    pub witness: Option<Arc<dyn Witness>>,
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Services").finish_non_exhaustive()
    }
}
