//! Where calls by full name leave the path of local ones: `textkit_summarize.eu.acme.example` is found in its zone,
//! and then called like any tool. A tool of this host has no dot in its name, so its calls pay for one look at that.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use aop_core::federation::Federation as _;
use aop_core::{BoxFuture, Call, CallId, Caller, ErrorCode, Failure, Invoke, Reply, Target};

use super::zone::ZoneHandle;

/// How long finding a tool of another zone may take, when the call has that long: a lookup, and the tools' description.
const FIND_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs calls of this host's tools and of other zones'.
#[derive(Default)]
pub struct Gate {
    local: OnceLock<Arc<dyn Invoke>>,
    zone: OnceLock<ZoneHandle>,
}

impl Gate {
    /// Whoever runs calls stands on services that call back through this, so both come later than it.
    pub fn open(&self, local: Arc<dyn Invoke>) {
        // A second one is a mistake of the wiring, which its tests would notice.
        let _ = self.local.set(local);
    }

    /// From now on, full names are looked up.
    pub fn federate(&self, zone: ZoneHandle) {
        let _ = self.zone.set(zone);
    }

    async fn call(
        &self,
        local: &dyn Invoke,
        zone: &ZoneHandle,
        call: Call<'_>,
        name: &str,
    ) -> Reply {
        let (caller, trace) = (call.caller.clone(), call.trace);
        let patience = call.timeout.map_or(FIND_TIMEOUT, |timeout| timeout.min(FIND_TIMEOUT));
        let left = patience.saturating_sub(call.received.elapsed());
        let found = tokio::time::timeout(left, zone.describe(&caller, name)).await;
        let found = found.unwrap_or_else(|_| {
            let message = format!("`{name}` was not found in time: its zones answer slowly");
            Err(Failure::before_execution(ErrorCode::DeadlineExceeded, message))
        });
        match found {
            Ok(route) => local.invoke(Call { target: Target::Found(&route), ..call }).await,
            Err(failure) => {
                tracing::debug!(name, code = %failure.code, %failure, "a full name leads nowhere");
                refused(failure, trace)
            }
        }
    }
}

fn refused(failure: Failure, trace: Option<aop_core::TraceContext>) -> Reply {
    Reply { id: CallId::begin(), result: Err(failure), trace, session: None }
}

impl Invoke for Gate {
    fn invoke<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Reply> {
        let Some(local) = self.local.get() else {
            let failure = Failure::before_execution(ErrorCode::Unavailable, "the host is starting");
            return Box::pin(async move { refused(failure, None) });
        };
        match (call.target, self.zone.get()) {
            (Target::Tool(name), Some(zone)) if name.contains('.') => {
                Box::pin(self.call(&**local, zone, call, name))
            }
            _ => local.invoke(call),
        }
    }

    fn charge(&self, caller: &Caller, received: Instant) -> Result<(), Failure> {
        self.local.get().map_or(Ok(()), |local| local.charge(caller, received))
    }
}

#[cfg(test)]
mod tests {
    use aop_core::TenantName;

    use super::*;

    struct Spent;

    impl Invoke for Spent {
        fn invoke<'a>(&'a self, _: Call<'a>) -> BoxFuture<'a, Reply> {
            Box::pin(async { unreachable!("nothing is called") })
        }

        fn charge(&self, _: &Caller, _: Instant) -> Result<(), Failure> {
            Err(Failure::before_execution(ErrorCode::RateLimited, "too many calls"))
        }
    }

    #[test]
    fn the_hosts_own_tools_are_charged_behind_it() {
        let (gate, caller) = (Gate::default(), Caller::local(TenantName::default_tenant()));
        gate.charge(&caller, Instant::now()).unwrap();
        gate.open(Arc::new(Spent));
        let refused = gate.charge(&caller, Instant::now()).unwrap_err();
        assert_eq!(refused.code, ErrorCode::RateLimited);
    }
}
