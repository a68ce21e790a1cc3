//! What a registry is answered that asks who wants to know (RFC 9110, and the token flow that Docker's registry made common).

use aop_core::supply::OciReference;
use http::HeaderValue;
use http::header::WWW_AUTHENTICATE;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{PullError, Registries};
use crate::wire::{self, Answer, Ask, Trust, shown};

/// The largest answer of an authentication realm. Tokens of large companies' registries have 4 KiB.
const TOKEN_MAX_BYTES: u64 = 64 << 10;

#[derive(Deserialize)]
struct Token {
    token: Option<Zeroizing<String>>,
    access_token: Option<Zeroizing<String>>,
}

/// What the registry asks for.
enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String> },
}

/// The value of `Authorization` that a refusal asks for.
pub(super) async fn answer(
    registries: &Registries,
    reference: &OciReference,
    refusal: &Answer,
) -> Result<HeaderValue, PullError> {
    let host = reference.host();
    let basic = registries.config.credentials.basic(host);
    let basic = basic.map(|pair| secret(&format!("Basic {pair}"))).transpose();
    let failed =
        |reason: &str| PullError::Failed { url: registries.base(host), reason: reason.to_owned() };
    let basic = basic.map_err(|()| failed("its credentials hold what no header can"))?;
    match challenge(refusal) {
        Some(Challenge::Basic) => basic.ok_or_else(|| {
            failed("the registry asks for a user and password: give them with `credentials_file` under [supply], or AOP_REGISTRY_CREDENTIALS")
        }),
        Some(Challenge::Bearer { realm, service }) => {
            let url = url(registries, reference, &realm, service.as_deref())?;
            fetch(registries, &url, basic).await
        }
        None => Err(failed("the registry asks for a credential in a way that is not known here")),
    }
}

fn challenge(refusal: &Answer) -> Option<Challenge> {
    let headers = refusal.headers.get_all(WWW_AUTHENTICATE).iter();
    let mut found = None;
    for header in headers.filter_map(|header| header.to_str().ok()) {
        for challenge in http_auth::parse_challenges(header).unwrap_or_default() {
            let parameter = |name: &str| {
                let mut parameters = challenge.params.iter();
                let value = parameters.find(|(key, _)| key.eq_ignore_ascii_case(name));
                value.map(|(_, value)| value.to_unescaped())
            };
            if challenge.scheme.eq_ignore_ascii_case("bearer") {
                let service = parameter("service");
                return Some(Challenge::Bearer { realm: parameter("realm")?, service });
            }
            if challenge.scheme.eq_ignore_ascii_case("basic") {
                found = Some(Challenge::Basic);
            }
        }
    }
    found
}

/// The URL of a token for reading this one artifact, whatever scope the registry asked for. The realm must be a host
/// that the operator listed: a registry must not choose who sees its password.
fn url(
    registries: &Registries,
    reference: &OciReference,
    realm: &str,
    service: Option<&str>,
) -> Result<String, PullError> {
    let failed = |reason: String| PullError::Failed { url: shown(realm), reason };
    let uri: http::Uri = realm.parse().map_err(|_| {
        failed("the registry names an authentication realm that is not a URL".to_owned())
    })?;
    let authority = uri.authority().map(http::uri::Authority::as_str).unwrap_or_default();
    if registries.trust(authority).is_err() {
        return Err(failed(format!(
            "registry {} has its tokens made there: if that is right, add `{}` to `registries` under [supply] in aop.toml (AOP_SUPPLY_REGISTRIES)",
            reference.host(),
            shown(authority)
        )));
    }
    let scheme = uri.scheme_str().unwrap_or_default();
    if scheme != "https" && !(scheme == "http" && registries.is_plain(authority)) {
        return Err(failed("an authentication realm must begin with https://".to_owned()));
    }
    let mut url = format!("{scheme}://{authority}{}?", uri.path());
    let scope = format!("repository:{}:pull", reference.name());
    for (name, value) in [("service", service), ("scope", Some(&scope))] {
        if let Some(value) = value {
            let separator = if url.ends_with('?') { "" } else { "&" };
            url.push_str(&format!("{separator}{name}={}", encoded(value)));
        }
    }
    Ok(url)
}

/// Everything but letters, digits and what a query keeps as it is.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:/".contains(&byte) {
            encoded.push(byte.into());
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

async fn fetch(
    registries: &Registries,
    url: &str,
    authorization: Option<HeaderValue>,
) -> Result<HeaderValue, PullError> {
    let ask = Ask {
        url,
        trust: Trust::Named,
        accept: "application/json",
        authorization,
        max_bytes: TOKEN_MAX_BYTES,
    };
    let answer = wire::get(&*registries.egress, ask).await?;
    let failed = |reason: &str| PullError::Failed { url: shown(url), reason: reason.to_owned() };
    if !answer.status.is_success() {
        return Err(failed(&super::why(&answer)));
    }
    let token: Token = serde_json::from_slice(&answer.body)
        .map_err(|_| failed("what it answered is not a token"))?;
    let token =
        token.token.or(token.access_token).ok_or_else(|| failed("its answer has no token"))?;
    secret(&format!("Bearer {}", token.as_str()))
        .map_err(|()| failed("its token holds what no header can"))
}

/// A header that is never shown.
fn secret(text: &str) -> Result<HeaderValue, ()> {
    let mut value = HeaderValue::try_from(text).map_err(|_| ())?;
    value.set_sensitive(true);
    Ok(value)
}
