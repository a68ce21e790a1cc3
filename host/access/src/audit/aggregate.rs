//! Counts refusals that repeat, so that nobody can flood the log by being refused. Time is passed in.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use aop_core::audit::Action;
use aop_core::{AgentName, TenantName};

use super::line::Record;

/// How long refusals of one kind are gathered into one line after the first, which is written at once. An operator who
/// reads the log sees an attack at once and its size within a minute.
pub(super) const WINDOW: Duration = Duration::from_secs(60);
/// Kinds that are told apart at one time: more are counted together by action. With one line each per window, the
/// log grows by about 17 lines a second at most.
const KINDS_MAX: usize = 1024;
/// Who did what is counted together: no actor has a name like it.
const OTHERS: &str = "several";

/// What makes two refusals the same kind. Nothing in it is for a guest or client to choose without bound: an agent
/// has few settings, and what strangers name is counted together once there are too many.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Kind {
    action: Action,
    rest: Option<(String, Option<TenantName>, Option<AgentName>, String)>,
}

struct Window {
    since: Instant,
    /// The newest that is not written yet; its count is of all since the first.
    pending: Option<Record>,
}

/// What was refused lately.
#[derive(Default)]
pub(super) struct Aggregate {
    windows: HashMap<Kind, Window>,
}

impl Aggregate {
    /// Takes a refusal. Answers it when it is the first of its kind for a while, and has to be written now.
    pub(super) fn take(&mut self, mut record: Record, now: Instant) -> Option<Record> {
        let mut kind = Kind {
            action: record.action,
            rest: Some((
                record.who.clone(),
                record.tenant.clone(),
                record.agent.clone(),
                record.subject.clone(),
            )),
        };
        if self.windows.len() >= KINDS_MAX && !self.windows.contains_key(&kind) {
            kind.rest = None;
            // The line stands for many: none of them may seem to be the one who did all of it.
            (record.tenant, record.agent) = (None, None);
            record.who = OTHERS.to_owned();
            record.subject.clear();
            record.detail = format!("more than {KINDS_MAX} kinds of refusals at one time");
        }
        match self.windows.get_mut(&kind) {
            None => {
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
        self.windows.retain(|_, window| {
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
                None => false,
            }
        });
        ended
    }

    /// Everything that is not written yet, because the host ends.
    pub(super) fn drain(&mut self) -> Vec<Record> {
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
        let tenant = TenantName::new("acme").unwrap();
        let of_acme = |subject: &str| Record { tenant: Some(tenant.clone()), ..refusal(subject) };
        for index in 0..KINDS_MAX {
            let first = aggregate.take(of_acme(&format!("{index}")), start).unwrap();
            assert_eq!(first.tenant.as_ref(), Some(&tenant));
        }
        let rest = aggregate.take(of_acme("one more"), start).unwrap();
        assert_eq!((rest.who.as_str(), rest.subject.as_str()), ("several", ""));
        assert_eq!((rest.tenant, rest.agent), (None, None));
    }

    #[test]
    fn strangers_cannot_fill_it() {
        let (mut aggregate, start) = (Aggregate::default(), Instant::now());
        let written = (0..10_000)
            .filter_map(|index| aggregate.take(refusal(&format!("key-{index}")), start))
            .count();
        assert_eq!(written, KINDS_MAX + 1);
        assert_eq!(aggregate.windows.len(), KINDS_MAX + 1);
        let rest: u64 = aggregate.expire(start + WINDOW).iter().map(|record| record.count).sum();
        assert_eq!(rest as usize + written, 10_000);
    }
}
