//! What routing tells of itself: metrics, and its part of `aop cluster status`.

use std::sync::atomic::Ordering;
use std::time::Instant;

use aop_core::cluster::{BreakerStatus, ReplicaStatus, ReportRoutes};
use aop_core::{Measure, RevisionNumber, Sample};

use super::Router;
use super::breaker::BreakerState;
use super::placement::Placement;

impl Router {
    fn breaker_count(&self, state: BreakerState) -> u64 {
        let (sets, now) = (self.sets.load(), Instant::now());
        let sets = sets.values().flat_map(|agents| agents.values());
        let breakers = sets.flat_map(|set| set.breakers(now));
        breakers.filter(|(.., found)| *found == state).count() as u64
    }
}

impl Measure for Router {
    fn measure(&self) -> Vec<Sample> {
        let zone = self.zone.get();
        let (open, under_way) = zone.map_or((0, 0), |zone| zone.peers.counts());
        let served = self.server.get().map_or(0, |server| server.served());
        let counters = &self.counters;
        let count = |name, help, counter: &std::sync::atomic::AtomicU64| {
            Sample::counter(name, help, counter.load(Ordering::Relaxed))
        };
        vec![
            count("forwarded_calls", "Attempts at calls on other nodes", &counters.forwarded),
            count(
                "forwarded_calls_refused",
                "Attempts that another node had no room for, and that went on to a replica",
                &counters.busy,
            ),
            count(
                "forwarded_calls_broken",
                "Attempts that another node did not answer",
                &counters.broken,
            ),
            Sample::counter("peer_calls_served", "Calls that were run for other nodes", served),
            Sample::gauge(
                "peer_calls_in_flight",
                "Calls and questions to other nodes that wait for an answer",
                under_way as u64,
            ),
            Sample::gauge("peer_connections", "Open connections to other nodes", open as u64),
            Sample::gauge(
                "breakers_open",
                "Tools on other nodes that get no calls now",
                self.breaker_count(BreakerState::Open),
            ),
            Sample::gauge(
                "breakers_half_open",
                "Tools on other nodes of which one call finds out whether they work again",
                self.breaker_count(BreakerState::HalfOpen),
            ),
            count("component_pulls", "Components that came from other nodes", &counters.pulls),
            count(
                "component_pull_failures",
                "Components that could not be had from a node",
                &counters.pull_failures,
            ),
            count(
                "component_mismatches",
                "Components that another node sent and whose digest was wrong; they were refused",
                &counters.mismatches,
            ),
        ]
    }
}

impl ReportRoutes for Router {
    fn replicas(&self) -> Vec<ReplicaStatus> {
        let sets_now = self.sets.load();
        let sets = sets_now.values().flat_map(|agents| agents.values());
        let spread = sets.filter(|set| set.wanted.is_some() || set.nodes().len() > 1);
        let mut replicas: Vec<_> = spread
            .map(|set| ReplicaStatus {
                tenant: set.tenant.clone(),
                agent: set.agent.clone(),
                revision: set.version.revision,
                digest: set.version.digest,
                wanted: set.wanted,
                nodes: set.nodes(),
            })
            .collect();
        // Those that no node has, which the records of what should live in the zone are all that is left of.
        let records = self.zone.get().map(|zone| zone.placer.records()).unwrap_or_default();
        let is_known = |record: &Placement| {
            sets_now.get(&record.tenant).is_some_and(|agents| agents.contains_key(&record.agent))
        };
        let lost = records.0.into_values().filter(|record| !record.is_gone && !is_known(record));
        replicas.extend(lost.map(|record| ReplicaStatus {
            tenant: record.tenant,
            agent: record.agent,
            revision: RevisionNumber(record.revision),
            digest: record.digest,
            wanted: record.settings.replicas,
            nodes: Vec::new(),
        }));
        replicas.sort_by(|a, b| (&a.tenant, &a.agent).cmp(&(&b.tenant, &b.agent)));
        replicas
    }

    fn breakers(&self) -> Vec<BreakerStatus> {
        let (sets, now) = (self.sets.load(), Instant::now());
        let sets = sets.values().flat_map(|agents| agents.values());
        let breakers = sets.flat_map(|set| set.breakers(now));
        let mut breakers: Vec<_> = breakers
            .map(|(node, tool, state)| BreakerStatus {
                node,
                tool: tool.to_string(),
                state: state.as_str().to_owned(),
            })
            .collect();
        breakers.sort_by(|a, b| (&a.node, &a.tool).cmp(&(&b.node, &b.tool)));
        breakers
    }
}
