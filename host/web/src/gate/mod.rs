//! The one place where a request gets a caller, or is turned away.
//!
//! It wraps the whole app behind the [`Guard`](crate::Guard): it reads the credential, asks [`Authenticate`] who that is, holds what the
//! route needs ([`needs`]) against what the caller may do, and puts its [`Standing`] into the request. Behind it nothing
//! authenticates; what takes its time is asked again whether its caller still counts, by [`open`], and in front of what it
//! changes. A 401 from behind the gate means that it does not, and gets its words here. Nothing can be reached that has no line in the table of routes: a new route is closed to
//! everyone but `cluster:admin` until it has one. What an MCP request needs depends on its method, which `mcp` knows.
//!
//! `/t/{tenant}` in front of a path names a tenant. It ends here: what is routed is the path behind it.
//!
//! Credentials are headers only. There are no cookies, so no page can make a browser send one along, and the answers
//! to a missing and a wrong one say nothing else than that (RFC 6750, RFC 9728, and MCP's authorization on them).

mod needs;
mod open;
mod resource;

use std::convert::Infallible;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use aop_core::audit::{Action, Actor, Outcome};
use aop_core::{
    Audit, AuditEvent, Authenticate, AuthenticateError, Bond, BoxFuture, Caller, Challenge,
    Identified, Known, Measure, Presented, Sample, Scope, Standing,
};
use axum::body::Body;
use axum::response::IntoResponse as _;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, header};
use pin_project_lite::pin_project;

#[cfg(test)]
pub(crate) use self::needs::ROUTES;
pub(crate) use self::needs::{Need, allowed, needs};
use self::open::{Followed, Open};
pub use self::resource::ProtectedResource;
pub(crate) use self::resource::WELL_KNOWN;
use crate::problem::Problem;

/// The address that a connection came from. The server puts it into every request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// See the module's documentation. A [`tower::Layer`]; clones are the same.
#[derive(Clone)]
pub struct Gate(Arc<Keeper>);

struct Keeper {
    authenticate: Arc<dyn Authenticate>,
    audit: Arc<dyn Audit>,
    resource: ProtectedResource,
    open: Arc<Open>,
    /// Of whoever comes to an open host. All are the same one, so they share it: it costs a request nothing.
    anybody: OnceLock<Standing>,
}

impl Gate {
    /// A gate that lets in whom `authenticate` knows, tells others where to get a token, and writes down who lacked a
    /// scope. Who gave no credential, or a wrong one, is `authenticate`'s to write down. Of `connections_max` connections, no
    /// tenant has all with requests that wait.
    #[must_use]
    pub fn new(
        authenticate: Arc<dyn Authenticate>,
        audit: Arc<dyn Audit>,
        resource: ProtectedResource,
        connections_max: usize,
    ) -> Self {
        let open = Arc::new(Open::new(connections_max));
        let anybody = OnceLock::new();
        Self(Arc::new(Keeper { authenticate, audit, resource, open, anybody }))
    }
}

impl Measure for Gate {
    fn measure(&self) -> Vec<Sample> {
        let help = "HTTP requests refused because their tenant had its part of all connections.";
        vec![Sample::counter("http_requests_crowded", help, self.0.open.refused())]
    }
}

impl<S> tower::Layer<S> for Gate {
    type Service = Gated<S>;

    fn layer(&self, inner: S) -> Gated<S> {
        Gated { inner, keeper: Arc::clone(&self.0) }
    }
}

/// An app behind a [`Gate`].
#[derive(Clone)]
pub struct Gated<S> {
    inner: S,
    keeper: Arc<Keeper>,
}

impl<S> tower::Service<Request<Body>> for Gated<S>
where
    S: tower::Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = GatedFuture<S, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let tenant = take_tenant(&mut request);
        let need = needs(request.method(), request.uri().path());
        if need == Need::Nothing && tenant.is_none() {
            return GatedFuture::passed(self.inner.call(request));
        }
        let address = request.extensions().get::<Peer>().map(|peer| peer.0);
        let bearer = match bearer(request.headers()) {
            Ok(bearer) => bearer,
            Err(error) => {
                return GatedFuture::answered(self.keeper.refusal(
                    &request,
                    tenant.as_deref(),
                    &error,
                    need,
                ));
            }
        };
        let presented = Presented { bearer, tenant: tenant.as_deref(), address };
        match self.keeper.authenticate.authenticate(presented) {
            Identified::Now(identified) => {
                match self.keeper.admit(request, tenant.as_deref(), identified, need) {
                    Ok(Admitted { request, watch, followed }) => {
                        let future = self.inner.call(request);
                        let followed = Some(followed);
                        GatedFuture { progress: Progress::Passed { future, watch, followed } }
                    }
                    Err(answer) => GatedFuture::answered(*answer),
                }
            }
            Identified::Soon(identifying) => {
                // The service that is ready is this one; the clone takes its place.
                let inner = self.inner.clone();
                let inner = std::mem::replace(&mut self.inner, inner);
                let waiting = Waiting { inner, keeper: Arc::clone(&self.keeper), tenant, need };
                GatedFuture {
                    progress: Progress::Identifying {
                        identifying,
                        waiting: Some((waiting, request)),
                    },
                }
            }
        }
    }
}

/// Sees whether what is behind the gate turns a caller away: what an MCP message needs is known only there.
struct Watch {
    keeper: Arc<Keeper>,
    caller: Caller,
}

impl Watch {
    fn see(self, answer: &Response<Body>) {
        if answer.status() != StatusCode::FORBIDDEN {
            return;
        }
        let challenge = answer.headers().get(header::WWW_AUTHENTICATE);
        let challenge = challenge.and_then(|value| value.to_str().ok()).unwrap_or_default();
        if let Some((_, rest)) = challenge.split_once("scope=\"") {
            let scope = rest.split('"').next().unwrap_or_default();
            self.keeper.note_lacking(&self.caller, scope, "/mcp");
        }
    }
}

/// Whether a caller lacks one of the scopes that MCP asks for.
fn lacks_any(caller: &Caller) -> bool {
    [Scope::ToolsCall, Scope::ToolsList].into_iter().any(|scope| !caller.scopes.has(scope))
}

/// Whether a request may be one that ends others: whoever manages a tenant revokes the key that takes its connections, and
/// clients end sessions.
fn frees_room(request: &Request<Body>, need: Need) -> bool {
    match need {
        Need::Scope(scope) => matches!(scope, Scope::TenantAdmin | Scope::ClusterAdmin),
        Need::Caller => request.method() == http::Method::DELETE,
        _ => false,
    }
}

/// A request that was let in.
struct Admitted {
    request: Request<Body>,
    watch: Option<Watch>,
    followed: Followed,
}

/// A request whose caller is not known yet.
struct Waiting<S> {
    inner: S,
    keeper: Arc<Keeper>,
    tenant: Option<String>,
    need: Need,
}

pin_project! {
    /// The future of a [`Gated`] app.
    pub struct GatedFuture<S, F> {
        #[pin]
        progress: Progress<S, F>,
    }
}

pin_project! {
    #[project = Projection]
    enum Progress<S, F> {
        /// The app works on it.
        Passed { #[pin] future: F, watch: Option<Watch>, followed: Option<Followed> },
        /// The gate has answered; taken when the answer has been given.
        Answered { answer: Option<Response<Body>> },
        /// The credential is being checked.
        Identifying {
            identifying: BoxFuture<'static, Result<Known, AuthenticateError>>,
            waiting: Option<(Waiting<S>, Request<Body>)>,
        },
    }
}

impl<S, F> GatedFuture<S, F> {
    const fn passed(future: F) -> Self {
        Self { progress: Progress::Passed { future, watch: None, followed: None } }
    }

    const fn answered(answer: Response<Body>) -> Self {
        Self { progress: Progress::Answered { answer: Some(answer) } }
    }
}

impl<S> Future for GatedFuture<S, S::Future>
where
    S: tower::Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    type Output = Result<Response<Body>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut progress = self.project().progress;
        loop {
            let next = match progress.as_mut().project() {
                Projection::Passed { future, watch, followed } => match future.poll(cx) {
                    Poll::Ready(answered) => {
                        if let (Ok(answer), Some(watch)) = (&answered, watch.take()) {
                            watch.see(answer);
                        }
                        return Poll::Ready(match followed.take() {
                            Some(followed) => answered.map(|answer| followed.follow(answer)),
                            None => answered,
                        });
                    }
                    Poll::Pending => {
                        let Some(followed) = followed else { return Poll::Pending };
                        let Some(answer) = followed.ended(cx) else { return Poll::Pending };
                        Progress::Answered { answer: Some(answer) }
                    }
                },
                Projection::Answered { answer } => {
                    return answer.take().map_or(Poll::Pending, |answer| Poll::Ready(Ok(answer)));
                }
                Projection::Identifying { identifying, waiting } => {
                    let identified = std::task::ready!(identifying.as_mut().poll(cx));
                    let Some((mut waiting, request)) = waiting.take() else { return Poll::Pending };
                    let tenant = waiting.tenant.as_deref();
                    match waiting.keeper.admit(request, tenant, identified, waiting.need) {
                        Ok(Admitted { request, watch, followed }) => {
                            let future = waiting.inner.call(request);
                            Progress::Passed { future, watch, followed: Some(followed) }
                        }
                        Err(answer) => Progress::Answered { answer: Some(*answer) },
                    }
                }
            };
            progress.set(next);
        }
    }
}

impl Keeper {
    /// Lets a request in with its caller, or answers it.
    fn admit(
        self: &Arc<Self>,
        mut request: Request<Body>,
        tenant: Option<&str>,
        identified: Result<Known, AuthenticateError>,
        need: Need,
    ) -> Result<Admitted, Box<Response<Body>>> {
        let known = match identified {
            Ok(known) => known,
            Err(error) => return Err(Box::new(self.refusal(&request, tenant, &error, need))),
        };
        let caller = &known.caller;
        if let Need::Scope(scope) = need
            && !caller.scopes.has(scope)
        {
            self.note_lacking(caller, scope.as_str(), request.uri().path());
            return Err(Box::new(self.insufficient(&request, tenant, scope)));
        }
        // Behind the gate there may be a method that has no line yet.
        if need == Need::OtherMethod && !caller.scopes.has(Scope::ClusterAdmin) {
            return Err(Box::new(self.other_method(&request, tenant, caller)));
        }
        if !frees_room(&request, need) && !self.open.has_room(&caller.tenant) {
            return Err(Box::new(self.open.crowded()));
        }
        // Nothing behind the gate has a use for it, and what nobody has cannot leak.
        request.headers_mut().remove(header::AUTHORIZATION);
        let challenge = self.challenge_for(&request, tenant);
        let mut watch = None;
        if need == Need::Caller && lacks_any(caller) {
            // Only `mcp` knows which scope a message needs, and it tells whoever lacks that one.
            request.extensions_mut().insert(challenge.clone());
            watch = Some(Watch { keeper: Arc::clone(self), caller: caller.clone() });
        }
        let standing = self.standing_of(known);
        request.extensions_mut().insert(standing.clone());
        let followed = Followed::new(Arc::clone(&self.open), standing, challenge, need);
        Ok(Admitted { request, watch, followed })
    }

    /// Whether the caller may still have what it asks for, later on.
    fn standing_of(&self, known: Known) -> Standing {
        let made = |known| Standing::of(known, Arc::clone(&self.authenticate));
        if known.bond != Bond::Open {
            return made(known);
        }
        let anybody = self.anybody.get_or_init(|| made(known.clone()));
        // It may have named another tenant than the first one did.
        if *anybody.known() == known { anybody.clone() } else { made(known) }
    }

    /// Writes down that a caller lacked a scope. Those of one scope are counted together where they are many.
    fn note_lacking(&self, caller: &Caller, scope: &str, path: &str) {
        self.audit.note(AuditEvent {
            who: Actor::Caller(&caller.subject),
            outcome: Outcome::Refused,
            tenant: Some(&caller.tenant),
            detail: path,
            ..AuditEvent::of_host(Action::AccessRefuse, scope)
        });
    }

    /// What a caller is told that lacks something. It costs nothing where no issuer of tokens is configured.
    fn challenge_for(&self, request: &Request<Body>, tenant: Option<&str>) -> Challenge {
        let metadata = self.resource.metadata_url(request, tenant);
        Challenge::new(metadata)
    }

    fn refusal(
        &self,
        request: &Request<Body>,
        tenant: Option<&str>,
        error: &AuthenticateError,
        need: Need,
    ) -> Response<Body> {
        let (status, code) = match error {
            AuthenticateError::Missing | AuthenticateError::Invalid => {
                (StatusCode::UNAUTHORIZED, "unauthenticated")
            }
            AuthenticateError::TooMany { .. } => (StatusCode::TOO_MANY_REQUESTS, "rate_limited"),
            AuthenticateError::UnknownTenant => (StatusCode::NOT_FOUND, "not_found"),
            AuthenticateError::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        };
        let mut response = Problem::new(status, code, error.to_string()).into_response();
        let headers = response.headers_mut();
        if status == StatusCode::UNAUTHORIZED {
            let challenge = self.challenge_for(request, tenant);
            let error = matches!(error, AuthenticateError::Invalid).then_some("invalid_token");
            set(headers, &header::WWW_AUTHENTICATE, &challenge.header(error, &wanted(need)));
        }
        if let AuthenticateError::TooMany { retry_after } = error {
            let seconds = retry_after.as_secs().saturating_add(1);
            set(headers, &header::RETRY_AFTER, &seconds.to_string());
        }
        response
    }

    /// The path does not have the method. Who may use none that it has does not learn that it is there.
    fn other_method(
        &self,
        request: &Request<Body>,
        tenant: Option<&str>,
        caller: &Caller,
    ) -> Response<Body> {
        let path = request.uri().path();
        let Some(allowed) = allowed(path, caller.scopes) else {
            self.note_lacking(caller, Scope::ClusterAdmin.as_str(), path);
            return self.insufficient(request, tenant, Scope::ClusterAdmin);
        };
        let mut response = Problem::wrong_method(request.method(), path).into_response();
        set(response.headers_mut(), &header::ALLOW, &allowed);
        response
    }

    /// The caller is known, and may not.
    fn insufficient(
        &self,
        request: &Request<Body>,
        tenant: Option<&str>,
        scope: Scope,
    ) -> Response<Body> {
        let message = format!("this needs the scope `{scope}`, which the credential does not have");
        let problem = Problem::new(StatusCode::FORBIDDEN, "permission_denied", message);
        let mut response = problem.into_response();
        let challenge = self.challenge_for(request, tenant);
        let value = challenge.header(Some("insufficient_scope"), scope.as_str());
        set(response.headers_mut(), &header::WWW_AUTHENTICATE, &value);
        response
    }
}

/// The scopes that would do.
fn wanted(need: Need) -> String {
    match need {
        Need::Scope(scope) => scope.as_str().to_owned(),
        Need::OtherMethod => Scope::ClusterAdmin.as_str().to_owned(),
        Need::Caller | Need::Nothing => format!("{} {}", Scope::ToolsCall, Scope::ToolsList),
    }
}

fn set(headers: &mut HeaderMap, name: &http::HeaderName, value: &str) {
    // Its parts were made for headers; what a client sent was checked to be a host.
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// The tenant in front of a path, taken out of it. Paths that have no such form stay as they are.
fn take_tenant(request: &mut Request<Body>) -> Option<String> {
    let rest = request.uri().path().strip_prefix("/t/")?;
    let (tenant, path) = rest.split_once('/')?;
    let tenant = tenant.to_owned();
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    let stripped = format!("/{path}{query}").parse::<Uri>().ok()?;
    *request.uri_mut() = stripped;
    Some(tenant)
}

/// The credential of a request. One that cannot be read, or two of them, is an invalid one: proxies and hosts must not
/// disagree about which counts.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, AuthenticateError> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(AuthenticateError::Invalid);
    }
    let text = value.to_str().map_err(|_| AuthenticateError::Invalid)?;
    let (scheme, token) = text.split_once(' ').ok_or(AuthenticateError::Invalid)?;
    let token = token.trim_start_matches(' ');
    // RFC 6750, section 2.1.
    let form = |c: u8| c.is_ascii_alphanumeric() || b"-._~+/=".contains(&c);
    let is_bearer = scheme.eq_ignore_ascii_case("bearer");
    if is_bearer && !token.is_empty() && token.bytes().all(form) {
        Ok(Some(token))
    } else {
        Err(AuthenticateError::Invalid)
    }
}

#[cfg(test)]
mod tests;
