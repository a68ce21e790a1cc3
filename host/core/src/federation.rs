//! Other zones: what is asked of them, and over what. `cluster` implements [`Federation`] for the edges, `services`
//! [`ZoneTransport`] for `cluster`.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{BoxFuture, Caller, Failure, Route};

/// What bounds one exchange with another zone.
#[derive(Debug, Clone, Copy)]
pub struct ExchangeLimits {
    /// Until the whole answer is there.
    pub time: Duration,
    /// The largest body of an answer.
    pub answer_max_bytes: usize,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// The URL leads where this host may not go. It never will.
    #[error("{0}")]
    Refused(String),
    /// Nothing of the request was sent.
    #[error("{0}")]
    Unreachable(String),
    /// The request may have arrived; its answer did not, or is none.
    #[error("{0}")]
    Broken(String),
    /// The answer is too large.
    #[error("{0}")]
    TooLarge(String),
}

/// Exchanges HTTP messages with other zones. Their URLs come from signed records, and still are theirs: names are
/// resolved once, private addresses are refused unless configured, redirects are answers like any other.
pub trait ZoneTransport: Send + Sync {
    /// Sends one request and reads its answer to the end. Dropping the future closes the connection, which is how
    /// the other zone learns that nobody waits.
    ///
    /// # Errors
    /// [`TransportError`].
    fn exchange(
        &self,
        request: http::Request<Bytes>,
        limits: ExchangeLimits,
    ) -> BoxFuture<'_, Result<http::Response<Bytes>, TransportError>>;
}

/// A search in other zones.
#[derive(Debug, Clone)]
pub struct ZoneQuery {
    /// Words that describe the task.
    pub text: String,
    /// Where the search begins: a zone, and with it everything below.
    pub zone: String,
    /// At most this many hits.
    pub limit: u32,
}

/// A tool of another zone that matches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ZoneHit {
    /// What to call: the tool's full name.
    pub name: String,
    /// The agent's full name.
    pub agent: String,
    /// What it does.
    pub description: String,
    /// Higher is better, within one zone's part of the answer.
    pub score: f64,
}

/// A zone that could not be searched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZoneFailure {
    /// Which.
    pub zone: String,
    /// Why.
    pub reason: String,
}

/// What a search in other zones found, and where it could not look.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ZoneFindings {
    /// The hits, the best first.
    pub tools: Vec<ZoneHit>,
    /// Zones that answered.
    pub zones: Vec<String>,
    /// Zones that did not: the findings are partial.
    pub failed: Vec<ZoneFailure>,
}

/// The other zones, as the edges of this host see them.
pub trait Federation: Send + Sync {
    /// Searches a zone and what is below it. Never waits for a dead zone beyond one deadline.
    ///
    /// # Errors
    /// When the zone to begin with is none, or nobody vouches for it.
    fn discover<'a>(
        &'a self,
        caller: &'a Caller,
        query: ZoneQuery,
    ) -> BoxFuture<'a, Result<ZoneFindings, Failure>>;

    /// Finds the tool of a full name, such as `textkit_summarize.eu.acme.example`.
    ///
    /// # Errors
    /// `not_found`, or why it cannot be known now.
    fn describe<'a>(
        &'a self,
        caller: &'a Caller,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Route, Failure>>;

    /// Resolves a name as an operator watches: every step as one JSON object.
    fn trace<'a>(&'a self, caller: &'a Caller, name: &'a str) -> BoxFuture<'a, serde_json::Value>;

    /// What this zone is, whom it knows and what it exports, as one JSON object.
    fn status(&self) -> serde_json::Value;
}
