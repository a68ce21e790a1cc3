//! The nouns of AOP and the traits its crates meet through.
//!
//! Everything here is pure: no I/O, no clock, no async runtime. Time and randomness are passed in,
//! so lifecycles, names, schemas and envelopes are tested without waiting for anything. The middle
//! crates (`runtime`, `registry`, `dispatch`, `mcp`, …) know only this crate and never each other;
//! the binary wires them together through the object-safe traits below.
//!
//! The paper's terms map onto these types: an agent ⟨id, n, d, M, φ, θ⟩ is an [`AgentId`], an
//! [`AgentName`] and [`Settings`]; a tool ⟨n, d, I, O, f⟩ is a [`Tool`] and its [`Executable`].

mod access;
pub mod audit;
mod authenticate;
pub mod bucket;
mod call;
mod catalog;
pub mod client;
pub mod cluster;
mod digest;
pub mod egress;
mod envelope;
mod error;
pub mod fair;
pub mod federation;
mod foreign;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod guest_log;
pub mod handle;
mod holdings;
pub mod interface;
mod library;
pub mod lifecycle;
pub mod lineage;
pub mod model;
mod name;
mod node;
mod observe;
pub mod policy;
mod prepare;
pub mod quota;
mod revision;
pub mod schema;
mod search;
mod secret;
mod services;
pub mod settings;
mod store;
pub mod supply;
mod task;
mod tenant;
mod tool;
mod trace;
mod witness;

use std::future::Future;
use std::pin::Pin;

pub use access::{
    AccessStore, Admin, AdminError, ApiKey, CreatedKey, KeyId, KeyIdError, KeyRecord, NewKey,
    SealedSecret, SecretEntry, Tenancy,
};
pub use audit::{Audit, AuditEvent, NoAudit};
pub use authenticate::{
    Authenticate, AuthenticateError, Bond, Caller, Challenge, Identified, Known, Presented, Scope,
    Scopes, Standing, Subject, UnknownScope,
};
pub use call::{Call, CallContext, CallId, Invoke, Meter, Output, Progress, Reply, Shown, Target};
pub use catalog::{
    AgentStatus, Catalog, CatalogError, FeatureRoute, Listen, LoadRequest, Offer, Origin, Resolve,
    RevisionStatus, Route, ToolList,
};
pub use digest::{Digest, ParseDigestError};
pub use envelope::Envelope;
pub use error::{ErrorCode, Failure, FailureClass};
pub use foreign::{ForeignAgent, Publish, RefusedAgent, Source};
pub use guest_log::{GuestLevel, GuestLine, GuestLog};
pub use holdings::{Held, Holdings};
pub use interface::Interface;
pub use library::{Found, Library, unknown_tool};
pub use lifecycle::{Event, State};
pub use lineage::Lineage;
pub use name::{AgentName, NameError, TenantName, ToolName};
pub use node::{Generation, NodeId, ParseNodeIdError};
pub use observe::{CallRecord, Measure, Observe, Sample, SampleKind};
pub use policy::{Limits, Policy};
pub use prepare::{Arguments, Artifact, Executable, Prepare, PrepareError, Prepared, Violation};
pub use revision::{AgentId, InFlight, Revision, RevisionNumber};
pub use search::{Hit, Query, Search, SearchError};
pub use secret::{Secret, SecretError, SecretName, SecretNameError, Secrets};
pub use services::Services;
pub use settings::Settings;
pub use store::{AgentRecord, NewRevision, RevisionRecord, Store, StoreError};
pub use task::{TaskError, TaskRecord, TaskState, Tasks};
pub use tenant::Tenant;
pub use tool::{Hints, RepeatedParameter, TaskUse, Tool};
pub use trace::TraceContext;
pub use witness::{Asked, Witness};

/// A boxed future, so that the traits stay object-safe. Dropping it cancels the work.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
