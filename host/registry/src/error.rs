//! Why something could not be loaded or changed.

use std::io;
use std::path::PathBuf;

use aop_core::{AgentName, CatalogError, PrepareError, StoreError, ToolName};

/// Why the registry cannot be opened, or an agent not be loaded.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RegistryError {
    /// The file system refused.
    #[error("cannot use {}: {reason}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The component or its settings are at fault, in words for the person who supplied them.
    #[error("{0}")]
    Rejected(String),
    /// The host's operator permits no such component, or no such settings.
    #[error("{reason}")]
    Refused {
        /// The setting that refuses it.
        setting: &'static str,
        /// What is refused, in words for the person who supplied it.
        reason: String,
    },
    /// The component or its code is larger than what a quota leaves, in words that say what to do.
    #[error("{0}")]
    OverQuota(String),
    /// Another agent owns one of the tool names.
    #[error(
        "tool name `{tool}` belongs to agent `{owner}`: set another one with `[tools.<function>] name = \"…\"` in the settings of one of the two, or remove `{owner}`"
    )]
    NameTaken {
        /// The name.
        tool: ToolName,
        /// Who has it.
        owner: AgentName,
    },
    /// The file changed while it was read; it is read again.
    #[error("{} changed while it was read", .0.display())]
    Changed(PathBuf),
    /// Whoever asked may not any more.
    #[error("the credential is not valid any more: nothing was changed")]
    Lapsed,
    /// The host is shutting down.
    #[error("the host is draining")]
    Draining,
    /// The host failed.
    #[error("{0}")]
    Host(String),
}

impl RegistryError {
    pub(crate) fn io(path: impl Into<PathBuf>, error: &io::Error) -> Self {
        Self::Io { path: path.into(), reason: error.to_string() }
    }

    /// Whether the component and its settings are innocent, so that trying again may help.
    pub(crate) const fn is_of_the_host(&self) -> bool {
        matches!(self, Self::Io { .. } | Self::Store(_) | Self::Host(_))
    }
}

impl From<PrepareError> for RegistryError {
    fn from(error: PrepareError) -> Self {
        match error {
            PrepareError::Internal(reason) => Self::Host(reason),
            PrepareError::OverQuota(reason) => Self::OverQuota(reason),
            rejected => Self::Rejected(rejected.to_string()),
        }
    }
}

impl From<RegistryError> for CatalogError {
    fn from(error: RegistryError) -> Self {
        match error {
            RegistryError::Draining => Self::Draining,
            RegistryError::Lapsed => Self::Lapsed,
            RegistryError::Refused { setting, reason } => Self::Refused { setting, reason },
            RegistryError::OverQuota(reason) => Self::OverQuota(reason),
            RegistryError::Rejected(_) | RegistryError::NameTaken { .. } => {
                Self::Rejected(error.to_string())
            }
            _ => Self::Internal(error.to_string()),
        }
    }
}
