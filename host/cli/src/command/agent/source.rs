//! Where `aop agent load` takes a component from: a file, a URL with its digest, or an OCI registry.
//!
//! What comes over the network is fetched as an agent's own request would be: one name, resolved once, every address
//! of it checked, no redirect followed, and no more bytes than a component may have.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use aop_core::egress::{Egress as _, EgressBody, EgressTimeouts, Sender};
use aop_core::policy::HttpGrant;
use aop_core::quota::Payer;
use aop_core::supply::OciReference;
use aop_core::{AgentName, Digest, Policy, Settings, TenantName};
use aop_runtime::CompileLimits;
use aop_services::{EgressConfig, HttpEgress, Network, SystemResolver};
use aop_supply::{PullError, Pulled};
use http_body_util::{BodyExt as _, Empty};

use crate::config::{Config, File, Flags};
use crate::exit::{CommandError, failure, misuse, usage};
use crate::services::NoSecrets;
use crate::{arguments, local, supply};

/// How long a server may be silent: as long as people wait for one that still answers.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// Which component is meant.
pub(super) enum Meant {
    /// A file, or a URL.
    Plain(PathBuf),
    /// An artifact of a registry.
    Artifact(OciReference),
}

/// A component, and what came with it.
pub(super) struct Component {
    pub(super) bytes: Vec<u8>,
    /// Where in a registry it was, with the digest of its manifest.
    pub(super) reference: Option<OciReference>,
    /// The bundle of its signature, which the host checks.
    pub(super) bundle: Option<String>,
}

impl Meant {
    /// What was written on the command line, or in settings that take the place of a component there.
    pub(super) fn of(written: &Path, settings: Option<&Settings>) -> Result<Self, CommandError> {
        if let Some(text) = written.to_str().filter(|text| OciReference::is_meant(text)) {
            return text.parse().map(Self::Artifact).map_err(misuse);
        }
        match settings {
            None => Ok(Self::Plain(written.to_owned())),
            Some(settings) => settings.component.clone().map(Self::Artifact).ok_or_else(|| {
                misuse(format!(
                    "{} does not say where its component is: add `component = \"oci://HOST/NAME@sha256:…\"`, or name the .wasm file",
                    written.display()
                ))
            }),
        }
    }

    /// The agent's name when nobody says another.
    pub(super) fn agent_name(&self) -> Result<AgentName, CommandError> {
        match self {
            Self::Plain(path) => local::agent_name(path),
            Self::Artifact(reference) => {
                AgentName::from_file_stem(reference.short_name()).map_err(usage)
            }
        }
    }

    /// Reads the component, and checks that it is the one that was meant.
    pub(super) async fn read(
        &self,
        digest: Option<Digest>,
        config: Option<&Path>,
    ) -> Result<Component, CommandError> {
        let component = match self {
            Self::Plain(source) => plain(source, digest).await?,
            Self::Artifact(reference) => pull(reference, digest, config).await?,
        };
        let found = Digest::of(&component.bytes);
        match digest.filter(|expected| *expected != found) {
            None => Ok(component),
            Some(expected) => Err(failure(format!(
                "{self} is not the component that was meant: its digest is {found}, and {expected} was asked for, by --digest or the settings"
            ))),
        }
    }
}

impl fmt::Display for Meant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(path) => path.display().fmt(f),
            Self::Artifact(reference) => reference.fmt(f),
        }
    }
}

/// A file with the bundle beside it, or what a URL has.
async fn plain(source: &Path, digest: Option<Digest>) -> Result<Component, CommandError> {
    let Some(url) = source.to_str().filter(|text| text.contains("://")) else {
        let bytes = std::fs::read(source)
            .with_context(|| format!("cannot read {}", source.display()))
            .map_err(usage)?;
        let beside = source.with_added_extension("sigstore.json");
        let bundle = if beside.is_file() { Some(arguments::read_file(&beside)?) } else { None };
        return Ok(Component { bytes, reference: None, bundle });
    };
    let expected = digest.ok_or_else(|| {
        misuse(
            "a component from the network needs --digest sha256:…, as whoever published it says: who controls the server could otherwise send another one",
        )
    })?;
    Ok(Component { bytes: fetch(url, expected).await?, reference: None, bundle: None })
}

async fn pull(
    reference: &OciReference,
    digest: Option<Digest>,
    config: Option<&Path>,
) -> Result<Component, CommandError> {
    let file = File::find(config)?;
    let config = Config::load(file.as_ref(), &Flags::default())?;
    let registries = supply::registries(&config).map_err(usage)?;
    // What this machine knows of signers helps to choose; whom to believe is the host's to say.
    let signatures = supply::signatures(&config.supply).map_err(usage)?;
    let rank = |component: &[u8], bundle: &str| signatures.rank(component, bundle);
    let pulled = registries.pull(reference, digest, &rank).await.map_err(|error| match error {
        PullError::NotListed { .. } | PullError::NotPinned(_) => misuse(error.to_string()),
        error => failure(format!("cannot pull {reference}: {error}")),
    })?;
    let Pulled { component, reference, bundle } = pulled;
    Ok(Component { bytes: component, reference: Some(reference), bundle })
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
    let sender = Sender {
        tenant: TenantName::default_tenant(),
        policy: Arc::new(policy),
        payer: Payer::nobody(),
    };
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
