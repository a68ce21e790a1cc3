//! Calls that wait for their client to come back with answers (2026-07-28).
//!
//! A server of that revision sends no requests: it answers `input_required` with what it wants to know, and the
//! client sends its request again with the answers and the `requestState` that it was given. The call itself does
//! not start again: it waits here, with its instance, its deadline and its place in the agent's concurrency.
//!
//! A `requestState` names one wait of one call. It is sealed, bound to the tenant and to the request (method,
//! name and arguments), good for one use, and worthless once the call has ended, which its own deadline sees to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use aop_core::{Caller, Digest, TenantName};
use rmcp::ErrorData;
use rmcp::model::{JsonObject, RequestStateCodec, SealOptions};
use serde_json::Value;
use uuid::Uuid;

use super::ongoing::Ongoing;

/// See the module's documentation.
pub(crate) struct Parked {
    codec: RequestStateCodec,
    total_max: usize,
    per_tenant_max: usize,
    calls: Mutex<HashMap<Uuid, Waiting>>,
    me: Weak<Self>,
}

struct Waiting {
    tenant: TenantName,
    ongoing: Ongoing,
}

/// What a `requestState` is good for: one request of one tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Binding {
    tenant: TenantName,
    request: Vec<u8>,
}

impl Binding {
    /// Binds to a request. Clients send it again with the same arguments, but perhaps in another spelling.
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
        let parts = [caller.tenant.as_str(), method, name, &digest.to_string()];
        // Lengths keep apart what would otherwise run together.
        let sized = parts.map(|part| format!("{}:{part}", part.len()));
        Self { tenant: caller.tenant.clone(), request: sized.concat().into_bytes() }
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

impl Parked {
    pub(crate) fn new(total_max: usize, per_tenant_max: usize) -> Arc<Self> {
        // States are worth nothing after a restart, because the calls are gone: the key need not be kept.
        let key =
            [Uuid::new_v4().into_bytes(), Uuid::new_v4().into_bytes(), Uuid::new_v4().into_bytes()];
        let codec = RequestStateCodec::new_unchecked(key.concat());
        Arc::new_cyclic(|me| Self {
            codec,
            total_max,
            per_tenant_max,
            calls: Mutex::default(),
            me: me.clone(),
        })
    }

    fn calls(&self) -> MutexGuard<'_, HashMap<Uuid, Waiting>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a call until its client comes back with the state that this returns, or until it ends.
    ///
    /// # Errors
    /// The call, when too many wait already.
    pub(crate) fn park(&self, ongoing: Ongoing, binding: &Binding) -> Result<String, Box<Ongoing>> {
        let id = Uuid::new_v4();
        let done = ongoing.done.clone();
        {
            let mut calls = self.calls();
            let of_tenant =
                calls.values().filter(|waiting| waiting.tenant == binding.tenant).count();
            if calls.len() >= self.total_max || of_tenant >= self.per_tenant_max {
                return Err(Box::new(ongoing));
            }
            calls.insert(id, Waiting { tenant: binding.tenant.clone(), ongoing });
        }
        let me = self.me.clone();
        tokio::spawn(async move {
            done.cancelled().await;
            if let Some(parked) = me.upgrade() {
                parked.calls().remove(&id);
            }
        });
        let options = SealOptions::new().associated_data(&binding.request);
        Ok(self.codec.seal_with(id.as_bytes(), &options))
    }

    /// The call that a state belongs to. It works once.
    ///
    /// # Errors
    /// Invalid params: forged, somebody else's, for another request, used, or too late.
    pub(crate) fn take(&self, state: &str, binding: &Binding) -> Result<Ongoing, ErrorData> {
        let refused = |reason: &'static str| ErrorData::invalid_params(reason, None);
        let opened = self.codec.open_with(state, &binding.request).map_err(|_| {
            refused("requestState was not given out by this server for this request: send it back unchanged, with the request that it answered")
        })?;
        let id = Uuid::from_slice(&opened).map_err(|_| refused("requestState names no call"))?;
        let waiting = self.calls().remove(&id).ok_or_else(|| {
            refused("requestState was used already, or the call that it belongs to has ended: start again without it")
        })?;
        Ok(waiting.ongoing)
    }

    /// Calls that wait now.
    pub(crate) fn count(&self) -> usize {
        self.calls().len()
    }

    /// Stops every call that waits.
    pub(crate) fn clear(&self) {
        let waiting = std::mem::take(&mut *self.calls());
        drop(waiting);
    }
}
