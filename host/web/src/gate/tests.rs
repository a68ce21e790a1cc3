use std::time::Duration;

use aop_core::{Bond, Scopes, TenantName};
use axum::Router;
use axum::routing::any;
use http::Method;
use http_body_util::BodyExt as _;
use tower::{Layer as _, ServiceExt as _};

use super::needs::ROUTES;
use super::*;

/// Knows callers by the names of their scopes: `tools:list+agents:write@acme`.
struct Names;

fn caller(text: &str) -> Result<Caller, AuthenticateError> {
    let (scopes, tenant) = text.split_once('/').ok_or(AuthenticateError::Invalid)?;
    let scopes = scopes.split('+').filter(|scope| !scope.is_empty());
    let scopes = scopes.map(|scope| scope.replace('.', ":").parse()).collect::<Result<Vec<_>, _>>();
    let tenant = TenantName::new(tenant).map_err(|_| AuthenticateError::Invalid)?;
    let scopes: Scopes = scopes.map_err(|_| AuthenticateError::Invalid)?.into();
    Ok(Caller { scopes, ..Caller::local(tenant) })
}

impl Authenticate for Names {
    fn authenticate(&self, presented: Presented<'_>) -> Identified {
        let Some(bearer) = presented.bearer else {
            return Identified::Now(Err(AuthenticateError::Missing));
        };
        let known = match bearer {
            "flood" => Err(AuthenticateError::TooMany { retry_after: Duration::from_millis(2500) }),
            "later" => Err(AuthenticateError::Unavailable),
            text => caller(text.trim_start_matches("slow-")),
        };
        let tenant = presented.tenant.map(str::to_owned);
        let known = known.and_then(|caller| match &tenant {
            Some(tenant) if **tenant != *caller.tenant => Err(AuthenticateError::UnknownTenant),
            _ => Ok(caller),
        });
        let known = known.map(|caller| Known { caller, bond: Bond::Open, since_unix_ms: 1 });
        match bearer.starts_with("slow-") {
            true => Identified::Soon(Box::pin(async {
                tokio::task::yield_now().await;
                known
            })),
            false => Identified::Now(known),
        }
    }

    fn holds(&self, _: &Known) -> bool {
        true
    }
}

/// Believes everybody until it does not.
struct Fickle {
    bond: Bond,
    believes_nobody: std::sync::atomic::AtomicBool,
}

impl Authenticate for Fickle {
    fn authenticate(&self, _: Presented<'_>) -> Identified {
        let caller = Caller::local(TenantName::default_tenant());
        Identified::Now(Ok(Known { caller, bond: self.bond.clone(), since_unix_ms: 1 }))
    }

    fn holds(&self, _: &Known) -> bool {
        !self.believes_nobody.load(std::sync::atomic::Ordering::Relaxed)
    }
}

/// Says when it is dropped.
struct Alive(Arc<std::sync::atomic::AtomicBool>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_open_ends_when_its_callers_credential_counts_no_more() {
    let challenge = what_is_open_ends_with(Bond::Token { expires_unix_ms: 0 }).await;
    assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
}

#[tokio::test(start_paused = true)]
async fn what_was_opened_without_a_credential_ends_when_the_host_asks_for_one() {
    let challenge = what_is_open_ends_with(Bond::Open).await;
    assert_eq!(challenge, "Bearer scope=\"tools:call tools:list\"", "it showed nothing wrong");
}

/// What a running call is told when the bond breaks.
async fn what_is_open_ends_with(bond: Bond) -> String {
    use std::sync::atomic::{AtomicBool, Ordering};
    let fickle = Arc::new(Fickle { bond, believes_nobody: AtomicBool::default() });
    let dropped = [Arc::<AtomicBool>::default(), Arc::default()];
    let [of_call, of_stream] = dropped.clone();
    let app = Router::new().fallback(any(move |request: Request<Body>| {
        let (of_call, of_stream) = (Alive(of_call.clone()), Alive(of_stream.clone()));
        async move {
            match *request.method() {
                Method::POST => {
                    let _alive = of_call;
                    std::future::pending::<Response<Body>>().await
                }
                Method::GET => Response::new(Body::new(Never(of_stream))),
                _ => Response::new(Body::from("done")),
            }
        }
    }));
    let gate =
        Gate::new(fickle.clone(), Arc::new(aop_core::NoAudit), ProtectedResource::default(), 9);
    let keeper = gate.0.clone();
    let gated = gate.layer(app);
    let ask = |method| gated.clone().oneshot(request(&method, "/mcp", &["Bearer key"]));
    assert_eq!(text(ask(Method::PUT).await.unwrap()).await, "done");
    assert!(keeper.open.is_empty(), "what is answered at once is not noted");
    dropped.iter().for_each(|dropped| dropped.store(false, Ordering::Relaxed));

    let call = tokio::spawn(ask(Method::POST));
    let stream = ask(Method::GET).await.unwrap();
    let mut stream = tokio::spawn(stream.into_body().collect());
    let waited = tokio::time::timeout(Duration::from_secs(60), &mut stream).await;
    assert!(waited.is_err() && !call.is_finished(), "as long as it counts, both go on");
    fickle.believes_nobody.store(true, Ordering::Relaxed);
    let since = tokio::time::Instant::now();
    let refused = call.await.unwrap().unwrap();
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    let challenge = refused.headers()[header::WWW_AUTHENTICATE].to_str().unwrap().to_owned();
    assert!(stream.await.unwrap().unwrap().to_bytes().is_empty(), "the stream ends");
    assert!(since.elapsed() <= 2 * Standing::ASKED_EVERY, "{:?}", since.elapsed());
    assert!(dropped.iter().all(|dropped| dropped.load(Ordering::Relaxed)), "and what made them");
    assert!(keeper.open.is_empty());
    challenge
}

/// A gate of whoever is believed, in front of what never answers, and whether that was dropped.
fn hanging(fickle: &Arc<Fickle>) -> (Gated<Router>, Arc<std::sync::atomic::AtomicBool>) {
    let dropped = Arc::<std::sync::atomic::AtomicBool>::default();
    let seen = Arc::clone(&dropped);
    let app = Router::new().fallback(any(move || {
        let alive = Alive(Arc::clone(&seen));
        async move {
            let _alive = alive;
            std::future::pending::<Response<Body>>().await
        }
    }));
    let audit = Arc::new(aop_core::NoAudit);
    let gate = Gate::new(fickle.clone(), audit, ProtectedResource::default(), 9);
    (gate.layer(app), dropped)
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_waits_ends_with_its_callers_credential() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let bond = Bond::Token { expires_unix_ms: 0 };
    let fickle = Arc::new(Fickle { bond, believes_nobody: AtomicBool::default() });
    let (gated, dropped) = hanging(&fickle);
    let upload = request(&Method::PUT, "/api/v1/agents/x", &["Bearer key"]);
    let mut upload = tokio::spawn(gated.oneshot(upload));
    let waited = tokio::time::timeout(Duration::from_secs(60), &mut upload).await;
    assert!(waited.is_err() && !dropped.load(Ordering::Relaxed));
    fickle.believes_nobody.store(true, Ordering::Relaxed);
    let refused = upload.await.unwrap().unwrap();
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    let challenge = &refused.headers()[header::WWW_AUTHENTICATE];
    assert_eq!(challenge, "Bearer error=\"invalid_token\", scope=\"agents:write\"");
    assert!(dropped.load(Ordering::Relaxed), "it waits for nothing more");
}

/// Its answer has the key that is the only one to open the host from now on.
#[tokio::test(start_paused = true)]
async fn a_change_that_ends_its_own_standing_is_answered() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let fickle = Arc::new(Fickle { bond: Bond::Open, believes_nobody: AtomicBool::default() });
    let closing = fickle.clone();
    let app = Router::new().fallback(any(async move || {
        tokio::time::sleep(Standing::ASKED_EVERY / 2).await;
        closing.believes_nobody.store(true, Ordering::Relaxed);
        tokio::time::sleep(Standing::ASKED_EVERY * 9 / 10).await;
        "the key"
    }));
    let audit = Arc::new(aop_core::NoAudit);
    let gate = Gate::new(fickle, audit, ProtectedResource::default(), 9);
    let create = request(&Method::POST, "/api/v1/keys", &[]);
    assert_eq!(text(gate.layer(app).oneshot(create).await.unwrap()).await, "the key");
}

#[tokio::test]
async fn what_sees_behind_the_gate_that_a_credential_ended_is_worded_by_the_gate() {
    use std::sync::atomic::{AtomicBool, Ordering};
    for ended in [true, false] {
        let bond = Bond::Token { expires_unix_ms: 0 };
        let fickle = Arc::new(Fickle { bond, believes_nobody: AtomicBool::default() });
        let believed = fickle.clone();
        let app = Router::new().fallback(any(async move || {
            believed.believes_nobody.store(ended, Ordering::Relaxed);
            (StatusCode::UNAUTHORIZED, "of its own")
        }));
        let audit = Arc::new(aop_core::NoAudit);
        let gate = Gate::new(fickle, audit, ProtectedResource::default(), 9);
        let asked = request(&Method::POST, "/api/v1/keys", &["Bearer key"]);
        let answer = gate.layer(app).oneshot(asked).await.unwrap();
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(answer.headers().contains_key(header::WWW_AUTHENTICATE), ended);
        assert_eq!(text(answer).await == "of its own", !ended);
    }
}

#[tokio::test]
async fn no_tenant_has_all_connections_with_requests_that_wait() {
    let begun = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let counted = Arc::clone(&begun);
    let app = Router::new().fallback(any(move || {
        counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        std::future::pending::<Response<Body>>()
    }));
    let audit = Arc::new(aop_core::NoAudit);
    let gate = Gate::new(Arc::new(Names), audit, ProtectedResource::default(), 9);
    let (keeper, gated) = (Arc::clone(&gate.0), gate.layer(app));
    let mut context = Context::from_waker(std::task::Waker::noop());
    let mut ask = |tenant: &str| {
        let credential = format!("Bearer tools.call/{tenant}");
        let asked = request(&Method::POST, "/mcp", &[&*credential]);
        let mut answer = Box::pin(gated.clone().oneshot(asked));
        match answer.as_mut().poll(&mut context) {
            Poll::Pending => Ok(answer),
            Poll::Ready(refused) => Err(Box::new(refused.unwrap())),
        }
    };
    let mut waiting: Vec<_> = (0..8).map(|_| ask("greedy").ok().unwrap()).collect();
    let refused = ask("greedy").err().unwrap();
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers().contains_key(header::RETRY_AFTER));
    assert_eq!(refused.headers()[header::CONNECTION], "close", "it holds none by that");
    assert_eq!(begun.load(std::sync::atomic::Ordering::SeqCst), 8, "nothing of it began");
    assert_eq!(keeper.open.refused(), 1);
    let other = ask("other").ok().unwrap();
    drop(other);
    waiting.pop();
    waiting.push(ask("greedy").ok().unwrap());
    drop(waiting);
    assert!(keeper.open.is_empty());
}

#[tokio::test]
async fn nor_with_large_answers_that_are_not_read() {
    let app = Router::new().fallback(any(async |request: Request<Body>| {
        let small = request.method() == Method::GET;
        vec![b'x'; if small { 1 << 10 } else { 1 << 20 }]
    }));
    let audit = Arc::new(aop_core::NoAudit);
    let gate = Gate::new(Arc::new(Names), audit, ProtectedResource::default(), 9);
    let (keeper, gated) = (Arc::clone(&gate.0), gate.layer(app));
    let ask = async |method, tenant: &str| {
        let credential = format!("Bearer tools.call+tools.list/{tenant}");
        gated.clone().oneshot(request(&method, "/mcp", &[&*credential])).await.unwrap()
    };
    let small = ask(Method::GET, "greedy").await;
    assert!(keeper.open.is_empty());
    let mut unread = Vec::new();
    for _ in 0..8 {
        unread.push(ask(Method::POST, "greedy").await);
    }
    let refused = ask(Method::POST, "greedy").await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    let other = ask(Method::POST, "other").await;
    let size = http_body::Body::size_hint(other.body()).exact();
    assert_eq!(size, Some(1 << 20), "it is as long as it was");
    let mut body = other.into_body();
    let mut read = 0;
    while read < 1 << 20 {
        let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert!(frame.len() <= 64 << 10, "a piece at a time: {}", frame.len());
        read += frame.len();
        assert!(!http_body::Body::is_end_stream(&body), "it may not be written yet");
    }
    assert!(body.frame().await.is_none() && http_body::Body::is_end_stream(&body));
    drop((small, unread));
    assert!(keeper.open.is_empty());
}

#[tokio::test]
async fn what_a_request_carries_costs_little() {
    use std::sync::atomic::AtomicBool;
    let fickle = Fickle { bond: Bond::Open, believes_nobody: AtomicBool::default() };
    let (seen, mut carried) = tokio::sync::mpsc::unbounded_channel();
    let app = Router::new().fallback(any(async move |request: Request<Body>| {
        let standing = request.extensions().get::<Standing>().unwrap().clone();
        let has_challenge = request.extensions().get::<Challenge>().is_some();
        seen.send((standing, has_challenge)).unwrap();
    }));
    let audit = Arc::new(aop_core::NoAudit);
    let gate = Gate::new(Arc::new(fickle), audit, ProtectedResource::default(), 9);
    let gated = gate.layer(app.clone());
    for path in ["/mcp", "/api/v1/tools"] {
        gated.clone().oneshot(request(&Method::GET, path, &[])).await.unwrap();
    }
    let (first, second) = (carried.recv().await.unwrap(), carried.recv().await.unwrap());
    assert!(std::ptr::eq(first.0.known(), second.0.known()), "callers of an open host share one");
    assert!(!first.1, "whoever may do everything needs no challenge");
    let gate =
        Gate::new(Arc::new(Names), Arc::new(aop_core::NoAudit), ProtectedResource::default(), 9);
    let credential = "Bearer tools.call/default";
    gate.layer(app).oneshot(request(&Method::POST, "/mcp", &[credential])).await.unwrap();
    assert!(carried.recv().await.unwrap().1, "it may have to be told what it lacks");
}

/// A body that never says anything.
struct Never(#[expect(dead_code, reason = "it is dropped with the body")] Alive);

impl http_body::Body for Never {
    type Data = axum::body::Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<axum::body::Bytes>, Infallible>>> {
        Poll::Pending
    }
}

fn gated(resource: ProtectedResource) -> Gated<Router> {
    let shown = |request: Request<Body>| async move {
        let standing = request.extensions().get::<Standing>();
        let tenant = standing.map(|standing| standing.caller().tenant.to_string());
        let has_credential = request.headers().contains_key(header::AUTHORIZATION);
        format!("{} {} {has_credential}", request.uri(), tenant.unwrap_or_default())
    };
    let audit = Arc::new(aop_core::NoAudit);
    Gate::new(Arc::new(Names), audit, resource, 9).layer(Router::new().fallback(any(shown)))
}

fn request(method: &Method, path: &str, credentials: &[&str]) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path).header("host", "h:1");
    for credential in credentials {
        request = request.header(header::AUTHORIZATION, *credential);
    }
    request.body(Body::empty()).unwrap()
}

async fn ask(path: &str, credentials: &[&str]) -> Response<Body> {
    let gated = gated(ProtectedResource::default());
    gated.oneshot(request(&Method::GET, path, credentials)).await.unwrap()
}

async fn text(response: Response<Body>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

#[tokio::test]
async fn every_route_answers_every_credential_as_its_need_says() {
    for (methods, pattern, need) in ROUTES {
        let path = pattern.replace("{}", "x").replace('*', "mcp");
        for method in *methods {
            let scope = match need {
                Need::Scope(scope) => Some(*scope),
                Need::Caller | Need::Nothing | Need::OtherMethod => None,
            };
            let dotted = |scope: Scope| scope.as_str().replace(':', ".");
            let others: Vec<_> =
                Scope::ALL.into_iter().filter(|other| Some(*other) != scope).map(dotted).collect();
            let (mine, too_little) = (
                format!("Bearer {}/default", scope.map(dotted).unwrap_or_default()),
                format!("Bearer {}/default", others.join("+")),
            );
            let is_open = *need == Need::Nothing;
            let unless_open = |status: u16| if is_open { 200 } else { status };
            for (credential, status) in [
                (&[][..], unless_open(401)),
                (&["Bearer nonsense"], unless_open(401)),
                (&["Basic YTpi"], unless_open(401)),
                (&[&*too_little], if scope.is_some() { 403 } else { 200 }),
                (&[&*mine], 200),
                (&[&*mine, &*mine], unless_open(401)),
            ] {
                let answer = gated(ProtectedResource::default())
                    .oneshot(request(method, &path, credential))
                    .await
                    .unwrap();
                assert_eq!(answer.status().as_u16(), status, "{method} {path} {credential:?}");
                let is_challenged = answer.headers().contains_key(header::WWW_AUTHENTICATE);
                assert_eq!(is_challenged, status != 200, "{method} {path} {credential:?}");
            }
            // Another tenant's path, which for a stranger is the same as none at all.
            let foreign = request(method, &format!("/t/other{path}"), &[&mine]);
            let answer = gated(ProtectedResource::default()).oneshot(foreign).await.unwrap();
            assert_eq!(answer.status().as_u16(), 404, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn what_has_no_line_is_closed() {
    let all_but_one = "Bearer tools.call+tools.list+agents.write+tenant.admin/default";
    for path in ["/new", "/api/v1/agents/x/new", "/mcp/", "//mcp", "/t//mcp", "/t/acme", "/%6dcp"] {
        assert_ne!(ask(path, &[all_but_one]).await.status(), StatusCode::OK, "{path}");
    }
    assert_eq!(ask("/new", &["Bearer cluster.admin/default"]).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn another_method_is_405_for_whoever_may_use_one_and_for_others_as_a_path_that_is_not_there()
{
    let patch = async |path: &str, credential: &[&str]| {
        let gated = gated(ProtectedResource::default());
        let answer = gated.oneshot(request(&Method::PATCH, path, credential)).await.unwrap();
        let allow = answer.headers().get(header::ALLOW).cloned();
        let challenge = answer.headers().get(header::WWW_AUTHENTICATE).cloned();
        (answer.status(), allow, challenge, text(answer).await)
    };
    let (status, allow, _, body) = patch("/api/v1/agents/x", &["Bearer tools.list/default"]).await;
    assert_eq!(
        (status, allow.unwrap()),
        (StatusCode::METHOD_NOT_ALLOWED, "GET,HEAD,PUT,DELETE".parse().unwrap())
    );
    assert!(body.contains("method_not_allowed"), "{body}");
    let (status, allow, ..) = patch("/t/default/healthz", &["Bearer /default"]).await;
    assert_eq!(
        (status, allow.unwrap()),
        (StatusCode::METHOD_NOT_ALLOWED, "GET,HEAD".parse().unwrap())
    );
    for credential in [&[][..], &["Bearer nonsense"], &["Bearer agents.write/default"]] {
        let there = patch("/api/v1/keys", credential).await;
        assert_ne!(there.0, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(there, patch("/api/v1/nothing", credential).await, "{credential:?}");
    }
    // The router knows what there is, also what has no line yet.
    let passed = patch("/api/v1/keys", &["Bearer cluster.admin/default"]).await;
    assert_eq!(passed.0, StatusCode::OK);
}

#[tokio::test]
async fn behind_the_gate_there_is_a_caller_and_no_credential() {
    for credential in ["Bearer tools.call/acme", "bearer  slow-tools.call/acme"] {
        assert_eq!(text(ask("/mcp?a=b", &[credential]).await).await, "/mcp?a=b acme false");
        assert_eq!(text(ask("/t/acme/mcp?a=b", &[credential]).await).await, "/mcp?a=b acme false");
    }
    let twice = ask("/t/acme/t/acme/mcp", &["Bearer tools.call/acme"]).await;
    assert_eq!(twice.status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn credentials_have_one_form() {
    let good = "tools.call/default";
    for bad in [
        "Bearer",
        "Bearer ",
        "Bearertools.call/default",
        "Token tools.call/default",
        "Bearer tools.call/default extra",
        "Bearer \"tools.call/default\"",
        "Bearer tools.call/default,Bearer tools.call/default",
        "tools.call/default",
    ] {
        let answer = ask("/mcp", &[bad]).await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{bad}");
        let challenge = answer.headers()[header::WWW_AUTHENTICATE].to_str().unwrap();
        assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
    }
    // Never in the URL, where it would be logged.
    assert_eq!(
        ask(&format!("/mcp?access_token={good}"), &[]).await.status(),
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(ask("/mcp", &[&format!("BEARER {good}")]).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_client_is_told_where_to_get_a_token() {
    let resource = ProtectedResource {
        name: "aop".to_owned(),
        issuers: vec!["https://i.example".to_owned()],
        public_url: None,
    };
    let ask = async |path: &str, resource: &ProtectedResource| {
        let answer =
            gated(resource.clone()).oneshot(request(&Method::POST, path, &[])).await.unwrap();
        answer.headers()[header::WWW_AUTHENTICATE].to_str().unwrap().to_owned()
    };
    assert_eq!(
        ask("/mcp", &resource).await,
        "Bearer scope=\"tools:call tools:list\", resource_metadata=\"http://h:1/.well-known/oauth-protected-resource/mcp\""
    );
    let public =
        ProtectedResource { public_url: Some("https://aop.example/".to_owned()), ..resource };
    assert_eq!(
        ask("/t/acme/mcp", &public).await,
        "Bearer scope=\"tools:call tools:list\", resource_metadata=\"https://aop.example/.well-known/oauth-protected-resource/t/acme/mcp\""
    );
    let odd = ask("/t/a%22,b/mcp", &public).await;
    assert!(odd.ends_with("oauth-protected-resource/mcp\""), "{odd}");
}

#[tokio::test]
async fn floods_and_issuers_that_are_away_are_told_to_come_back() {
    let flood = ask("/mcp", &["Bearer flood"]).await;
    assert_eq!(flood.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(flood.headers()[header::RETRY_AFTER], "3");
    let later = ask("/mcp", &["Bearer later"]).await;
    assert_eq!(later.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(later.headers().contains_key(header::RETRY_AFTER));
}
