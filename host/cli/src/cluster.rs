//! The zone of a host: nothing at all until it is wanted, then a membership.
//!
//! It begins at the start of a host that is told to, or whose data directory belongs to a zone; and in
//! a running host when somebody asks for the first join token.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use aop_access::Access;
use aop_cluster::ZoneName;
use aop_cluster::membership::{
    Agreed, DEFAULT_ZONE, IdentityDirectory, Load, Members as _, Membership, MembershipConfig,
    MembershipError,
};
use aop_cluster::routing::{Router, RoutingParts};
use aop_core::cluster::{
    Cluster, ClusterError, ClusterStatus, EvictRequest, EvictionReport, JoinTokenGrant,
    JoinTokenRequest, KeyRotation, RotateKeyRequest,
};
use aop_core::quota::Accounts;
use aop_core::{Audit, BoxFuture, Invoke, Measure, Sample};
use aop_registry::Registry;
use aop_runtime::Runtime;
use tokio::sync::{OnceCell, watch};

use crate::exit::{CommandError, failure, usage};

/// How often this node says how busy it is.
const LOAD_INTERVAL: Duration = Duration::from_secs(1);

/// The zone of this host.
pub(crate) struct Zone {
    directory: IdentityDirectory,
    config: MembershipConfig,
    /// What other zones call it, if they know it.
    federated: Option<ZoneName>,
    routes: Routes,
    membership: OnceCell<Arc<Membership>>,
    access: OnceLock<Access>,
    /// Whether the host has loaded its agents: before that, others would be told that they are gone.
    is_loaded: AtomicBool,
}

/// What calls between nodes need of the host.
pub(crate) struct Routes {
    pub(crate) router: Arc<Router>,
    pub(crate) invoke: Arc<dyn Invoke>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) runtime: Arc<Runtime>,
    /// Whose quotas hold for the zone.
    pub(crate) accounts: Arc<Accounts>,
    /// Where placements are remembered.
    pub(crate) directory: PathBuf,
    pub(crate) component_max_bytes: u64,
    pub(crate) audit: Arc<dyn Audit>,
}

impl Routes {
    fn join(&self, membership: &Arc<Membership>) {
        self.runtime.join(membership.node());
        self.router.join(RoutingParts {
            members: membership.clone(),
            holdings: self.registry.clone(),
            catalog: self.registry.clone(),
            publish: self.registry.clone(),
            changes: self.registry.changes(),
            data_dir: self.directory.clone(),
            component_max_bytes: self.component_max_bytes,
            audit: self.audit.clone(),
        });
    }
}

impl Zone {
    pub(crate) fn new(
        directory: IdentityDirectory,
        (config, federated): (MembershipConfig, Option<ZoneName>),
        routes: Routes,
    ) -> Self {
        // Before any agent is loaded.
        routes.router.label(config.labels.clone());
        let (membership, is_loaded) = (OnceCell::new(), AtomicBool::new(false));
        Self {
            directory,
            config,
            federated,
            routes,
            membership,
            access: OnceLock::new(),
            is_loaded,
        }
    }

    /// Whose tenants, keys and secrets all nodes of the zone have alike; said once, before it starts.
    pub(crate) fn share(&self, access: Access) {
        let _ = self.access.set(access);
    }

    /// Has tenants, keys and secrets alike with the others from now on. A node that has just joined waits for theirs:
    /// without their keys it would be open to everybody on this machine.
    async fn agree(&self, membership: &Arc<Membership>) -> Result<(), MembershipError> {
        let Some(access) = self.access.get() else { return Ok(()) };
        access.share(self.routes.directory.join("departed.json")).await;
        let (merged, mut first) = watch::channel(false);
        membership.agree(Arc::new(SharedAccess { access: access.clone(), merged }));
        if !self.awaits_keys().exists() {
            return Ok(());
        }
        let first = tokio::time::timeout(FIRST_KEYS_MAX, first.wait_for(|merged| *merged)).await;
        match first {
            Ok(Ok(_)) => std::fs::remove_file(self.awaits_keys()).map_err(|error| {
                MembershipError::Refused(format!(
                    "it cannot be noted that the keys are here: {error}"
                ))
            }),
            _ => Err(MembershipError::Refused(format!(
                "the tenants and keys of the zone did not arrive within {} s, and without them this host would be open: start it again when another node runs",
                FIRST_KEYS_MAX.as_secs()
            ))),
        }
    }

    /// A file that is there from before a node joins until it has the keys of the zone, so that no restart in between
    /// opens it.
    fn awaits_keys(&self) -> PathBuf {
        self.routes.directory.join("awaits-keys")
    }

    fn note_that_keys_are_awaited(&self) -> Result<(), MembershipError> {
        let write = || {
            std::fs::create_dir_all(&self.routes.directory)?;
            aop_cluster::durable::write(&self.awaits_keys(), b"")
        };
        write().map_err(|error| {
            MembershipError::Refused(format!(
                "it cannot be noted that the zone's keys are awaited: {error}"
            ))
        })
    }

    /// The agents of this host are loaded: from now on it tells others of them, and routes to theirs.
    pub(crate) fn loaded(&self) {
        self.is_loaded.store(true, Ordering::SeqCst);
        if let Some(membership) = self.membership.get() {
            self.routes.join(membership);
        }
    }

    /// Whether the host belongs to a zone already.
    pub(crate) fn has_zone(&self) -> bool {
        self.directory.has_zone()
    }

    /// Founds the zone, joins it, or comes back to it.
    pub(crate) async fn start(&self) -> Result<&Arc<Membership>, MembershipError> {
        self.membership
            .get_or_try_init(|| async {
                let Routes { router, invoke, registry, .. } = &self.routes;
                let http2 = router.serve(invoke.clone(), registry.clone());
                let had_zone = self.directory.has_zone();
                let joins = !had_zone && !self.config.join.is_empty();
                if joins {
                    self.note_that_keys_are_awaited()?;
                }
                let membership = Membership::start(&self.directory, &self.config, http2).await?;
                if let Some(warning) =
                    other_name(&membership.status().zone, self.federated.as_ref())
                {
                    tracing::warn!("{warning}");
                }
                membership.report_routes(router.clone());
                // Before the first call.
                let file = self.routes.directory.join("quota-nodes.json");
                membership.share_quotas(self.routes.accounts.clone(), file, had_zone || joins);
                self.agree(&membership).await?;
                tokio::spawn(say_load(Arc::downgrade(&membership)));
                Ok::<_, MembershipError>(membership)
            })
            .await
            .inspect(|membership| {
                // Whoever comes second, this or the end of loading, finds the other one done.
                if self.is_loaded.load(Ordering::SeqCst) {
                    self.routes.join(membership);
                }
            })
    }

    /// Tells others that this host takes no more calls.
    pub(crate) async fn drain(&self) {
        if let Some(membership) = self.membership.get() {
            membership.drain().await;
        }
    }

    /// Says goodbye.
    pub(crate) async fn leave(&self) {
        self.routes.router.leave();
        if let Some(membership) = self.membership.get() {
            membership.leave().await;
        }
    }
}

/// What is wrong when the hosts of a zone call it otherwise than other zones do. The name that a zone has when nobody named
/// it says nothing.
fn other_name(of_hosts: &str, federated: Option<&ZoneName>) -> Option<String> {
    let federated = federated?.as_str();
    (of_hosts != federated && of_hosts != DEFAULT_ZONE).then(|| {
        format!(
            "the hosts of this zone call it {of_hosts} (`zone` of [cluster] where it was founded) and other zones {federated} (`name` of [zone] here): they name the same zone; correct `name` of [zone], or found the zone anew under that name"
        )
    })
}

/// How long a node that joined waits for the zone's keys: a few rounds of gossip, many times over.
const FIRST_KEYS_MAX: Duration = Duration::from_secs(30);

/// Tenants, keys and secrets, for the zone.
struct SharedAccess {
    access: Access,
    /// Whether those of another node were merged.
    merged: watch::Sender<bool>,
}

impl Agreed for SharedAccess {
    fn name(&self) -> &'static str {
        "access"
    }

    fn version(&self) -> u64 {
        self.access.shared_version()
    }

    fn document(&self) -> BoxFuture<'_, Result<Vec<u8>, String>> {
        Box::pin(async { self.access.shared().await.map_err(|error| error.to_string()) })
    }

    fn merge<'a>(&'a self, document: &'a [u8]) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            self.access.merge_shared(document).await?;
            self.merged.send_replace(true);
            Ok(())
        })
    }
}

/// How a membership that cannot start ends a command.
pub(crate) fn refusal(error: MembershipError) -> CommandError {
    match error {
        MembershipError::NoToken
        | MembershipError::Evicted
        | MembershipError::MalformedToken
        | MembershipError::OtherZone { .. }
        | MembershipError::TokenOfOtherZone { .. }
        | MembershipError::Exposed(_)
        | MembershipError::NoAddress(_) => usage(error),
        error => failure(format!("cannot be in the zone: {error}")),
    }
}

impl Cluster for Zone {
    fn status(&self) -> BoxFuture<'_, Result<ClusterStatus, ClusterError>> {
        let membership = self.membership.get().ok_or(ClusterError::NoZone);
        Box::pin(async move { Ok(membership?.status()) })
    }

    fn join_token(
        &self,
        request: JoinTokenRequest,
    ) -> BoxFuture<'_, Result<JoinTokenGrant, ClusterError>> {
        Box::pin(async move {
            let membership =
                self.start().await.map_err(|error| ClusterError::Unavailable(error.to_string()))?;
            membership.join_token(request).await
        })
    }

    fn evict(&self, request: EvictRequest) -> BoxFuture<'_, Result<EvictionReport, ClusterError>> {
        let membership = self.membership.get().ok_or(ClusterError::NoZone);
        Box::pin(async move { membership?.evict(&request).await })
    }

    fn rotate_key(
        &self,
        request: RotateKeyRequest,
    ) -> BoxFuture<'_, Result<KeyRotation, ClusterError>> {
        let membership = self.membership.get().ok_or(ClusterError::NoZone);
        Box::pin(async move { membership?.rotate_key(request).await })
    }
}

impl Measure for Zone {
    fn measure(&self) -> Vec<Sample> {
        self.membership.get().map(|membership| membership.measure()).unwrap_or_default()
    }
}

/// Says how busy this process keeps the machine, for as long as there is a membership.
async fn say_load(membership: std::sync::Weak<Membership>) {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut interval = tokio::time::interval(LOAD_INTERVAL);
    let mut last = (Instant::now(), cpu_time());
    loop {
        interval.tick().await;
        let Some(membership) = membership.upgrade() else { return };
        let now = (Instant::now(), cpu_time());
        let elapsed = now.0.duration_since(last.0);
        if !elapsed.is_zero() {
            let busy = now.1.saturating_sub(last.1);
            let share = busy.as_secs_f64() / elapsed.as_secs_f64() / cores as f64;
            membership.set_load(Load::of_percent((share * 100.0) as u32));
        }
        last = now;
    }
}

/// What this process has used of all cores.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_has_one_name_for_its_hosts_and_for_other_zones() {
        let name: ZoneName = "eu.acme.example".parse().unwrap();
        for same in ["eu.acme.example", DEFAULT_ZONE] {
            assert_eq!(other_name(same, Some(&name)), None);
        }
        assert_eq!(other_name("us.acme.example", None), None);
        let warning = other_name("us.acme.example", Some(&name)).unwrap();
        for part in ["us.acme.example (`zone` of [cluster]", "eu.acme.example (`name` of [zone]"] {
            assert!(warning.contains(part), "{warning}");
        }
    }
}
