//! Components from OCI registries.
//!
//! Pulling is three requests: the manifest, the layer that is the component, and what refers to the manifest, where a
//! signature may be. A client library for registries would do them as well, but those read manifests and tokens of
//! any size, follow redirects and authentication realms to wherever a registry points, and resolve names
//! themselves. Here all of it goes the way of agents' requests: every address is checked after its name was
//! resolved, and every answer is bounded.
//!
//! What is believed, and what is not:
//!
//! - Only registries that the operator listed are asked, and only they, or a realm that is listed as well, see a credential.
//! - A registry may redirect to where its layers lie, over https and to public addresses; no credential goes along.
//! - A tag is only ever a way to find a manifest: either the manifest's digest or the component's was given, and
//!   what comes is nothing until it has that digest.

mod token;

use std::sync::Arc;
use std::time::Duration;

use aop_core::Digest;
use aop_core::egress::Egress;
use aop_core::supply::{BUNDLE_MAX_BYTES, OciReference};
use http::header::LOCATION;
use http::{HeaderValue, StatusCode, Uri};

use crate::credentials::Credentials;
use crate::manifest::{Descriptor, IMAGE, INDEX, Manifest};
use crate::signature::RANK_BEST;
use crate::wire::{self, Answer, Ask, Trust, shown};

/// The largest manifest: what registries themselves take at most is 4 MiB, and one of a component has 1 KiB.
const MANIFEST_MAX_BYTES: u64 = 1 << 20;
/// How often a registry may point elsewhere for one layer: to a store of blobs, and there to a mirror.
const REDIRECTS_MAX: usize = 3;
/// Bundles of a component that are looked at until one is of a signer. The time of the pull bounds them as well.
const BUNDLES_MAX: usize = 64;

/// Which registries may be asked, and how.
#[derive(Debug, Clone)]
pub struct RegistriesConfig {
    /// Their hosts, with a port where they have one.
    pub hosts: Vec<String>,
    /// Those of them that may be asked without TLS. This machine's own always may.
    pub plain_http: Vec<String>,
    /// Users and passwords.
    pub credentials: Credentials,
    /// The largest component.
    pub component_max_bytes: u64,
    /// How long a pull may take as a whole. Default 5 min, as long as an upload may.
    pub pull_timeout: Duration,
}

impl Default for RegistriesConfig {
    fn default() -> Self {
        Self {
            hosts: Vec::new(),
            plain_http: Vec::new(),
            credentials: Credentials::default(),
            component_max_bytes: 64 << 20,
            pull_timeout: Duration::from_secs(300),
        }
    }
}

/// Why nothing was pulled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PullError {
    /// The operator did not list the host.
    #[error(
        "`{host}` is none of the registries that may be asked: add it to `registries` under [supply] in aop.toml (AOP_SUPPLY_REGISTRIES)"
    )]
    NotListed {
        /// The registry.
        host: String,
    },
    /// The tag alone does not say which component is meant.
    #[error(
        "`{0}` names no digest, and a tag can mean another component tomorrow: append @sha256:… (the manifest's, as `docker push` and `oras push` print it), or give the component's own with --digest"
    )]
    NotPinned(String),
    /// A request failed.
    #[error("{url}: {reason}")]
    Failed {
        /// What was asked for, without its query.
        url: String,
        /// Why.
        reason: String,
    },
    /// What came is not what was asked for.
    #[error("{what} is not the one that was asked for: its digest is {found}, and not {expected}")]
    WrongDigest {
        /// The manifest, or the component.
        what: &'static str,
        /// As it should be.
        expected: Digest,
        /// As it is.
        found: Digest,
    },
    /// The artifact holds no component, or not one that is small enough.
    #[error("`{reference}` cannot be loaded: {reason}")]
    Unusable {
        /// The artifact.
        reference: String,
        /// Why.
        reason: String,
    },
    /// The registry was too slow.
    #[error("the registry did not deliver the component within {0:?}")]
    Timeout(Duration),
}

/// What a registry delivered, checked against the digests.
#[derive(Debug)]
pub struct Pulled {
    /// The bytes.
    pub component: Vec<u8>,
    /// The reference with the manifest's digest.
    pub reference: OciReference,
    /// The Sigstore bundle that refers to it, not yet believed: of several, the one that was ranked highest.
    pub bundle: Option<String>,
}

/// Pulls components.
pub struct Registries {
    egress: Arc<dyn Egress>,
    config: RegistriesConfig,
}

impl Registries {
    /// Registries that are asked through a way out whose own limits are not below those of `config`.
    #[must_use]
    pub fn new(egress: Arc<dyn Egress>, config: RegistriesConfig) -> Self {
        Self { egress, config }
    }

    /// Pulls a component. Its manifest has the digest in the reference, or it has `component` itself, or both. Anybody who may
    /// write there can add bundles: of those that refer to it, the first that `rank` ranks highest comes along, so that
    /// none stands in the way of the right one.
    ///
    /// # Errors
    /// [`PullError`].
    pub async fn pull(
        &self,
        reference: &OciReference,
        component: Option<Digest>,
        rank: &(dyn Fn(&[u8], &str) -> u8 + Sync),
    ) -> Result<Pulled, PullError> {
        let limit = self.config.pull_timeout;
        let pull = async {
            self.trust(reference.host())?;
            if reference.digest().is_none() && component.is_none() {
                return Err(PullError::NotPinned(reference.to_string()));
            }
            Pull { registries: self, reference, authorization: None }.run(component, rank).await
        };
        tokio::time::timeout(limit, pull).await.map_err(|_| PullError::Timeout(limit))?
    }

    /// Whether a host may be asked and may see a credential.
    fn trust(&self, host: &str) -> Result<(), PullError> {
        let is_listed = self.config.hosts.iter().any(|listed| listed.eq_ignore_ascii_case(host));
        if is_listed { Ok(()) } else { Err(PullError::NotListed { host: host.to_owned() }) }
    }

    /// Whether a host may be asked without TLS: nobody is between this machine and itself.
    fn is_plain(&self, host: &str) -> bool {
        let bare = host.rsplit_once(':').map_or(host, |(bare, _)| bare);
        let address = host.parse().or_else(|_| bare.trim_matches(['[', ']']).parse());
        address.is_ok_and(|address: std::net::IpAddr| address.is_loopback())
            || self.config.plain_http.iter().any(|listed| listed.eq_ignore_ascii_case(host))
    }

    /// How URLs of a listed host begin.
    fn base(&self, host: &str) -> String {
        let scheme = if self.is_plain(host) { "http" } else { "https" };
        format!("{scheme}://{host}")
    }
}

/// One pull.
struct Pull<'a> {
    registries: &'a Registries,
    reference: &'a OciReference,
    authorization: Option<HeaderValue>,
}

impl Pull<'_> {
    async fn run(
        mut self,
        expected: Option<Digest>,
        rank: &(dyn Fn(&[u8], &str) -> u8 + Sync),
    ) -> Result<Pulled, PullError> {
        let (manifest, digest) = self.manifest().await?;
        let layer = manifest.component().map_err(|reason| self.unusable(reason))?;
        let layer_digest = layer.sha256().map_err(|reason| self.unusable(reason))?;
        if let Some(expected) = expected.filter(|expected| *expected != layer_digest) {
            let what = "the component";
            return Err(PullError::WrongDigest { what, expected, found: layer_digest });
        }
        let max = self.registries.config.component_max_bytes;
        let component = self.blob(layer, max, "the component").await?;
        let bundle = self.bundle(digest, &|bundle: &str| rank(&component, bundle)).await;
        Ok(Pulled { component, reference: self.reference.clone().pinned(digest), bundle })
    }

    fn unusable(&self, reason: String) -> PullError {
        PullError::Unusable { reference: self.reference.to_string(), reason }
    }

    /// The manifest of the reference, and its digest.
    async fn manifest(&mut self) -> Result<(Manifest, Digest), PullError> {
        let pinned = self.reference.digest();
        let name = match (pinned, self.reference.tag()) {
            (Some(digest), _) => digest.to_string(),
            (None, tag) => tag.unwrap_or("latest").to_owned(),
        };
        // A list is asked for as well, so that one is told apart from nothing.
        let answer = self
            .get(&format!("manifests/{name}"), &format!("{IMAGE}, {INDEX}"), MANIFEST_MAX_BYTES)
            .await?;
        let found = Digest::of(&answer);
        if let Some(expected) = pinned.filter(|expected| *expected != found) {
            return Err(PullError::WrongDigest { what: "the manifest", expected, found });
        }
        let manifest = Manifest::read(&answer).map_err(|reason| self.unusable(reason))?;
        Ok((manifest, found))
    }

    /// A layer, as large and with the digest that its manifest says.
    async fn blob(
        &mut self,
        layer: &Descriptor,
        max: u64,
        what: &'static str,
    ) -> Result<Vec<u8>, PullError> {
        if layer.size > max {
            let reason = format!(
                "it has {} bytes, and this host accepts {max}: make it smaller, or raise the limit",
                layer.size
            );
            return Err(self.unusable(reason));
        }
        let expected = layer.sha256().map_err(|reason| self.unusable(reason))?;
        // What is longer than announced is cut off before it is held.
        let bytes = self.get(&format!("blobs/{expected}"), "*/*", layer.size).await?;
        let found = Digest::of(&bytes);
        if found != expected {
            return Err(PullError::WrongDigest { what, expected, found });
        }
        Ok(bytes)
    }

    /// Of the bundles that refer to a manifest and can be had, the first that ranks highest; after [`RANK_BEST`], or
    /// [`BUNDLES_MAX`] of them, no further ones are looked at. That there is none is no error here, since not every host
    /// asks for one.
    async fn bundle(
        &mut self,
        manifest: Digest,
        rank: &(dyn Fn(&str) -> u8 + Sync),
    ) -> Option<String> {
        // Registries without the list of referrers keep it under a tag.
        let lists =
            [format!("referrers/{manifest}"), format!("manifests/sha256-{}", manifest.hex())];
        let mut candidates: Vec<Descriptor> = Vec::new();
        for list in lists {
            let Ok(list) = self.get(&list, INDEX, MANIFEST_MAX_BYTES).await else { continue };
            let Ok(list) = Manifest::read(&list) else { continue };
            for candidate in list.bundles() {
                if !candidates.iter().any(|known| known.digest == candidate.digest) {
                    candidates.push(candidate.clone());
                }
            }
        }
        let mut best: Option<(u8, String)> = None;
        for candidate in candidates.iter().take(BUNDLES_MAX) {
            let Some(bundle) = self.referrer(candidate).await else { continue };
            let rank = rank(&bundle);
            if best.as_ref().is_none_or(|(known, _)| rank > *known) {
                best = Some((rank, bundle));
            }
            if rank >= RANK_BEST {
                break;
            }
        }
        best.map(|(_, bundle)| bundle)
    }

    async fn referrer(&mut self, descriptor: &Descriptor) -> Option<String> {
        let digest = descriptor.sha256().ok()?;
        let bytes =
            self.get(&format!("manifests/{digest}"), IMAGE, MANIFEST_MAX_BYTES).await.ok()?;
        if Digest::of(&bytes) != digest {
            return None;
        }
        let manifest = Manifest::read(&bytes).ok()?;
        let layer = manifest.bundle()?;
        let bytes = self.blob(layer, BUNDLE_MAX_BYTES as u64, "the bundle").await.ok()?;
        String::from_utf8(bytes).ok()
    }

    /// Something of the artifact's name, with a token where the registry asks for one.
    async fn get(
        &mut self,
        path: &str,
        accept: &str,
        max_bytes: u64,
    ) -> Result<Vec<u8>, PullError> {
        let (host, name) = (self.reference.host(), self.reference.name());
        let url = format!("{}/v2/{name}/{path}", self.registries.base(host));
        let mut answer = self.ask(&url, accept, max_bytes).await?;
        if answer.status == StatusCode::UNAUTHORIZED && self.authorization.is_none() {
            self.authorization =
                Some(token::answer(self.registries, self.reference, &answer).await?);
            answer = self.ask(&url, accept, max_bytes).await?;
        }
        let mut asked = url;
        for _ in 0..REDIRECTS_MAX {
            if !answer.status.is_redirection() {
                break;
            }
            asked = pointed(&asked, &answer)?;
            let ask =
                Ask { url: &asked, trust: Trust::Pointed, accept, authorization: None, max_bytes };
            answer = wire::get(&*self.registries.egress, ask).await?;
        }
        if answer.status != StatusCode::OK {
            return Err(PullError::Failed { url: shown(&asked), reason: why(&answer) });
        }
        Ok(answer.body)
    }

    async fn ask(&self, url: &str, accept: &str, max_bytes: u64) -> Result<Answer, PullError> {
        let ask = Ask {
            url,
            trust: Trust::Named,
            accept,
            authorization: self.authorization.clone(),
            // An answer that says why there is none may be longer than a small layer.
            max_bytes: max_bytes.max(4 << 10),
        };
        let answer = wire::get(&*self.registries.egress, ask).await?;
        if answer.status == StatusCode::OK && answer.body.len() as u64 > max_bytes {
            let reason = format!("it is larger than the {max_bytes} bytes that it should have");
            return Err(PullError::Failed { url: shown(url), reason });
        }
        Ok(answer)
    }
}

/// Where a redirect leads: over https, to a name. An address or `localhost` written there would be taken for meant.
fn pointed(from: &str, answer: &Answer) -> Result<String, PullError> {
    let failed = |reason: String| PullError::Failed { url: shown(from), reason };
    let location = answer.headers.get(LOCATION).and_then(|location| location.to_str().ok());
    let location =
        location.ok_or_else(|| failed("it leads elsewhere without saying where".to_owned()))?;
    let refused = || {
        failed(format!(
            "it leads to {}, and a registry may only point to https:// and a public host's name",
            shown(location)
        ))
    };
    let uri: Uri = location.parse().map_err(|_| refused())?;
    let host = uri.host().unwrap_or_default();
    let bare = host.trim_matches(['[', ']']).trim_end_matches('.');
    let is_address = bare.parse::<std::net::IpAddr>().is_ok();
    if uri.scheme_str() != Some("https")
        || is_address
        || bare.is_empty()
        || bare.eq_ignore_ascii_case("localhost")
    {
        return Err(refused());
    }
    Ok(location.to_owned())
}

/// Why there is no answer, in words for the operator.
fn why(answer: &Answer) -> String {
    match answer.status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            "the registry does not let this host read it: give credentials with `credentials_file` under [supply], or AOP_REGISTRY_CREDENTIALS".to_owned()
        }
        StatusCode::NOT_FOUND => "the registry has no such artifact".to_owned(),
        status if status.is_redirection() => format!("it leads elsewhere more than {REDIRECTS_MAX} times"),
        status => format!("the registry answered {status}"),
    }
}

#[cfg(test)]
mod tests;
