//! Counts what repeats, so that nobody can flood the log: refusals and failures, of which anybody can have as many as he
//! sends requests, and what a tenant's callers do beyond what people and their tools do. Time is passed in.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use aop_core::audit::{Action, Outcome};
use aop_core::quota::Rate;
use aop_core::{AgentName, TenantName};

use super::line::Record;

/// How long events of one kind are gathered into one line after the first, which is written at once. An operator who
/// reads the log sees an attack at once and its size within a minute.
pub(super) const WINDOW: Duration = Duration::from_secs(60);
/// Kinds of one tenant, or of strangers, that are told apart at one time: more of them are counted together by action and
/// outcome, and nobody else's are. An agent has a few settings that refuse something.
const KINDS_OF_TENANT_MAX: usize = 256;
/// Kinds of all that are told apart at one time; then each tenant's new ones are counted together in that way. With one line each
/// per window, the log grows by about 70 lines a second at most.
const KINDS_MAX: usize = 4096;
/// Who did what is counted together: no actor has a name like it.
const OTHERS: &str = "several";

/// What the callers of one tenant do per minute with a line for each, over time, and at once: who loads a thousand agents
/// finds each of them in the log. A tenant that goes on for ever writes 30 MB of them a day, of the gibibyte that is kept.
const DONE_PER_WINDOW: u64 = 60;
const DONE_AT_ONCE: u64 = 1000;

/// What makes two events the same kind. What a client chooses freely belongs into the detail, of which the newest is
/// written; what it has many of all the same, such as addresses, is counted together once there are too many.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Kind {
    action: Action,
    outcome: Outcome,
    tenant: Option<TenantName>,
    rest: Option<(String, Option<AgentName>, String)>,
}

struct Window {
    since: Instant,
    /// The newest that is not written yet; its count is of all since the first.
    pending: Option<Record>,
}

/// What repeated lately.
#[derive(Default)]
pub(super) struct Aggregate {
    windows: HashMap<Kind, Window>,
    /// What each tenant's callers did lately.
    done: HashMap<TenantName, Rate>,
    /// How many of those have all of their kind, by tenant and outcome: what a tenant did hides nothing that it was refused.
    told_apart: HashMap<(Option<TenantName>, Outcome), usize>,
}

impl Aggregate {
    /// Whether what a tenant's caller did gets a line of its own. Else it has to be [taken](Self::take).
    pub(super) fn may_write(&mut self, tenant: &TenantName, now: Instant) -> bool {
        if let Some(rate) = self.done.get(tenant) {
            return rate.take(1, now).is_ok();
        }
        let rate = Rate::per(WINDOW);
        rate.set(Some(DONE_PER_WINDOW), Some(DONE_AT_ONCE));
        let taken = rate.take(1, now);
        self.done.insert(tenant.clone(), rate);
        taken.is_ok()
    }

    /// Takes an event. Answers it when it is the first of its kind for a while, and has to be written now.
    pub(super) fn take(&mut self, mut record: Record, now: Instant) -> Option<Record> {
        let mut kind = Kind {
            action: record.action,
            outcome: record.outcome,
            tenant: record.tenant.clone(),
            rest: Some((record.who.clone(), record.agent.clone(), record.subject.clone())),
        };
        let whose = (kind.tenant.clone(), kind.outcome);
        let of_tenant = self.told_apart.get(&whose).copied().unwrap_or_default();
        let is_full = of_tenant >= KINDS_OF_TENANT_MAX || self.windows.len() >= KINDS_MAX;
        if is_full && !self.windows.contains_key(&kind) {
            kind.rest = None;
            record.generalise(OTHERS, "there are too many kinds of this to tell them apart");
        }
        match self.windows.get_mut(&kind) {
            None => {
                if kind.rest.is_some() {
                    self.told_apart.insert(whose, of_tenant + 1);
                }
                self.windows.insert(kind, Window { since: now, pending: None });
                Some(record)
            }
            Some(window) => {
                let count = window.pending.as_ref().map_or(0, |pending| pending.count);
                window.pending = Some(Record { count: count + record.count, ..record });
                None
            }
        }
    }

    /// What has to be written because its window ended.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<Record> {
        let mut ended = Vec::new();
        let told_apart = &mut self.told_apart;
        self.windows.retain(|kind, window| {
            if now.duration_since(window.since) < WINDOW {
                return true;
            }
            // While it goes on, a new window begins: still one line each.
            match window.pending.take() {
                Some(pending) => {
                    ended.push(pending);
                    window.since = now;
                    true
                }
                None => {
                    if kind.rest.is_some()
                        && let Some(count) =
                            told_apart.get_mut(&(kind.tenant.clone(), kind.outcome))
                    {
                        *count -= 1;
                    }
                    false
                }
            }
        });
        told_apart.retain(|_, count| *count > 0);
        self.done.retain(|_, rate| rate.used(now) > 0);
        ended
    }

    /// Everything that is not written yet, because the host ends.
    pub(super) fn drain(&mut self) -> Vec<Record> {
        self.told_apart.clear();
        self.windows.drain().filter_map(|(_, window)| window.pending).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use aop_core::audit::{Actor, AuditEvent, Outcome};

    use super::*;

    fn refusal(subject: &str) -> Record {
        let event = AuditEvent {
            outcome: Outcome::Refused,
            who: Actor::Anonymous,
            ..AuditEvent::of_host(Action::PolicyRefuse, subject)
        };
        Record::new(event, SystemTime::UNIX_EPOCH)
    }

    #[test]
    fn what_failed_is_told_apart_from_what_was_done() {
        let (mut aggregate, start) = (Aggregate::default(), Instant::now());
        let ended = |outcome| Record { outcome, ..refusal("x") };
        for outcome in [Outcome::Refused, Outcome::Failed, Outcome::Done] {
            assert!(aggregate.take(ended(outcome), start).is_some());
            assert!(aggregate.take(ended(outcome), start).is_none());
        }
        assert_eq!(aggregate.expire(start + WINDOW).len(), 3);
    }

    #[test]
    fn a_tenant_has_so_many_lines_for_what_it_does_and_others_have_theirs() {
        let (mut aggregate, start) = (Aggregate::default(), Instant::now());
        let [evil, acme] = ["evil", "acme"].map(|name| TenantName::new(name).unwrap());
        let mut written = |tenant: &TenantName, now| {
            (0..5000).filter(|_| aggregate.may_write(tenant, now)).count() as u64
        };
        assert_eq!(written(&evil, start), DONE_AT_ONCE);
        assert_eq!(written(&acme, start), DONE_AT_ONCE);
        assert_eq!(written(&evil, start + WINDOW), DONE_PER_WINDOW);
        let quiet = start + WINDOW * 20;
        aggregate.expire(quiet);
        assert!(aggregate.done.is_empty(), "who is quiet is forgotten");
        assert!(aggregate.may_write(&evil, quiet));
    }

    #[test]
    fn the_first_is_written_at_once_and_the_others_with_their_number() {
        let (mut aggregate, start) = (Aggregate::default(), Instant::now());
        assert!(aggregate.take(refusal("http"), start).is_some());
        for _ in 0..1000 {
            assert!(aggregate.take(refusal("http"), start).is_none());
        }
        assert!(aggregate.take(refusal("tools"), start).is_some(), "another kind");
        assert!(aggregate.expire(start + WINDOW / 2).is_empty());
        let ended = aggregate.expire(start + WINDOW);
        assert_eq!(ended.iter().map(|record| record.count).collect::<Vec<_>>(), [1000]);
        assert!(aggregate.take(refusal("http"), start + WINDOW).is_none(), "it goes on");
        assert_eq!(aggregate.drain().len(), 1);
        assert!(aggregate.take(refusal("http"), start + WINDOW).is_some());
        assert!(aggregate.expire(start + WINDOW * 3).is_empty());
        assert!(aggregate.windows.is_empty(), "what is quiet is forgotten");
    }

    #[test]
    fn what_is_counted_together_is_nobodys_in_particular() {
        let (mut aggregate, start) = (Aggregate::default(), Instant::now());
        for index in 0..KINDS_OF_TENANT_MAX {
            assert!(aggregate.take(of("acme", &format!("{index}")), start).is_some());
        }
        let rest = aggregate.take(of("acme", "one more"), start).unwrap();
        assert_eq!((rest.who.as_str(), rest.subject.as_str()), ("several", ""));
        assert_eq!((&*rest.tenant.unwrap(), rest.agent), ("acme", None));
        assert!(rest.detail.contains("one more"), "{}", rest.detail);
    }

    fn of(tenant: &str, subject: &str) -> Record {
        Record { tenant: Some(TenantName::new(tenant).unwrap()), ..refusal(subject) }
    }

    #[test]
    fn neither_strangers_nor_a_tenant_hide_what_others_do() {
        let (mut aggregate, start) = (Aggregate::default(), Instant::now());
        for index in 0..10_000 {
            aggregate.take(refusal(&format!("address-{index}")), start);
            aggregate.take(of("acme", &format!("{index}")), start);
        }
        let seen = aggregate.take(of("other", "policy.http"), start).unwrap();
        assert_eq!((&*seen.tenant.unwrap(), seen.subject.as_str()), ("other", "policy.http"));
        // Also where all kinds are taken, a tenant's refusals are seen as its own.
        for tenant in 0..100 {
            for index in 0..100 {
                aggregate.take(of(&format!("t{tenant}"), &format!("{index}")), start);
            }
        }
        let seen = aggregate.take(of("last", "policy.http"), start).unwrap();
        assert_eq!((&*seen.tenant.unwrap(), seen.who.as_str()), ("last", "several"));
        assert!(aggregate.windows.len() <= KINDS_MAX + 103, "{}", aggregate.windows.len());
    }

    #[test]
    fn strangers_cannot_fill_it() {
        let (mut aggregate, start) = (Aggregate::default(), Instant::now());
        let written = (0..10_000)
            .filter_map(|index| aggregate.take(refusal(&format!("key-{index}")), start))
            .count();
        assert_eq!(written, KINDS_OF_TENANT_MAX + 1);
        assert_eq!(aggregate.windows.len(), KINDS_OF_TENANT_MAX + 1);
        let rest: u64 = aggregate.expire(start + WINDOW).iter().map(|record| record.count).sum();
        assert_eq!(rest as usize + written, 10_000);
        aggregate.expire(start + WINDOW * 3);
        assert!(aggregate.told_apart.is_empty(), "what is quiet is forgotten");
        assert!(aggregate.take(refusal("key-0"), start + WINDOW * 3).is_some());
    }
}
