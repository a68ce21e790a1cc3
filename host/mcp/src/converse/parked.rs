//! Calls that wait for their client to come back with answers (2026-07-28).
//!
//! A server of that revision sends no requests: it answers `input_required` with what it wants to know, and the
//! client sends its request again with the answers and the `requestState` that it was given. The call itself does
//! not start again: it waits here, with its instance, its deadline and its place in the agent's concurrency.
//!
//! A `requestState` names one wait of one call. It is sealed, bound to the caller and to the request (method,
//! name and arguments), good for one use, and worthless once the call has ended, which its own deadline sees to, and the end of its client's credential.
//!
//! Calls that wait are bounded in number, since each keeps an instance, and in the bytes of their arguments and
//! questions, which clients and agents choose. None waits once the host stops.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use aop_core::{Caller, Digest, Standing, Subject, TenantName};
use rmcp::ErrorData;
use rmcp::model::{JsonObject, RequestStateCodec, SealOptions};
use serde_json::Value;
use uuid::Uuid;

use super::ongoing::Ongoing;

/// Arguments and questions of all calls that wait: sixteen of the largest, or every place taken with 64 KiB each.
pub(crate) const HELD_MAX_BYTES: usize = 64 << 20;

/// See the module's documentation.
pub(crate) struct Parked {
    codec: RequestStateCodec,
    limits: ParkedLimits,
    kept: Mutex<Kept>,
    me: Weak<Self>,
}

/// How many calls may wait: each keeps an instance, and its place among the calls of its agent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ParkedLimits {
    pub(crate) total_max: usize,
    pub(crate) per_tenant_max: usize,
    /// Far less than an agent has places, so that who never answers keeps no agent from others.
    pub(crate) per_caller_max: usize,
}

#[derive(Default)]
struct Kept {
    calls: HashMap<Uuid, Waiting>,
    held_bytes: usize,
    /// Whether the host stops.
    is_closed: bool,
}

struct Waiting {
    tenant: TenantName,
    subject: Subject,
    ongoing: Ongoing,
    held_bytes: usize,
}

/// A call that cannot wait.
pub(crate) struct NotParked {
    pub(crate) ongoing: Box<Ongoing>,
    /// Why, in words for its agent.
    pub(crate) reason: &'static str,
}

impl Kept {
    fn remove(&mut self, id: &Uuid) -> Option<Waiting> {
        let waiting = self.calls.remove(id)?;
        self.held_bytes -= waiting.held_bytes;
        Some(waiting)
    }
}

/// What a `requestState` is good for: one request of one caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RequestIdentity {
    tenant: TenantName,
    subject: Subject,
    request: Vec<u8>,
}

impl RequestIdentity {
    /// Identifies a request. Clients send it again with the same arguments, but perhaps in another spelling.
    pub(crate) fn new(
        caller: &Caller,
        method: &str,
        name: &str,
        arguments: Option<&JsonObject>,
    ) -> Self {
        let mut canonical = String::new();
        if let Some(arguments) = arguments {
            write_object(arguments, &mut canonical);
        }
        let digest = Digest::of(canonical.as_bytes());
        let (subject, digest) = (caller.subject.to_string(), digest.to_string());
        let parts = [caller.tenant.as_str(), &subject, method, name, &digest];
        // Lengths keep apart what would otherwise run together.
        let sized = parts.map(|part| format!("{}:{part}", part.len()));
        Self {
            tenant: caller.tenant.clone(),
            subject: caller.subject.clone(),
            request: sized.concat().into_bytes(),
        }
    }
}

/// JSON with the members of objects in the order of their names.
fn write(value: &Value, text: &mut String) {
    match value {
        Value::Object(object) => write_object(object, text),
        Value::Array(items) => {
            text.push('[');
            for item in items {
                write(item, text);
                text.push(',');
            }
            text.push(']');
        }
        other => text.push_str(&other.to_string()),
    }
}

fn write_object(object: &JsonObject, text: &mut String) {
    let mut members: Vec<_> = object.iter().collect();
    members.sort_by_key(|(name, _)| *name);
    text.push('{');
    for (name, value) in members {
        text.push_str(&Value::from(name.as_str()).to_string());
        text.push(':');
        write(value, text);
        text.push(',');
    }
    text.push('}');
}

/// Until whoever began a call may not have it any more.
async fn lost(standing: Option<Standing>) {
    let Some(standing) = standing else { return std::future::pending().await };
    while standing.holds() {
        tokio::time::sleep(Standing::ASKED_EVERY).await;
    }
}

impl Parked {
    pub(crate) fn new(limits: ParkedLimits) -> Arc<Self> {
        // States are worth nothing after a restart, because the calls are gone: the key need not be kept.
        let key =
            [Uuid::new_v4().into_bytes(), Uuid::new_v4().into_bytes(), Uuid::new_v4().into_bytes()];
        let codec = RequestStateCodec::new_unchecked(key.concat());
        Arc::new_cyclic(|me| Self { codec, limits, kept: Mutex::default(), me: me.clone() })
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a call until its client comes back with the state that this returns, or until it ends.
    ///
    /// # Errors
    /// [`NotParked`]: too many wait already, they hold too much, or the host stops.
    pub(crate) fn park(
        &self,
        ongoing: Ongoing,
        identity: &RequestIdentity,
    ) -> Result<String, NotParked> {
        // What was answered in advance and not asked for by now would wait with it.
        ongoing.client.forget_advance();
        let id = Uuid::new_v4();
        let (done, standing) = (ongoing.done.clone(), ongoing.standing.clone());
        let held_bytes = ongoing.held_bytes();
        {
            let mut kept = self.kept();
            if let Some(reason) = self.refusal(&kept, identity, held_bytes) {
                return Err(NotParked { ongoing: Box::new(ongoing), reason });
            }
            kept.held_bytes += held_bytes;
            let (tenant, subject) = (identity.tenant.clone(), identity.subject.clone());
            kept.calls.insert(id, Waiting { tenant, subject, ongoing, held_bytes });
        }
        let me = self.me.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = done.cancelled() => {}
                () = lost(standing) => {}
            }
            let Some(parked) = me.upgrade() else { return };
            let waiting = parked.kept().remove(&id);
            // Outside the lock: dropping a call stops its guest.
            drop(waiting);
        });
        let options = SealOptions::new().associated_data(&identity.request);
        Ok(self.codec.seal_with(id.as_bytes(), &options))
    }

    /// Why no further call may wait; none when it may.
    fn refusal(
        &self,
        kept: &Kept,
        identity: &RequestIdentity,
        held_bytes: usize,
    ) -> Option<&'static str> {
        let ParkedLimits { total_max, per_tenant_max, per_caller_max } = self.limits;
        let (mut of_tenant, mut of_caller) = (0, 0);
        for waiting in kept.calls.values().filter(|waiting| waiting.tenant == identity.tenant) {
            of_tenant += 1;
            of_caller += usize::from(waiting.subject == identity.subject);
        }
        if kept.is_closed {
            Some("the host is stopping")
        } else if kept.calls.len() >= total_max || of_tenant >= per_tenant_max {
            Some("too many calls wait for answers of their clients")
        } else if of_caller >= per_caller_max {
            Some("too many calls of this caller wait for its answers: answer some first")
        } else if held_bytes > HELD_MAX_BYTES - kept.held_bytes {
            Some(
                "the calls that wait for answers of their clients hold too much: ask for less, or later",
            )
        } else {
            None
        }
    }

    /// The call that a state belongs to. It works once.
    ///
    /// # Errors
    /// Invalid params: forged, somebody else's, for another request, used, or too late.
    pub(crate) fn take(
        &self,
        state: &str,
        identity: &RequestIdentity,
    ) -> Result<Ongoing, ErrorData> {
        let refused = |reason: &'static str| ErrorData::invalid_params(reason, None);
        let opened = self.codec.open_with(state, &identity.request).map_err(|_| {
            refused("requestState was not given out by this server for this request: send it back unchanged, with the request that it answered")
        })?;
        let id = Uuid::from_slice(&opened).map_err(|_| refused("requestState names no call"))?;
        let waiting = self.kept().remove(&id).ok_or_else(|| {
            refused("requestState was used already, or the call that it belongs to has ended: start again without it")
        })?;
        Ok(waiting.ongoing)
    }

    /// Stops the calls of a tenant that wait.
    pub(crate) fn end(&self, tenant: &TenantName) {
        let mut ended = Vec::new();
        let mut kept = self.kept();
        let of_tenant: Vec<_> = kept
            .calls
            .iter()
            .filter_map(|(id, waiting)| (waiting.tenant == *tenant).then_some(*id))
            .collect();
        for id in of_tenant {
            ended.extend(kept.remove(&id));
        }
        // Outside the lock: dropping a call stops its guest.
        drop(kept);
        drop(ended);
    }

    /// Calls that wait now.
    pub(crate) fn count(&self) -> usize {
        self.kept().calls.len()
    }

    /// Stops every call that waits, and lets none wait any more.
    pub(crate) fn close(&self) {
        let waiting =
            std::mem::replace(&mut *self.kept(), Kept { is_closed: true, ..Kept::default() });
        drop(waiting);
    }
}
