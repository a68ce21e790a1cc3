//! What a node tells of the zone: its status and its numbers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aop_core::cluster::{CatalogueStatus, ClusterStatus, MemberState, MemberStatus, NodeVersion};
use aop_core::{Measure, Sample};
use tokio::time::Instant;

use super::gossip::roster::Known;
use super::members::Members as _;
use super::{Catalogue, Member, Membership, unix_now};

/// What this node sees.
pub(super) fn status(membership: &Membership) -> ClusterStatus {
    let now = Instant::now();
    let view = membership.gossip.view().borrow().clone();
    let (members, partition) = membership.gossip.with_roster(|roster| {
        let mut doubled = roster.doubled();
        let mut member = |known: &Known| {
            let doubled = doubled.remove(&known.life.node).unwrap_or_default();
            MemberStatus {
                doubled: doubled.into_iter().collect(),
                ..member(membership, known, now)
            }
        };
        let members = roster.nodes().map(&mut member).collect();
        (members, roster.partition(now))
    });
    let version = |member: &Member| {
        let entry = NodeVersion { generation: member.generation, version: member.version };
        (member.id.clone(), entry)
    };
    let routes = membership.routes.get();
    ClusterStatus {
        zone: membership.identity.zone().to_string(),
        node: membership.node().clone(),
        endpoint: membership.endpoint(),
        registry_digest: view.registry_digest(),
        versions: view.members.values().map(version).collect(),
        members,
        partition,
        evicted: membership.identity.trust().borrow().evicted().collect(),
        key_retires_in_s: membership
            .identity
            .trust()
            .borrow()
            .next_retirement()
            .map(|retires| retires.saturating_sub(unix_now())),
        certificate_ends_in_s: membership.certificate_ends_in_s(),
        replicas: routes.map(|routes| routes.replicas()).unwrap_or_default(),
        breakers: routes.map(|routes| routes.breakers()).unwrap_or_default(),
        quotas: membership.quotas.get().map(|parts| parts.status()),
    }
}

fn member(membership: &Membership, known: &Known, now: Instant) -> MemberStatus {
    let said = &known.life.said;
    let catalogue = said.documents.get(Member::CATALOGUE).map(|version| {
        let bytes = membership.documents.get(&version.digest);
        let agents = bytes
            .as_ref()
            .and_then(|bytes| Catalogue::from_bytes(bytes).ok())
            .map_or(0, |catalogue| catalogue.agents.len());
        CatalogueStatus {
            serial: version.serial,
            digest: version.digest,
            fetched: bytes.is_some(),
            agents,
        }
    });
    MemberStatus {
        node: known.life.node.clone(),
        generation: known.life.generation,
        state: known.state,
        endpoint: known.life.endpoint,
        doubled: Vec::new(),
        load_percent: said.load.percent(),
        capacity: said.capacity,
        labels: said.labels.clone(),
        holds_authority: said.holds_authority,
        lag_ms: if known.life.node == *membership.node() {
            0
        } else {
            milliseconds(now.duration_since(known.heard))
        },
        catalogue,
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Measure for Membership {
    fn measure(&self) -> Vec<Sample> {
        let now = Instant::now();
        [
            self.measure_members(now),
            self.measure_documents(now),
            self.measure_gossip(),
            self.measure_connections(),
            self.measure_quotas(),
        ]
        .concat()
    }
}

impl Membership {
    /// How long the certificate counts for the other nodes, in seconds: not at all when this node is locked out.
    fn certificate_ends_in_s(&self) -> u64 {
        if self.belonging.is_locked_out.load(Ordering::Relaxed) {
            return 0;
        }
        self.identity.validity().1.saturating_sub(unix_now())
    }

    fn measure_members(&self, now: Instant) -> Vec<Sample> {
        let (mut states, mut lag) = ([0; MemberState::ALL.len()], Duration::ZERO);
        let (suspected, doubled) = self.gossip.with_roster(|roster| {
            for known in roster.nodes() {
                for (count, state) in states.iter_mut().zip(MemberState::ALL) {
                    *count += u64::from(known.state == state);
                }
                if matches!(known.state, MemberState::Alive | MemberState::Draining) {
                    lag = lag.max(now.duration_since(known.heard));
                }
            }
            (roster.partition(now).is_some(), roster.doubled().len())
        });
        let [alive, draining, left, silent] = states;
        let (_, partitions) = self.gossip.counts();
        vec![
            Sample::gauge(
                "cluster_members_alive",
                "Nodes of the zone that take calls, this one included.",
                alive,
            ),
            Sample::gauge(
                "cluster_members_draining",
                "Nodes that finish their calls and take no more.",
                draining,
            ),
            Sample::gauge("cluster_members_left", "Nodes that said goodbye lately.", left),
            Sample::gauge("cluster_members_silent", "Nodes that fell silent lately.", silent),
            Sample::gauge(
                "cluster_members_doubled",
                "Nodes that live more than once: somebody runs a copy of a data directory.",
                doubled as u64,
            ),
            Sample::gauge(
                "cluster_gossip_lag_milliseconds",
                "Age of the oldest news of a live node.",
                milliseconds(lag),
            ),
            Sample::gauge(
                "cluster_partition_suspected",
                "Whether several nodes are silent that fell silent together.",
                u64::from(suspected),
            ),
            Sample::counter("cluster_partitions_suspected", "How often that began.", partitions),
        ]
    }

    fn measure_documents(&self, now: Instant) -> Vec<Sample> {
        let (missing, catalogue_lag, fetched, failures) = self.documents.counts(now);
        vec![
            Sample::gauge(
                "cluster_documents_missing",
                "Catalogues and other documents that are known and not here yet.",
                missing as u64,
            ),
            Sample::gauge(
                "cluster_catalogue_lag_milliseconds",
                "For how long the oldest of them has been missing.",
                milliseconds(catalogue_lag),
            ),
            Sample::counter(
                "cluster_documents_fetched",
                "Documents that were fetched from other nodes.",
                fetched,
            ),
            Sample::counter(
                "cluster_sync_failures",
                "Documents that nobody gave, or gave with another digest.",
                failures,
            ),
        ]
    }

    fn measure_gossip(&self) -> Vec<Sample> {
        let (restarts, _) = self.gossip.counts();
        let traffic = self.streams.traffic();
        vec![
            Sample::counter(
                "cluster_gossip_sent",
                "Messages of gossip that were sent.",
                read(&traffic.sent),
            ),
            Sample::counter(
                "cluster_gossip_sent_bytes",
                "Their size, compressed, without TLS.",
                read(&traffic.sent_bytes),
            ),
            Sample::counter(
                "cluster_gossip_received",
                "Messages of gossip that arrived.",
                read(&traffic.received),
            ),
            Sample::counter(
                "cluster_gossip_dropped",
                "Messages of gossip that were dropped: a queue was full, or a node not reachable.",
                read(&traffic.dropped),
            ),
            Sample::counter(
                "cluster_gossip_malformed",
                "Streams of gossip that were closed because they broke the format.",
                read(&traffic.malformed),
            ),
            Sample::counter(
                "cluster_gossip_restarts",
                "How often gossip ended by itself and was started anew.",
                restarts,
            ),
        ]
    }

    fn measure_quotas(&self) -> Vec<Sample> {
        let Some(parts) = self.quotas.get() else { return Vec::new() };
        let status = parts.status();
        vec![
            Sample::gauge(
                "cluster_quota_reach_permille",
                "Which part of tenants' quotas the nodes have together that this node hears.",
                u64::from(status.reach_permille),
            ),
            Sample::gauge(
                "cluster_quota_silent_nodes",
                "Nodes that keep their part of tenants' quotas though they are not heard.",
                status.silent.len() as u64,
            ),
            Sample::gauge(
                "cluster_quota_tenants",
                "Tenants of which this node says how much of their quota it wants.",
                parts.said_count(),
            ),
        ]
    }

    fn measure_connections(&self) -> Vec<Sample> {
        let ends = self.certificate_ends_in_s();
        vec![
            Sample::counter(
                "cluster_connections_refused",
                "Connections that proved nothing: strangers, noise, timeouts.",
                read(&self.counts.refused),
            ),
            Sample::counter(
                "cluster_connections_crowded",
                "Connections that were closed because too many came at once.",
                read(&self.counts.crowded),
            ),
            Sample::gauge(
                "cluster_nodes_evicted",
                "Nodes that were evicted and are remembered.",
                self.identity.trust().borrow().evicted().count() as u64,
            ),
            Sample::gauge(
                "cluster_certificate_seconds",
                "How long the certificate of this node holds.",
                ends,
            ),
        ]
    }
}

fn read(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}
