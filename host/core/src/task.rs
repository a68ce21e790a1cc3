//! Calls that go on after their request was answered: MCP's tasks. `store` keeps them.
//!
//! A task exists durably before its client learns of it, so that it can be asked for at once, and after a restart.
//! What runs does not survive one: a task that was running is then failed, without an outcome.

use crate::{BoxFuture, StoreError, TenantName};

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskState {
    /// It runs, or waits for its client.
    Working,
    /// It ended with a result, which may say that the call failed.
    Completed,
    /// It ended without one.
    Failed,
    /// Its client stopped it.
    Cancelled,
}

impl TaskState {
    /// As it is stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Working => "working",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A task as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskRecord {
    /// Identifies it; nobody can guess it.
    pub id: String,
    /// Whose it is.
    pub tenant: TenantName,
    /// Who began it, within the tenant ([`Subject`](crate::Subject) as text). Nobody else learns that it exists.
    pub subject: String,
    /// Where it stands.
    pub state: TaskState,
    /// When it began, in milliseconds since the Unix epoch.
    pub created_unix_ms: u64,
    /// When its state changed last, in milliseconds since the Unix epoch.
    pub updated_unix_ms: u64,
    /// From when on it may be forgotten, in milliseconds since the Unix epoch.
    pub expires_unix_ms: u64,
    /// JSON text: the result of a completed task, the error of a failed one. A failed task without it was running
    /// when the host stopped.
    pub outcome: Option<String>,
}

/// Why a task cannot be kept.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TaskError {
    /// The caller or its tenant has as many as may be, and none of the caller's has ended.
    #[error("too many tasks are kept: wait until some of yours end, or expire")]
    Full,
    /// The medium failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The tasks. Every write is durable when its future resolves, and atomic.
pub trait Tasks: Send + Sync {
    /// Keeps a new task, and forgets those that had expired when it was created. A tenant may have `tasks_max`, and one
    /// caller a quarter of them: whoever begins more loses the oldest of its own that have ended, and nobody else's.
    ///
    /// # Errors
    /// [`TaskError`]; nothing was written.
    fn begin(&self, task: TaskRecord, tasks_max: u32) -> BoxFuture<'_, Result<(), TaskError>>;

    /// A task of a tenant; none when there is no such task, or it is somebody else's.
    ///
    /// # Errors
    /// [`StoreError`].
    fn find<'a>(
        &'a self,
        tenant: &'a TenantName,
        id: &'a str,
    ) -> BoxFuture<'a, Result<Option<TaskRecord>, StoreError>>;

    /// Ends a task that is [`TaskState::Working`]; one that has ended stays as it is.
    ///
    /// # Errors
    /// [`StoreError`].
    fn end<'a>(
        &'a self,
        tenant: &'a TenantName,
        id: &'a str,
        state: TaskState,
        outcome: Option<String>,
        updated_unix_ms: u64,
    ) -> BoxFuture<'a, Result<(), StoreError>>;
}
