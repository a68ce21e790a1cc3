//! From bytes to something that can be called. `runtime` implements these.

use std::any::Any;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use crate::quota::Payer;
use crate::{BoxFuture, CallContext, Digest, Failure, Interface, Output, Settings};

/// A component on disk whose digest was computed from the bytes that were written there.
#[derive(Debug, Clone, Copy)]
pub struct Artifact<'a> {
    /// Where the bytes are. The file does not change while it is prepared.
    pub path: &'a Path,
    /// What they hash to.
    pub digest: Digest,
}

/// Compiles a component (or finds it compiled), derives its interface, and links it under
/// `settings`, on behalf of who pays for it.
pub trait Prepare: Send + Sync {
    /// Prepares one component. Compilation happens in a bounded child process, one at a time, and those that wait
    /// for it are served in fair turn.
    ///
    /// # Errors
    /// [`PrepareError`], in words for the person who supplied the component.
    fn prepare<'a>(
        &'a self,
        artifact: Artifact<'a>,
        settings: Arc<Settings>,
        payer: &'a Arc<Payer>,
    ) -> BoxFuture<'a, Result<Prepared, PrepareError>>;

    /// Forgets what is kept of a component that nobody has any more. What cannot be removed now goes with time.
    fn forget(&self, digest: Digest) -> BoxFuture<'_, ()>;
}

/// A component that can be called.
pub struct Prepared {
    /// What it exports.
    pub interface: Arc<Interface>,
    /// How to call it.
    pub executable: Arc<dyn Executable>,
}

/// Why a component cannot be loaded.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PrepareError {
    /// It is not a component (a core module, text, a foreign precompiled file, garbage).
    #[error("{0}")]
    NotAComponent(String),
    /// It needs something that this host does not provide.
    #[error("{0}")]
    Unlinkable(String),
    /// Compiling it passed a limit.
    #[error("{0}")]
    TooCostly(String),
    /// It is larger than what a quota leaves.
    #[error("{0}")]
    OverQuota(String),
    /// The host failed.
    #[error("{0}")]
    Internal(String),
}

/// Arguments that were decoded and found valid for one function. Opaque outside `runtime`.
pub struct Arguments(pub Box<dyn Any + Send + Sync>);

/// One way in which arguments do not fit the input schema.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// JSON pointer (RFC 6901) into the arguments; empty for the root.
    pub pointer: String,
    /// What is wrong there and what was expected.
    pub message: String,
}

/// The functions of one linked component under one agent's settings.
pub trait Executable: Send + Sync {
    /// Decodes the arguments (a JSON object as text) for a function, before anything runs.
    ///
    /// # Errors
    /// Every violation, at most a bounded number; at least one.
    fn validate(&self, function: usize, arguments: &str) -> Result<Arguments, Vec<Violation>>;

    /// Runs the function once, in an instance of its own or a warm one, until it answers or
    /// `context.deadline` passes. Dropping the future stops the guest.
    ///
    /// # Errors
    /// [`Failure`]; `executed` says whether guest code may have run.
    fn execute<'a>(
        &'a self,
        function: usize,
        arguments: &'a Arguments,
        context: &'a Arc<CallContext>,
    ) -> BoxFuture<'a, Result<Output, Failure>>;
}
