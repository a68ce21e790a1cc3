//! The zone of a host: nothing at all until it is wanted, then a membership.
//!
//! It begins at the start of a host that is told to, or whose data directory belongs to a zone; and in
//! a running host when somebody asks for the first join token.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aop_cluster::membership::{
    IdentityDirectory, Load, Members as _, Membership, MembershipConfig, MembershipError,
    PeerStream, ServeHttp2,
};
use aop_core::cluster::{Cluster, ClusterError, ClusterStatus, JoinTokenGrant, JoinTokenRequest};
use aop_core::{BoxFuture, Measure, NodeId, Sample};
use tokio::sync::OnceCell;

use crate::exit::{CommandError, failure, usage};

/// How often this node says how busy it is.
const LOAD_INTERVAL: Duration = Duration::from_secs(1);

/// The zone of this host.
pub(crate) struct Zone {
    directory: IdentityDirectory,
    config: MembershipConfig,
    membership: OnceCell<Arc<Membership>>,
}

impl Zone {
    pub(crate) fn new(directory: IdentityDirectory, config: MembershipConfig) -> Self {
        Self { directory, config, membership: OnceCell::new() }
    }

    /// Whether the host belongs to a zone already.
    pub(crate) fn has_zone(&self) -> bool {
        self.directory.has_zone()
    }

    /// Founds the zone, joins it, or comes back to it.
    pub(crate) async fn start(&self) -> Result<&Arc<Membership>, MembershipError> {
        self.membership
            .get_or_try_init(|| async {
                let membership =
                    Membership::start(&self.directory, &self.config, Arc::new(NoCalls)).await?;
                tokio::spawn(say_load(Arc::downgrade(&membership)));
                Ok(membership)
            })
            .await
    }

    /// Tells others that this host takes no more calls.
    pub(crate) async fn drain(&self) {
        if let Some(membership) = self.membership.get() {
            membership.drain().await;
        }
    }

    /// Says goodbye.
    pub(crate) async fn leave(&self) {
        if let Some(membership) = self.membership.get() {
            membership.leave().await;
        }
    }
}

/// How a membership that cannot start ends a command.
pub(crate) fn refusal(error: MembershipError) -> CommandError {
    match error {
        MembershipError::NoToken
        | MembershipError::MalformedToken
        | MembershipError::OtherZone { .. }
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
}

impl Measure for Zone {
    fn measure(&self) -> Vec<Sample> {
        self.membership.get().map(|membership| membership.measure()).unwrap_or_default()
    }
}

/// Closes connections that are for calls.
struct NoCalls;

impl ServeHttp2 for NoCalls {
    fn serve(&self, _: NodeId, _: PeerStream) -> BoxFuture<'static, ()> {
        Box::pin(async {})
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
