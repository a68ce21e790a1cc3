//! Admission: what a call must find free before it runs, and how long it may wait for that.
//!
//! A call takes a place of its agent, one of its tenant and one of the node, in this order: who waits for the agent's own
//! keeps nobody else's. Each kind is given out in fair turn ([`aop_core::fair`]), and a tenant always leaves some of the
//! node's places to others, and some of an agent's that another tenant shares with it. It is the same with the queues. A call that another node of the zone
//! passed here holds a place of its tenant's quota there; here it holds one that only keeps the fair order. Everything is
//! given back when the call ends or its caller goes away.
//!
//! Refusing early is kinder than queueing without end: a caller that is told to come back can go
//! elsewhere, one that waits behind a thousand others times out having learnt nothing.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use aop_core::fair::{Permit, Permits, Place};
use aop_core::quota::{Account, Payer, Resource};
use aop_core::{AgentName, ErrorCode, Failure};
use tokio::time::timeout_at;

/// When a full queue is likely to have room again.
const QUEUE_RETRY_AFTER: Duration = Duration::from_secs(1);

/// How long a call that an agent makes may wait for a place. Its caller holds a place of its own
/// meanwhile, so agents that call each other from different roots could wait for each other.
const NESTED_PATIENCE: Duration = Duration::from_secs(1);

/// What a call holds while it runs.
pub(crate) type Places<'p> = (Option<Permit<&'p Permits>>, [Permit<&'p Permits>; 3]);

/// A call that wants to run.
pub(crate) struct Applicant<'a> {
    pub(crate) agent: &'a AgentName,
    pub(crate) deadline: Instant,
    /// Whether an agent makes it.
    pub(crate) is_nested: bool,
    /// Whether another node passed it here, where it holds a place of its tenant's quota.
    pub(crate) passed_on: bool,
}

/// Waits for what a call needs; only briefly when an agent makes it. `queued` counts those that wait.
///
/// # Errors
/// `resource_exhausted` when too many wait already or a place does not come soon, `deadline_exceeded`
/// when the deadline passes first. Nothing ran in either case.
pub(crate) async fn admit<'p>(
    payer: &'p Payer,
    applicant: &Applicant<'_>,
    queued: &AtomicUsize,
) -> Result<Places<'p>, Failure> {
    let mut wait = Wait { payer, applicant, queued, place: None };
    let [agent, tenant, node] = payer.accounts();
    let part = match payer.part.as_deref() {
        Some(part) => Some(wait.place_of(agent, part).await?),
        None => None,
    };
    let of_tenant = if applicant.passed_on { &tenant.passed_on } else { &tenant.places };
    let places = [
        wait.place_of(agent, &agent.places).await?,
        wait.place_of(tenant, of_tenant).await?,
        wait.place_of(node, &node.places).await?,
    ];
    Ok((part, places))
}

/// The wait of one call, over all that it waits for.
struct Wait<'p, 'a> {
    payer: &'p Payer,
    applicant: &'a Applicant<'a>,
    queued: &'a AtomicUsize,
    /// Once something was not free.
    place: Option<(Queued<'a>, GivesUp<'p>)>,
}

/// When a wait ends without a place, and why.
#[derive(Clone, Copy)]
struct GivesUp<'p> {
    at: Instant,
    because: Because<'p>,
}

#[derive(Clone, Copy)]
enum Because<'p> {
    /// The call's deadline passes.
    Deadline,
    /// An agent waits for it.
    Nested,
    /// A quota does not let calls wait for longer.
    Quota(&'p Account),
}

impl<'p> Wait<'p, '_> {
    async fn place_of(
        &mut self,
        account: &'p Account,
        permits: &'p Permits,
    ) -> Result<Permit<&'p Permits>, Failure> {
        let party = self.payer.party();
        if let Some(permit) = Permits::try_acquire(permits, party) {
            return Ok(permit);
        }
        let given_up = match &self.place {
            Some((_, given_up)) => *given_up,
            None => self.begin()?,
        };
        let acquired = timeout_at(given_up.at.into(), Permits::acquire(permits, party)).await;
        acquired.map_err(|_| self.explain(account, given_up.because))
    }

    /// Takes a place in the queue and decides for how long.
    fn begin(&mut self) -> Result<GivesUp<'p>, Failure> {
        let place = Queued::take(self.payer, self.queued)?;
        let now = tokio::time::Instant::now().into_std();
        let mut given_up = GivesUp { at: self.applicant.deadline, because: Because::Deadline };
        let mut sooner = |patience: Duration, because| {
            if now + patience < given_up.at {
                given_up = GivesUp { at: now + patience, because };
            }
        };
        for account in self.payer.accounts() {
            if let Some(patience) = account.queue_wait() {
                sooner(patience, Because::Quota(account));
            }
        }
        if self.applicant.is_nested {
            sooner(NESTED_PATIENCE, Because::Nested);
        }
        self.place = Some((place, given_up));
        Ok(given_up)
    }

    fn explain(&self, account: &Account, because: Because<'_>) -> Failure {
        let agent = self.applicant.agent;
        match because {
            Because::Quota(waiting) => waiting.refuse(Resource::QueueWait, Some(QUEUE_RETRY_AFTER)),
            Because::Nested => {
                account.count_refusal(Resource::Concurrency);
                let message = format!(
                    "no place for a call of `{agent}` came free soon enough for an agent that waits: {}",
                    account.explain(Resource::Concurrency)
                );
                Failure::before_execution(ErrorCode::ResourceExhausted, message)
                    .with_retry_after(QUEUE_RETRY_AFTER)
            }
            Because::Deadline => Failure::before_execution(
                ErrorCode::DeadlineExceeded,
                format!("the deadline passed while the call waited for a free place of `{agent}`"),
            ),
        }
    }
}

/// A place in the queues of all three, given back on drop, so that a caller who goes away leaves none behind.
struct Queued<'a> {
    _places: [Place; 3],
    queued: &'a AtomicUsize,
}

impl<'a> Queued<'a> {
    fn take(payer: &Payer, queued: &'a AtomicUsize) -> Result<Self, Failure> {
        let places = payer
            .enqueue()
            .map_err(|full| full.refuse(Resource::Queue, Some(QUEUE_RETRY_AFTER)))?;
        queued.fetch_add(1, Ordering::Relaxed);
        Ok(Self { _places: places, queued })
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.queued.fetch_sub(1, Ordering::Relaxed);
    }
}
