//! A client of a running host: MCP 2026-07-28 without sessions, and the admin API.
//!
//! It is written by hand because all it needs is one JSON-RPC POST; only `mcp` knows rmcp.

mod access;
mod admin;
mod answer;
mod mcp;
mod repeated;
mod url;

pub(crate) use access::NewlyCreated;
pub(crate) use admin::{QuotaUse, status_of};
pub(crate) use mcp::{ACCEPT, Params, REVISION, Request, ToolEntry};
pub(crate) use url::Endpoint;

use std::time::Duration;

use anyhow::Context as _;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Response, StatusCode};

use crate::args::HostArgs;
use crate::exit::{CommandError, failure, misuse, usage};

/// How long a host may take to accept a connection. Calls themselves take as long as their tools may.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest answer that is read: a result of the largest allowed size, once as text and once as
/// structured content, with room for escapes.
const ANSWER_MAX_BYTES: usize = 1 << 30;

/// How often a host that is loading is asked whether it is done: no person notices it.
const READY_PAUSE: Duration = Duration::from_millis(100);

/// A connection to one host.
pub(crate) struct Client {
    http: reqwest::Client,
    endpoint: Endpoint,
}

impl Client {
    /// A client of the host that the command line names, with its key, for its tenant.
    pub(crate) fn of(args: &HostArgs) -> Result<Self, CommandError> {
        let endpoint = args.endpoint().map_err(usage)?;
        Self::with(endpoint, args.key.as_deref())
    }

    /// A client of the host at `url`, which is open.
    pub(crate) fn new(url: &str) -> Result<Self, CommandError> {
        Self::with(Endpoint::parse(url).map_err(usage)?, None)
    }

    fn with(endpoint: Endpoint, key: Option<&str>) -> Result<Self, CommandError> {
        // An error means that somebody installed one already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder =
            reqwest::Client::builder().connect_timeout(CONNECT_TIMEOUT).user_agent(USER_AGENT);
        // An empty variable is as good as none.
        if let Some(key) = key.filter(|key| !key.is_empty()) {
            let mut value = HeaderValue::from_str(&format!("Bearer {key}"))
                .map_err(|_| misuse("the key has characters that no key has"))?;
            value.set_sensitive(true);
            builder = builder.default_headers([(AUTHORIZATION, value)].into_iter().collect());
        }
        if endpoint.is_loopback() {
            builder = builder.no_proxy();
        }
        let http = builder.build().context("cannot set up an HTTP client")?;
        Ok(Self { http, endpoint })
    }

    /// Waits until the host has loaded its agents.
    pub(crate) async fn wait_until_ready(&self) -> Result<(), CommandError> {
        let url = self.endpoint.base.join("readyz").context("the host's URL is malformed")?;
        while !self.send(self.http.get(url.clone())).await?.status().is_success() {
            tokio::time::sleep(READY_PAUSE).await;
        }
        Ok(())
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> anyhow::Result<Response> {
        request.send().await.map_err(|error| {
            if error.is_connect() {
                anyhow::anyhow!(
                    "cannot reach {}: is the host running? Start it with `aop serve`, or name another with --url",
                    self.endpoint.base
                )
            } else {
                anyhow::Error::new(error.without_url()).context(format!("no answer from {}", self.endpoint.base))
            }
        })
    }
}

/// The text at any URL, of bounded size.
pub(crate) async fn fetch(
    url: &str,
    token: Option<&str>,
    max_bytes: usize,
) -> Result<String, CommandError> {
    let client = Client::new(url)?;
    let mut request = client.http.get(url);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let response = client.send(request).await?;
    if !response.status().is_success() {
        let hint = match response.status() {
            StatusCode::UNAUTHORIZED => "it does not know the token",
            _ => "is it an AOP host with a zone?",
        };
        return Err(failure(format!("{url} answered {}: {hint}", response.status())));
    }
    Ok(bounded_body(response, max_bytes).await?)
}

const USER_AGENT: &str = concat!("aop/", env!("CARGO_PKG_VERSION"));

/// Reads an answer of bounded size.
async fn body(response: Response) -> anyhow::Result<String> {
    bounded_body(response, ANSWER_MAX_BYTES).await
}

async fn bounded_body(mut response: Response, max_bytes: usize) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.context("the answer broke off")? {
        anyhow::ensure!(
            bytes.len() + chunk.len() <= max_bytes,
            "the answer is larger than {} MiB",
            max_bytes >> 20
        );
        bytes.extend_from_slice(&chunk);
    }
    String::from_utf8(bytes).context("the answer is not UTF-8")
}

#[cfg(test)]
mod tests;
