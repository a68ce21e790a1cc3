//! What the edge knows of a request before anyone parsed it. It travels beside the request through
//! `rmcp`, so that a handler there sees the same facts as the fast path.

use std::sync::Arc;
use std::time::Instant;

use aop_core::{Caller, Standing, TraceContext};
use bytes::Bytes;
use rmcp::model::Extensions;
use tokio_util::sync::CancellationToken;

use crate::following::Following;

/// One request's circumstances.
#[derive(Debug, Clone)]
pub(crate) struct Arrival {
    /// Who sent it.
    pub(crate) caller: Caller,
    /// Whether the caller may still have what it opens; none where nobody can take it away.
    pub(crate) standing: Option<Standing>,
    /// When it arrived; timeouts count from here.
    pub(crate) received: Instant,
    /// The message as it was sent: arguments are taken from here, because a parsed value loses
    /// duplicate keys, key order and number spelling.
    pub(crate) message: Bytes,
    /// The trace in the transport's headers, if it has any.
    pub(crate) trace: Option<TraceContext>,
    /// What the client follows besides answers; none for a stateless request over HTTP.
    pub(crate) following: Option<Arc<Following>>,
    /// Cancelled when nobody waits for the answer any more: the connection closed, the session
    /// was deleted, stdin ended.
    pub(crate) gone: CancellationToken,
}

impl Arrival {
    /// Finds the arrival that an edge attached to a request.
    pub(crate) fn of(extensions: &Extensions) -> Option<&Self> {
        extensions
            .get::<http::request::Parts>()
            .and_then(|parts| parts.extensions.get::<Self>())
            .or_else(|| extensions.get::<Self>())
    }
}
