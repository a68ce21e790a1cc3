//! The path of a call: resolve → validate → admit → attempt → shape → record.
//!
//! [`Dispatcher::call`] is the whole path, top to bottom. Its steps are one file each: [`admit`]
//! bounds what runs and waits per agent, tenant and host, [`attempt`] executes and retries what is safe to retry,
//! [`tenants`] ends the calls of a tenant that is deleted,
//! [`record`] makes sure that every call ends up in metrics, span and log exactly once, also when
//! its caller goes away in the middle.

mod admit;
mod attempt;
mod record;
mod tenants;
mod work;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use aop_core::interface::Feature;
use aop_core::quota::{Accounts, Payer};
use aop_core::{
    BoxFuture, Call, CallId, Caller, ErrorCode, Failure, Invoke, Measure, Observe, Offer, Output,
    Reply, Resolve, Sample, Services, Shown, Tenancy, Tenant,
};
use tracing::Instrument as _;

use admit::{Applicant, admit};
use record::{Record, Running};
use tenants::Tenants;
use work::Work;

/// Says what rule a list of content blocks, as JSON, breaks. It is told of a URI whether it is another agent's.
pub type ContentRule = fn(&str, &dyn Fn(&str) -> bool) -> Result<(), String>;

/// Runs calls.
pub struct Dispatcher {
    resolve: Arc<dyn Resolve>,
    observe: Arc<dyn Observe>,
    services: Option<Arc<Services>>,
    content: Option<ContentRule>,
    accounts: Arc<Accounts>,
    queued: AtomicUsize,
    running: Running,
    tenants: Tenants,
    draining: AtomicBool,
}

impl Dispatcher {
    /// A dispatcher over what `resolve` finds, whose calls `accounts` hold to quotas. Agents can ask `services` for what
    /// their policy grants.
    #[must_use]
    pub fn new(
        resolve: Arc<dyn Resolve>,
        observe: Arc<dyn Observe>,
        accounts: Arc<Accounts>,
        services: Option<Services>,
    ) -> Self {
        Self {
            resolve,
            observe,
            services: services.map(Arc::new),
            content: None,
            accounts,
            queued: AtomicUsize::new(0),
            running: Running::default(),
            tenants: Tenants::default(),
            draining: AtomicBool::new(false),
        }
    }

    /// Holds content, which agents write in their clients' protocol, to that protocol's rules.
    #[must_use]
    pub fn with_content_rule(self, rule: ContentRule) -> Self {
        Self { content: Some(rule), ..self }
    }

    /// Refuses new calls from now on and waits until the running ones ended, at most `grace`.
    /// Whether all of them did.
    pub async fn drain(&self, grace: Duration) -> bool {
        self.draining.store(true, Ordering::SeqCst);
        tokio::time::timeout(grace, self.running.none()).await.is_ok()
    }

    /// The path of a call.
    async fn call(&self, call: &Call<'_>, record: &mut Record<'_>) -> Result<Output, Failure> {
        // The call is counted already: either a drain that begins now waits for it, or it sees that
        // the drain began. That takes one order of both for everybody, hence SeqCst here and there.
        // A running call may finish, and so may what it calls.
        if call.lineage.is_none() && self.draining.load(Ordering::SeqCst) {
            return Err(draining());
        }
        let work = self.find(call)?;
        record.resolved(&work);
        if let Some(lineage) = &call.lineage {
            lineage.admit(work.revision.id)?;
        }

        let payer = self.payer(call, &work);
        payer.begin(call.received, call.here)?;

        let executable = &work.revision.executable;
        let arguments = executable
            .validate(work.function, call.arguments)
            .map_err(|violations| Failure::invalid_arguments(&violations))?;

        let deadline = deadline(call, &work);
        let agent = &work.revision.agent;
        let is_nested = call.lineage.is_some();
        let applicant = Applicant { agent, deadline, is_nested, passed_on: call.here };
        let _places = admit(&payer, &applicant, &self.queued).await?;
        record.admitted(&work.revision);

        let context = record.context(&work, deadline, (&payer, self.services.as_ref()));
        let output = attempt::run(&work, &arguments, &context, record).await?;
        self.check(call, &work, &output)?;
        Ok(output)
    }

    /// Looks the target up. One that does not exist costs its tenant a call, too: asking is all that a flood of names does.
    fn find(&self, call: &Call<'_>) -> Result<Work, Failure> {
        let found = Work::find(self.resolve.as_ref(), call);
        if found.is_err() && !call.here {
            self.accounts.begin_without_agent(&call.caller.tenant, call.received)?;
        }
        found
    }

    fn check(&self, call: &Call<'_>, work: &Work, output: &Output) -> Result<(), Failure> {
        let Some(rule) = self.content.filter(|_| output.shown == Shown::Content) else {
            return Ok(());
        };
        let (agent, tenant) = (&work.revision.agent, &call.caller.tenant);
        let reads =
            |owner: &str, feature| self.resolve.resolve_feature(tenant, owner, feature).is_some();
        let is_anothers = |uri: &str| {
            // Schemes are the same in capitals (RFC 3986, section 6.2.2.1).
            let uri = uri.to_ascii_lowercase();
            Offer::owner(&uri).is_some_and(|owner| {
                owner != agent.as_str()
                    && (reads(owner, Feature::ResourcesRead) || reads(owner, Feature::SkillsGet))
            })
        };
        rule(output.json.get(), &is_anothers).map_err(|bad| {
            let reason = format!("the agent's content breaks a rule of MCP: {bad}");
            Failure::executed(ErrorCode::BadOutput, reason)
        })
    }

    /// Who pays: the agent, and the tenant that calls it, which is not always the one that has it.
    fn payer(&self, call: &Call<'_>, work: &Work) -> Arc<Payer> {
        let (tenant, revision) = (&call.caller.tenant, &work.revision);
        let mut payer = Arc::clone(&revision.payer);
        if !Arc::ptr_eq(&payer.node, self.accounts.node()) {
            // It runs elsewhere, and whoever published it does not know this host's accounts.
            payer = self.accounts.payer(&revision.tenant, &revision.agent);
            payer.set_agent(&revision.settings.quota, &revision.settings.limits);
        }
        if *tenant == revision.tenant { payer } else { self.accounts.on_behalf_of(tenant, &payer) }
    }
}

impl Invoke for Dispatcher {
    fn invoke<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Reply> {
        let id = CallId::begin();
        let span = record::span(id, &call);
        let inner = span.clone();
        Box::pin(
            async move {
                let mut record =
                    Record::begin(id, &call, self.observe.as_ref(), &self.running, inner);
                let result = match self.tenants.enter(&call.caller.tenant) {
                    // The node that passed it here knows the tenant, and this one will.
                    Err(_) if call.here => Err(unknown_yet()),
                    Err(refused) => Err(refused),
                    // Held until the call is dropped: then nothing of it runs any more. The call comes first, so that
                    // one which is done at once waits for nothing.
                    Ok(mut stay) => tokio::select! {
                        biased;
                        result = self.call(&call, &mut record) => result,
                        ended = stay.ended() => Err(ended),
                    },
                };
                let session = record.session();
                record.end(&result);
                Reply {
                    id,
                    result,
                    trace: call.trace.map(|trace| trace.child(record::span_id(id))),
                    session,
                }
            }
            .instrument(span),
        )
    }

    fn charge(&self, caller: &Caller, received: Instant) -> Result<(), Failure> {
        self.accounts.begin_without_agent(&caller.tenant, received)
    }
}

impl Tenancy for Dispatcher {
    fn begin(&self, tenant: &Tenant) {
        self.tenants.begin(&tenant.name);
    }

    fn end<'a>(&'a self, tenant: &'a Tenant) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(self.tenants.end(&tenant.name))
    }
}

impl Measure for Dispatcher {
    fn measure(&self) -> Vec<Sample> {
        vec![
            Sample::gauge(
                "calls_open",
                "Calls between arrival and answer",
                self.running.count() as u64,
            ),
            Sample::gauge(
                "calls_queued",
                "Calls that wait for a free place of their agent, their tenant or the host",
                self.queued.load(Ordering::Relaxed) as u64,
            ),
        ]
    }
}

/// The tool's timeout or the caller's, whichever is shorter, from the call's arrival.
fn deadline(call: &Call<'_>, work: &Work) -> Instant {
    let timeout = work.revision.settings.limits.timeout;
    call.received + call.timeout.map_or(timeout, |wanted| wanted.min(timeout))
}

fn unknown_yet() -> Failure {
    Failure::before_execution(
        ErrorCode::Unavailable,
        "this node has not heard of the tenant yet: try again shortly",
    )
    .with_retry_after(Duration::from_secs(1))
}

fn draining() -> Failure {
    Failure::before_execution(
        ErrorCode::Unavailable,
        "the host is shutting down: try again shortly",
    )
    .with_retry_after(Duration::from_secs(1))
}

#[cfg(test)]
mod tests;
