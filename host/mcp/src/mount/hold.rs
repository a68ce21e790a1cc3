//! The life of one mounted server as this host sees it: connect, list, follow, and begin again.
//!
//! Death is noticed by a connection that closes, by a call that cannot be sent, by a call that comes to nothing, and by a list of
//! tools that does not come (asked every [`refresh`](super::MountConfig::refresh)). Then it is connected again *at
//! once*, so that a server that restarted or forgot its session changes nothing here; only when that fails do its tools go, and
//! it is tried again after pauses that grow from [`PAUSE_MIN`] to [`PAUSE_MAX`].

use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use aop_core::cluster::{ServerState, ServerStatus};
use aop_core::{Publish, RevisionNumber, Source};
use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use rmcp::model::{
    ClientRequest, ListToolsRequest, PaginatedRequestParams, ServerResult, SubscriptionFilter, Tool,
};
use rmcp::service::{Peer, RoleClient, Subscription};
use tokio::sync::Notify;
use tokio::time::{sleep, sleep_until, timeout};

use super::Counters;
use super::client::Reports;
use super::config::MountConfig;
use super::connect::{Connection, connect, printable, reason};
use super::offer::Offer;

/// First pause before a server is tried again.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// Longest pause: soon enough for whoever restarts a server, and seldom enough for a thousand hosts that mount one.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// A connection that lived this long was a good one: what comes after it begins with no pause.
const STEADY: Duration = Duration::from_secs(5);
/// How long a server may take to list its tools, all pages together.
const LIST_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a server that works on calls may leave that unanswered: servers with one thread do.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Pages of one list: a server that never ends its list must end.
const PAGES_MAX: usize = 256;
/// Tools that are read of one list before what `tools_max` leaves is chosen.
const LISTED_MAX: usize = 10_000;
/// Bytes of definitions that are read of one list: enough for more schemas than are taken.
const LISTED_MAX_BYTES: usize = 2 * aop_core::schema::SCHEMAS_MAX_BYTES;
/// How long reports of changes are gathered into one look.
const GATHER: Duration = Duration::from_millis(100);
/// Least time between two looks, however many changes are reported: each may read and publish thousands of tools.
const LOOKS_APART: Duration = Duration::from_secs(1);

/// A server, and what is known of it.
pub(super) struct Mount {
    config: MountConfig,
    counters: Arc<Counters>,
    session: RwLock<Option<Arc<Session>>>,
    condition: Mutex<Condition>,
    suspected: Notify,
    running: AtomicU32,
}

/// A connection, for calls.
pub(super) struct Session {
    pub(super) peer: Peer<RoleClient>,
    pub(super) reports: Arc<Reports>,
}

/// How it stands.
struct Condition {
    state: ServerState,
    since: Instant,
    offer: Option<Offer>,
    /// What it says it is, and the revision of MCP that it speaks.
    identity: (Option<String>, Option<String>),
    error: Option<String>,
    retry_at: Option<Instant>,
    /// Why the registry did not take it.
    refused: Option<String>,
    /// The revision that was last logged.
    told: Option<RevisionNumber>,
}

/// Why a list of tools did not come.
enum NoList {
    /// Nothing came.
    Silence,
    Failed(String),
}

impl Mount {
    pub(super) fn new(config: MountConfig, counters: Arc<Counters>) -> Self {
        let condition = Condition {
            state: ServerState::Connecting,
            since: Instant::now(),
            offer: None,
            identity: (None, None),
            error: None,
            retry_at: None,
            refused: None,
            told: None,
        };
        Self {
            config,
            counters,
            session: RwLock::default(),
            condition: Mutex::new(condition),
            suspected: Notify::new(),
            running: AtomicU32::new(0),
        }
    }

    pub(super) const fn config(&self) -> &MountConfig {
        &self.config
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.counters
    }

    pub(super) const fn running(&self) -> &AtomicU32 {
        &self.running
    }

    pub(super) fn session(&self) -> Option<Arc<Session>> {
        self.session.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Somebody has reason to think that it is dead: looks now instead of later.
    pub(super) fn suspect(&self) {
        self.suspected.notify_one();
    }

    pub(super) fn is_up(&self) -> bool {
        self.condition().state == ServerState::Up
    }

    /// When it is worth calling again.
    pub(super) fn retry_after(&self, now: Instant) -> Duration {
        let retry_at = self.condition().retry_at;
        retry_at.map_or(PAUSE_MIN, |at| at.saturating_duration_since(now))
    }

    fn condition(&self) -> std::sync::MutexGuard<'_, Condition> {
        self.condition.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For the operator.
    pub(super) fn status(&self, now: Instant) -> ServerStatus {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let condition = self.condition();
        let offer = condition.offer.as_ref();
        let (server, protocol) = condition.identity.clone();
        ServerStatus {
            name: self.config.name.clone(),
            tenant: self.config.tenant.clone(),
            transport: self.config.transport.word().to_owned(),
            place: self.config.transport.place(),
            state: condition.state,
            for_ms: millis(now.saturating_duration_since(condition.since)),
            server,
            protocol,
            tools: if condition.state == ServerState::Up {
                offer.map_or(0, Offer::tools)
            } else {
                0
            },
            calls_running: self.running.load(Ordering::Relaxed),
            error: condition.refused.clone().or_else(|| condition.error.clone()),
            retry_in_ms: condition.retry_at.map(|at| millis(at.saturating_duration_since(now))),
            notes: offer.map(|offer| offer.notes.clone()).unwrap_or_default(),
        }
    }

    /// Holds the server until the task is dropped.
    pub(super) async fn supervise(self: Arc<Self>, publish: Arc<dyn Publish>) {
        let _left = Left { mount: &self, publish: &publish };
        let mut pauses = pauses();
        loop {
            let lost = match connect(&self.config).await {
                Ok(connection) => {
                    self.counters.connects.add();
                    let began = Instant::now();
                    let lost = self.hold(connection, &*publish).await;
                    self.forget_session();
                    if began.elapsed() >= STEADY {
                        tracing::debug!(server = %self.config.name, reason = lost, "a mounted server was lost: connecting again");
                        self.reconnecting();
                        pauses = self::pauses();
                        continue;
                    }
                    lost
                }
                Err(reason) => reason,
            };
            let pause = pauses.next().unwrap_or(PAUSE_MAX);
            self.down(&lost, pause, &*publish);
            sleep(pause).await;
        }
    }

    /// Follows a connection until it is lost, and says why.
    async fn hold(self: &Arc<Self>, connection: Connection, publish: &dyn Publish) -> String {
        let Connection { service, client, process } = connection;
        let peer = service.peer().clone();
        let follows = peer.peer_info().is_some_and(|info| {
            let tools = info.capabilities.tools.as_ref();
            !info.protocol_version.has_initialize()
                && tools.is_some_and(|tools| tools.list_changed == Some(true))
        });
        // Until this returns, and no longer: dropping it closes the connection.
        let mut ended = pin!(service.waiting());
        let _process = process;
        let mut subscription: Option<Subscription> = None;
        let mut heard = Instant::now();
        loop {
            let looked = tokio::time::Instant::now();
            let listed = tokio::select! {
                biased;
                _ = &mut ended => return "it closed the connection".to_owned(),
                listed = list(&peer) => listed,
            };
            match listed {
                Ok(tools) => {
                    heard = Instant::now();
                    self.up(&peer, &client.reports, tools, publish);
                }
                Err(NoList::Silence) if self.is_busy() && heard.elapsed() < SILENCE_MAX => {}
                Err(NoList::Silence) => {
                    return format!(
                        "it did not list its tools within {} s",
                        LIST_TIMEOUT.as_secs()
                    );
                }
                Err(NoList::Failed(reason)) => return reason,
            }
            if follows && subscription.is_none() {
                let filter = SubscriptionFilter::builder().tools_list_changed().build();
                // Without it, changes are noticed a little later.
                subscription =
                    timeout(LIST_TIMEOUT, peer.listen(filter)).await.ok().and_then(Result::ok);
            }
            tokio::select! {
                biased;
                _ = &mut ended => return "it closed the connection".to_owned(),
                () = client.changed.notified() => gather(looked).await,
                goes_on = told(&mut subscription) => {
                    if goes_on {
                        gather(looked).await;
                    } else {
                        subscription = None;
                        // A server that ends each of them must not be asked without a pause.
                        sleep(PAUSE_MIN).await;
                    }
                }
                () = self.suspected.notified() => gather(looked).await,
                () = sleep(self.config.refresh) => {}
            }
        }
    }

    fn is_busy(&self) -> bool {
        self.session().is_some() && self.running.load(Ordering::Relaxed) > 0
    }

    fn up(
        self: &Arc<Self>,
        peer: &Peer<RoleClient>,
        reports: &Arc<Reports>,
        tools: Vec<Tool>,
        publish: &dyn Publish,
    ) {
        let info = peer.peer_info();
        let about = info.as_ref().and_then(|info| info.instructions.clone());
        let before = self.condition().offer.take();
        let offer = Offer::new(self, tools, about.as_deref(), before);
        if self.session().is_none() {
            let session = Session { peer: peer.clone(), reports: Arc::clone(reports) };
            self.put_session(Some(Arc::new(session)));
        }
        let agent = offer.agent.clone();
        let (tools, notes) = (offer.tools(), offer.notes.clone());
        let is_new = {
            let mut condition = self.condition();
            let was_up = condition.state == ServerState::Up;
            if !was_up {
                condition.since = Instant::now();
            }
            let number = offer.agent.revision.number;
            let is_new = !was_up || condition.told != Some(number);
            condition.told = Some(number);
            condition.state = ServerState::Up;
            condition.offer = Some(offer);
            let server = info.as_ref().and_then(|info| info.server_info.as_ref());
            let server =
                server.map(|server| printable(&format!("{} {}", server.name, server.version)));
            let protocol = info.as_ref().map(|info| info.protocol_version.to_string());
            condition.identity = (server, protocol);
            (condition.error, condition.retry_at) = (None, None);
            is_new
        };
        if is_new {
            tracing::info!(server = %self.config.name, tools, "a mounted server answers");
            for note in &notes {
                tracing::warn!(server = %self.config.name, "{note}");
            }
        }
        let agents = if tools > 0 { vec![agent] } else { Vec::new() };
        self.tell(publish, agents);
    }

    /// A good connection was lost, and the next is on its way: what is published stays, calls hear that it is away.
    fn reconnecting(&self) {
        let mut condition = self.condition();
        condition.state = ServerState::Connecting;
        condition.since = Instant::now();
    }

    fn down(&self, reason: &str, pause: Duration, publish: &dyn Publish) {
        self.forget_session();
        let reason = &*self.config.transport.without_query(reason);
        let was_down = {
            let mut condition = self.condition();
            let was_down = condition.state == ServerState::Down;
            if !was_down {
                condition.since = Instant::now();
            }
            condition.state = ServerState::Down;
            condition.error = Some(reason.to_owned());
            condition.retry_at = Some(Instant::now() + pause);
            was_down
        };
        if was_down {
            tracing::debug!(server = %self.config.name, reason, ?pause, "a mounted server does not answer");
        } else {
            self.counters.losses.add();
            tracing::warn!(server = %self.config.name, reason, "a mounted server does not answer: its tools are not listed until it does");
        }
        self.tell(publish, Vec::new());
    }

    fn tell(&self, publish: &dyn Publish, agents: Vec<aop_core::ForeignAgent>) {
        let is_offered = !agents.is_empty();
        let source = Source::Server(self.config.name.to_string());
        let refused = publish.publish(&source, agents);
        let mut condition = self.condition();
        if let Some(refused) = refused.into_iter().next() {
            if condition.refused.as_ref() != Some(&refused.reason) {
                tracing::error!(server = %self.config.name, reason = refused.reason, "a mounted server's tools are refused");
            }
            condition.refused = Some(refused.reason);
        } else if !is_offered {
            condition.refused = None;
        }
    }

    pub(super) fn put_session(&self, session: Option<Arc<Session>>) {
        *self.session.write().unwrap_or_else(PoisonError::into_inner) = session;
    }

    fn forget_session(&self) {
        self.put_session(None);
    }
}

/// Takes what a server has out of the registry when its task ends, however it does.
struct Left<'l> {
    mount: &'l Mount,
    publish: &'l Arc<dyn Publish>,
}

impl Drop for Left<'_> {
    fn drop(&mut self) {
        self.mount.forget_session();
        self.mount.tell(&**self.publish, Vec::new());
    }
}

fn pauses() -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(PAUSE_MIN)
        .with_max_delay(PAUSE_MAX)
        .with_jitter()
        .without_max_times()
        .build()
}

/// All pages, within bounds. Never from a cache: this is also how death is noticed.
async fn list(peer: &Peer<RoleClient>) -> Result<Vec<Tool>, NoList> {
    let pages = async {
        let (mut tools, mut bytes, mut cursor) = (Vec::new(), 0, None);
        for _ in 0..PAGES_MAX {
            let params = PaginatedRequestParams::default().with_cursor(cursor);
            let request = ClientRequest::ListToolsRequest(ListToolsRequest {
                params: Some(params),
                ..ListToolsRequest::default()
            });
            let page = match peer.send_request(request).await {
                Ok(ServerResult::ListToolsResult(page)) => page,
                Ok(_) => return Err(NoList::Failed("its list of tools is none".to_owned())),
                Err(error) => return Err(NoList::Failed(lost(&error))),
            };
            bytes += page.tools.iter().map(size).sum::<usize>();
            if bytes > LISTED_MAX_BYTES {
                let limit = LISTED_MAX_BYTES >> 20;
                return Err(NoList::Failed(format!("its list of tools has more than {limit} MiB")));
            }
            tools.extend(page.tools);
            if tools.len() > LISTED_MAX {
                return Err(NoList::Failed(format!("it lists more than {LISTED_MAX} tools")));
            }
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(tools);
            }
        }
        Err(NoList::Failed(format!("its list of tools has more than {PAGES_MAX} pages")))
    };
    timeout(LIST_TIMEOUT, pages).await.unwrap_or(Err(NoList::Silence))
}

/// What a definition holds in memory, about: all of it as text, whatever this host makes of it.
fn size(tool: &Tool) -> usize {
    // Maps of JSON values: writing them cannot fail.
    serde_json::to_vec(tool).unwrap_or_default().len()
}

/// Waits for further reports of the same change, and for as long as looks must be apart.
async fn gather(looked: tokio::time::Instant) {
    sleep_until((looked + LOOKS_APART).max(tokio::time::Instant::now() + GATHER)).await;
}

fn lost(error: &rmcp::ServiceError) -> String {
    match error {
        rmcp::ServiceError::TransportSend(error) => reason(error.error.as_ref()),
        error => reason(error),
    }
}

/// Waits for a subscription to tell of a change; for ever when there is none. Whether it goes on.
async fn told(subscription: &mut Option<Subscription>) -> bool {
    match subscription {
        Some(subscription) => matches!(subscription.next().await, Ok(Some(_))),
        None => std::future::pending().await,
    }
}
