//! Connections to mounted servers, and what went wrong with them in words that are safe to show.

use std::error::Error;
use std::time::Duration;

use rmcp::ClientServiceExt as _;
use rmcp::model::ProtocolVersion;
use rmcp::service::{ClientInitializeError, ClientLifecycleMode, RoleClient, RunningService};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::common::client_side_sse::ExponentialBackoff;
use rmcp::transport::streamable_http_client::{
    StreamableHttpClientTransportConfig, StreamableHttpError,
};

use super::client::Client;
use super::config::{Bearer, MountConfig, MountTransport};
use super::stdio::Process;

/// How long a server may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long it may take from there to its first answer: longer than the 10 s after which a server that ignores
/// `server/discover` is taken for one of the older revisions, and long enough for an interpreter to start.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);
/// The largest message of a server, in bytes. An answer that is passed on is bounded more tightly by its mount.
pub(super) const MESSAGE_MAX_BYTES: usize = 16 << 20;
/// Requests beside the calls: the list of tools, the subscription, cancellations.
const REQUESTS_BESIDE: usize = 4;
/// Pauses between attempts to open the event stream of a session again.
const STREAM_PAUSE: Duration = Duration::from_secs(1);
const STREAM_PAUSE_MAX: Duration = Duration::from_secs(30);
/// Longest reason that is shown, in bytes.
const REASON_MAX_BYTES: usize = 512;

/// A server that answered.
pub(super) struct Connection {
    pub(super) service: RunningService<RoleClient, Client>,
    pub(super) client: Client,
    /// Ends with the connection.
    pub(super) process: Option<Process>,
}

/// Connects.
///
/// # Errors
/// Why not, for the operator.
pub(super) async fn connect(config: &MountConfig) -> Result<Connection, String> {
    let client = Client::default();
    let mut process = None;
    let handshake = async {
        match &config.transport {
            MountTransport::Http { url, bearer } => {
                let transport = http(config, url, bearer.as_ref())?;
                let served = client.clone().serve_with_lifecycle(transport, revisions()).await;
                served.map_err(|error| refusal(&error))
            }
            MountTransport::Stdio { .. } => {
                let (started, transport) = Process::start(config)?;
                process = Some(started);
                let served = client.clone().serve_with_lifecycle(transport, revisions()).await;
                served.map_err(|error| refusal(&error))
            }
        }
    };
    let service =
        tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await.unwrap_or_else(|_| {
            Err(format!("it did not answer within {} s", HANDSHAKE_TIMEOUT.as_secs()))
        })?;
    Ok(Connection { service, client, process })
}

/// The stateless revision where the server has it.
fn revisions() -> ClientLifecycleMode {
    ClientLifecycleMode::Auto {
        preferred_versions: vec![ProtocolVersion::V_2026_07_28],
        legacy_version: Some(ProtocolVersion::V_2025_11_25),
    }
}

fn http(
    config: &MountConfig,
    url: &str,
    bearer: Option<&Bearer>,
) -> Result<StreamableHttpClientTransport<reqwest::Client>, String> {
    // An error means that somebody installed one already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let calls_max = config.calls_max as usize;
    let client = reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        // A credential goes to the URL that the operator wrote, and nowhere else.
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .pool_max_idle_per_host(calls_max.min(32))
        .build()
        .map_err(|error| reason(&error))?;
    let mut settings = StreamableHttpClientTransportConfig::with_uri(url)
        .max_concurrent_requests(calls_max + REQUESTS_BESIDE)
        .max_sse_event_size(MESSAGE_MAX_BYTES);
    let mut pauses = ExponentialBackoff::default();
    (pauses.base_duration, pauses.max_delay) = (STREAM_PAUSE, Some(STREAM_PAUSE_MAX));
    settings.retry_config = std::sync::Arc::new(pauses);
    if let Some(Bearer { header, value }) = bearer {
        settings.custom_headers.insert(header.clone(), value.clone());
    }
    Ok(StreamableHttpClientTransport::with_client(client, settings))
}

fn refusal(error: &ClientInitializeError) -> String {
    match error {
        ClientInitializeError::LegacyFallbackFailed { fallback, .. } => refusal(fallback),
        error if error.auth_challenge().is_some() => {
            "it wants another credential: see `token_env`".to_owned()
        }
        ClientInitializeError::TransportError { error, .. } => reason(error.error.as_ref()),
        error => reason(error),
    }
}

/// An error and what caused it, in one bounded line without URLs, in which keys may stand.
pub(super) fn reason(error: &(dyn Error + 'static)) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        next = error.source();
        let text = match of_http(error) {
            Some(error) if error.is_connect() => "cannot connect".to_owned(),
            Some(error) if error.is_timeout() => "timed out".to_owned(),
            Some(error) => match error.status() {
                Some(status) => format!("it answered {status}"),
                None => "the request failed".to_owned(),
            },
            // What only repeats its source says nothing.
            None if next.is_some() => continue,
            None => error.to_string(),
        };
        if !parts.contains(&text) {
            parts.push(text);
        }
    }
    printable(&parts.join(": "))
}

/// Text of a server in one line for people, in bounded length.
pub(super) fn printable(text: &str) -> String {
    let cut = &text[..text.floor_char_boundary(REASON_MAX_BYTES)];
    cut.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The client's own error, which `rmcp` wraps without naming it as the source.
fn of_http<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e reqwest::Error> {
    match error.downcast_ref::<StreamableHttpError<reqwest::Error>>() {
        Some(StreamableHttpError::Client(error)) => Some(error),
        _ => error.downcast_ref(),
    }
}

/// Whether nothing of a request can have arrived.
pub(super) fn was_never_sent(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if of_http(error).is_some_and(reqwest::Error::is_connect) {
            return true;
        }
        next = error.source();
    }
    false
}
