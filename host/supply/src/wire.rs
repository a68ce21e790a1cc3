//! One GET: to a host that the operator named, or to wherever such a host redirected, which then must be public.

use std::sync::Arc;
use std::time::Duration;

use aop_core::egress::{Egress, EgressBody, EgressTimeouts, Sender};
use aop_core::policy::http_grant::HttpGrant;
use aop_core::quota::Payer;
use aop_core::{Policy, TenantName};
use http::header::{ACCEPT, AUTHORIZATION, HeaderMap, USER_AGENT};
use http::{HeaderValue, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty};

use crate::registry::PullError;

/// How long a server may be silent: as long as people wait for one that still answers.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// Where a request goes, and how far its host is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    /// The operator named it: it may be anywhere, also on this machine.
    Named,
    /// A registry pointed there: public addresses only, and never with a credential.
    Pointed,
}

/// What to ask for.
pub(crate) struct Ask<'a> {
    pub(crate) url: &'a str,
    pub(crate) trust: Trust,
    pub(crate) accept: &'a str,
    pub(crate) authorization: Option<HeaderValue>,
    /// The largest answer.
    pub(crate) max_bytes: u64,
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

pub(crate) async fn get(egress: &dyn Egress, ask: Ask<'_>) -> Result<Answer, PullError> {
    let failed = |reason: String| PullError::Failed { url: shown(ask.url), reason };
    let uri: Uri = ask.url.parse().map_err(|_| failed("it is not a URL".to_owned()))?;
    let (scheme, authority) = (uri.scheme_str(), uri.authority());
    let Some((scheme, authority)) = scheme.zip(authority) else {
        return Err(failed("it is not a URL".to_owned()));
    };
    let rule = format!("GET {scheme}://{authority}");
    let mut grant = HttpGrant::of(rule.parse().map_err(failed)?);
    grant.limits.response_max_bytes = Some(ask.max_bytes);
    let everywhere = ["0.0.0.0/0", "::/0"].map(str::parse);
    let private_networks = match ask.trust {
        Trust::Named => everywhere.into_iter().flatten().collect(),
        Trust::Pointed => Vec::new(),
    };
    let policy = Policy { http: vec![grant], private_networks, ..Policy::deny_all() };
    let sender = Sender {
        tenant: TenantName::default_tenant(),
        policy: Arc::new(policy),
        payer: Payer::nobody(),
    };
    let mut request = Request::get(uri)
        .header(ACCEPT, ask.accept)
        .header(USER_AGENT, concat!("aop/", env!("CARGO_PKG_VERSION")));
    if let Some(authorization) = ask.authorization {
        request = request.header(AUTHORIZATION, authorization);
    }
    let body: EgressBody = Box::pin(Empty::new().map_err(|never| match never {}));
    let request = request.body(body).map_err(|error| failed(error.to_string()))?;
    let timeouts = EgressTimeouts {
        connect: SILENCE_MAX,
        first_byte: SILENCE_MAX,
        between_bytes: SILENCE_MAX,
    };
    let response = egress.send(sender, request, timeouts).await;
    let (head, body) = response.map_err(|error| failed(error.to_string()))?.into_parts();
    let body = body.collect().await.map_err(|error| failed(error.to_string()))?.to_bytes();
    Ok(Answer { status: head.status, headers: head.headers, body: body.into() })
}

/// A URL without its query, in which a redirect may carry a signature that is as good as a password.
pub(crate) fn shown(url: &str) -> String {
    let bare = url.split(['?', '#']).next().unwrap_or(url);
    bare.chars().take(512).filter(|c| !c.is_control()).collect()
}
