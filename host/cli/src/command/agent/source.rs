//! Where `aop agent load` takes a component from: a file, or the network with its digest.
//!
//! What comes over the network is fetched as an agent's own request would be: one name, resolved once, every address
//! of it checked, no redirect followed, and no more bytes than a component may have.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use aop_core::egress::{Egress as _, EgressBody, EgressTimeouts, Sender};
use aop_core::policy::HttpGrant;
use aop_core::{Digest, Policy, TenantName};
use aop_runtime::CompileLimits;
use aop_services::{EgressConfig, HttpEgress, Network, SystemResolver};
use http_body_util::{BodyExt as _, Empty};

use crate::exit::{CommandError, failure, misuse, usage};
use crate::services::NoSecrets;

/// How long a server may be silent: as long as people wait for one that still answers.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// Reads a component, and checks that it is the one that was meant.
pub(super) async fn read(source: &Path, digest: Option<Digest>) -> Result<Vec<u8>, CommandError> {
    let component = match source.to_str().filter(|text| text.contains("://")) {
        Some(url) => {
            let expected = digest.ok_or_else(|| {
                misuse(
                    "a component from the network needs --digest sha256:…, as whoever published it says: who controls the server could otherwise send another one",
                )
            })?;
            fetch(url, expected).await?
        }
        None => std::fs::read(source)
            .with_context(|| format!("cannot read {}", source.display()))
            .map_err(usage)?,
    };
    let found = Digest::of(&component);
    match digest.filter(|expected| *expected != found) {
        None => Ok(component),
        Some(expected) => Err(failure(format!(
            "{} is not the component that was meant: its digest is {found}, and --digest says {expected}",
            source.display()
        ))),
    }
}

async fn fetch(url: &str, digest: Digest) -> Result<Vec<u8>, CommandError> {
    let uri: http::Uri = url.parse().map_err(|_| misuse(format!("`{url}` is not a URL")))?;
    if uri.scheme_str() != Some("https") && !is_this_machine(&uri) {
        return Err(misuse(format!("`{url}` must begin with https://")));
    }
    // The rule permits exactly this.
    let without_query = url.split('?').next().unwrap_or(url);
    let rule = format!("GET {without_query}").parse().map_err(misuse)?;
    let policy = Policy { http: vec![HttpGrant::of(rule)], ..Policy::deny_all() };
    let sender = Sender { tenant: TenantName::default_tenant(), policy: Arc::new(policy) };
    let config = EgressConfig {
        response_max_bytes: CompileLimits::default().component_max_bytes,
        ..EgressConfig::default()
    };
    let egress = HttpEgress::new(Network::new(SystemResolver), Arc::new(NoSecrets), config);
    let body: EgressBody = Box::pin(Empty::new().map_err(|never| match never {}));
    let request = http::Request::get(uri)
        .header(http::header::ACCEPT, "application/wasm, application/octet-stream")
        .header(http::header::USER_AGENT, concat!("aop/", env!("CARGO_PKG_VERSION")))
        .body(body)
        .map_err(usage)?;
    let timeouts = EgressTimeouts {
        connect: SILENCE_MAX,
        first_byte: SILENCE_MAX,
        between_bytes: SILENCE_MAX,
    };
    let cannot = |reason: String| failure(format!("cannot fetch {url}: {reason}"));
    let response = egress.send(sender, request, timeouts).await;
    let response = response.map_err(|error| cannot(error.to_string()))?;
    if let Some(location) = response.headers().get(http::header::LOCATION) {
        let location = String::from_utf8_lossy(location.as_bytes());
        return Err(cannot(format!(
            "it leads to {location}, and no redirect is followed: name that URL, with --digest {digest}"
        )));
    }
    if !response.status().is_success() {
        return Err(cannot(format!("the server answered {}", response.status())));
    }
    let whole = response.into_body().collect().await;
    Ok(whole.map_err(|error| cannot(error.to_string()))?.to_bytes().into())
}

/// Nobody is between this machine and itself.
fn is_this_machine(uri: &http::Uri) -> bool {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}
