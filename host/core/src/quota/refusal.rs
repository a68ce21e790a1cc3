//! What there are quotas of, and how being over one is said.

use std::time::Duration;

use super::{Account, Owner, Share};
use crate::settings::{show_size, show_time};
use crate::{ErrorCode, Failure};

/// What a quota is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is a key of `Quota`, explained there")]
pub enum Resource {
    Calls,
    Concurrency,
    Queue,
    QueueWait,
    Memory,
    Cpu,
    Code,
    Stored,
    Components,
    Egress,
    Tokens,
}

impl Resource {
    /// Every one, in the order of their numbers.
    pub const ALL: [Self; 11] = [
        Self::Calls,
        Self::Concurrency,
        Self::Queue,
        Self::QueueWait,
        Self::Memory,
        Self::Cpu,
        Self::Code,
        Self::Stored,
        Self::Components,
        Self::Egress,
        Self::Tokens,
    ];

    /// The key, with its unit, as in metrics and the admin API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Calls => "calls_per_second",
            Self::Concurrency => "concurrency",
            Self::Queue => "queue",
            Self::QueueWait => "queue_wait_ms",
            Self::Memory => "memory_bytes",
            Self::Cpu => "cpu_ms_per_minute",
            Self::Code => "code_bytes",
            Self::Stored => "stored_bytes",
            Self::Components => "components_bytes",
            Self::Egress => "egress_bytes_per_hour",
            Self::Tokens => "tokens_per_day",
        }
    }

    /// Too much per time is another mistake than too much at one time.
    const fn code(self) -> ErrorCode {
        match self {
            Self::Calls | Self::Cpu | Self::Egress | Self::Tokens => ErrorCode::RateLimited,
            Self::Concurrency
            | Self::Queue
            | Self::QueueWait
            | Self::Memory
            | Self::Code
            | Self::Stored
            | Self::Components => ErrorCode::ResourceExhausted,
        }
    }
}

/// How long what a node has of a tenant's quota stays as it is at least: idle nodes lend their parts within this time.
const LENDING: Duration = Duration::from_secs(15);

impl Account {
    /// Refuses something and counts that. `retry_after` is none where waiting does not help.
    ///
    /// The node's own limits are named without numbers: they are not the caller's, and neither is what others use.
    #[must_use]
    pub fn refuse(&self, resource: Resource, retry_after: Option<Duration>) -> Failure {
        self.count_refusal(resource);
        let failure = Failure::before_execution(resource.code(), self.explain(resource));
        match retry_after {
            Some(after) => failure.with_retry_after(self.soonest(resource, after)),
            None => failure,
        }
    }

    /// When it helps to come back: with another part of the quota it may be long before a small one brings enough.
    fn soonest(&self, resource: Resource, after: Duration) -> Duration {
        let share = self.share();
        let is_rate = matches!(resource, Resource::Calls | Resource::Cpu | Resource::Egress);
        if share == Share::WHOLE || !is_rate {
            return after;
        }
        let nanos = u64::try_from(after.as_nanos()).unwrap_or(u64::MAX);
        let with_all_of_it = Duration::from_nanos(share.part_of(nanos));
        after.min(with_all_of_it.max(LENDING))
    }

    /// Being over, in words.
    #[must_use]
    pub fn explain(&self, resource: Resource) -> String {
        let whose = match self.owner() {
            Owner::Agent(name) => format!("`{name}`"),
            Owner::Tenant(_) => "the tenant".to_owned(),
            Owner::Node => return explain_node(resource).to_owned(),
        };
        let (limit, here) = (self.limit(resource).unwrap_or_default(), self.limit_here(resource));
        let said = self.explain_limit(resource, &whose, limit);
        match here.filter(|here| self.share() != Share::WHOLE && *here < limit) {
            // What was refused is this node's part of it.
            Some(_) if resource == Resource::Tokens => said,
            Some(here) => {
                let here = match resource {
                    Resource::Egress => show_size(here),
                    Resource::Cpu => show_time(Duration::from_millis(here)),
                    _ => here.to_string(),
                };
                format!("{said} (in the whole zone; this node has {here} of it now)")
            }
            None => said,
        }
    }

    fn explain_limit(&self, resource: Resource, whose: &str, limit: u64) -> String {
        let (size, time) = (show_size(limit), show_time(Duration::from_millis(limit)));
        match resource {
            Resource::Calls => {
                format!("{whose} begins at most {limit} calls per second: try again later")
            }
            Resource::Concurrency if self.limit(resource).is_none() => {
                format!("{whose} runs as many calls as leaves places to others: try again shortly")
            }
            Resource::Concurrency => {
                format!("{whose} runs at most {limit} calls at one time: try again shortly")
            }
            // Others may call an agent that is shared, too: what they have running and waiting is not the caller's to know.
            Resource::Queue if matches!(self.owner(), Owner::Agent(_)) => {
                format!("as many calls wait for {whose} as may: try again shortly")
            }
            Resource::Queue => format!(
                "{whose} already runs {} calls and {} wait: try again shortly",
                self.places.held(),
                self.queued()
            ),
            Resource::QueueWait => format!(
                "no place of {whose} came free within {time}, which is how long calls may wait: try again shortly"
            ),
            Resource::Memory => format!(
                "the instances of {whose} may have {size} of memory together, and it is in use: try again shortly"
            ),
            Resource::Cpu => format!(
                "{whose} used up its {time} of CPU time per minute: try again when some of it is back"
            ),
            Resource::Code => format!(
                "the compiled code of {whose} may have {size}: unload agents, or make the component smaller"
            ),
            Resource::Stored => format!(
                "{whose} may remember {size} over all agents and conversations: delete what is not needed any more"
            ),
            Resource::Components => format!(
                "the components that {whose} uploaded, those of earlier revisions included, may have {size} as files: unload agents, or make the component smaller"
            ),
            Resource::Egress => format!(
                "{whose} used up its {size} per hour of outgoing requests and their answers: try again when some of it is back"
            ),
            Resource::Tokens => {
                format!("{whose} used up its {limit} tokens of today (UTC)")
            }
        }
    }
}

const fn explain_node(resource: Resource) -> &'static str {
    match resource {
        Resource::Calls
        | Resource::Concurrency
        | Resource::Queue
        | Resource::QueueWait
        | Resource::Cpu => "this host is busy: try again shortly",
        Resource::Memory => "this host has no memory left for instances: try again shortly",
        Resource::Egress => "this host sent and received as much as it may: try again later",
        Resource::Code | Resource::Stored | Resource::Components | Resource::Tokens => {
            "this host is full: its operator can make room"
        }
    }
}
