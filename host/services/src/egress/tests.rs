use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use aop_core::quota::Payer;
use aop_core::{Secret, SecretError, SecretName, Settings, TenantName};

use super::*;
use crate::SystemResolver;
use crate::testing::{Names, Step, Stub, ok};

const PATIENT: EgressTimeouts = EgressTimeouts {
    connect: Duration::from_secs(20),
    first_byte: Duration::from_secs(20),
    between_bytes: Duration::from_secs(20),
};
const IMPATIENT: Duration = Duration::from_millis(50);

fn egress(resolver: impl crate::ResolveName + 'static) -> HttpEgress {
    HttpEgress::new(Network::new(resolver), Arc::new(Kept), EgressConfig::default())
}

fn policy(rules: &[String], networks: &[&str]) -> Sender {
    sender(Policy {
        http: rules.iter().map(|rule| rule.parse().unwrap()).collect(),
        private_networks: networks.iter().map(|network| network.parse().unwrap()).collect(),
        ..Policy::default()
    })
}

/// The secrets of every tenant.
struct Kept;

impl Secrets for Kept {
    fn get<'a>(
        &'a self,
        tenant: &'a TenantName,
        name: &'a SecretName,
    ) -> BoxFuture<'a, Result<Secret, SecretError>> {
        let found =
            (name.as_str() == "KEY").then(|| Secret::new(format!("{tenant}-hunter2-hunter2")));
        Box::pin(async move { found.ok_or_else(|| SecretError::Missing(name.clone())) })
    }
}

fn sender(policy: Policy) -> Sender {
    Sender {
        tenant: TenantName::default_tenant(),
        policy: Arc::new(policy),
        payer: Payer::nobody(),
    }
}

fn body(text: &'static str) -> EgressBody {
    Box::pin(Full::new(Bytes::from_static(text.as_bytes())).map_err(|never| match never {}))
}

fn pieces(pieces: &[&'static str]) -> EgressBody {
    let frames: Vec<_> =
        pieces.iter().map(|piece| Ok(Frame::data(Bytes::from_static(piece.as_bytes())))).collect();
    Box::pin(StreamBody::new(futures::stream::iter(frames)))
}

fn get(url: &str) -> Request<EgressBody> {
    Request::get(url).body(body("")).unwrap()
}

async fn text(response: Response<EgressBody>) -> Result<String, String> {
    let whole = response.into_body().collect().await.map_err(|error| error.to_string())?;
    Ok(String::from_utf8(whole.to_bytes().to_vec()).unwrap())
}

/// Asks an address that the policy spells out.
async fn ask(
    egress: &HttpEgress,
    stub: &Stub,
    request: impl FnOnce(&str) -> Request<EgressBody>,
) -> Result<Response<EgressBody>, EgressError> {
    egress.send(here(stub), request(&base(stub)), PATIENT).await
}

fn base(stub: &Stub) -> String {
    format!("http://{}", stub.address)
}

/// The policy of one more agent that may ask the server.
fn here(stub: &Stub) -> Sender {
    policy(&[base(stub)], &[])
}

fn error(outcome: Result<Response<EgressBody>, EgressError>) -> EgressError {
    outcome.err().expect("it is refused")
}

#[tokio::test]
async fn an_address_that_the_policy_spells_out_is_reached() {
    let (stub, egress) = (Stub::saying("hello").await, egress(Names::default()));
    let policy = here(&stub);
    for _ in 0..2 {
        let request = get(&format!("{}/a?b=c", base(&stub)));
        let response = egress.send(policy.clone(), request, PATIENT).await.unwrap();
        assert_eq!(text(response).await.unwrap(), "hello");
        // The connection is given back by another task.
        while egress.inner.network.idle() == 0 {
            tokio::task::yield_now().await;
        }
    }
    let expected = format!("GET /a?b=c HTTP/1.1\r\nhost: {}\r\n", stub.address);
    assert!(stub.requests()[1].starts_with(&expected), "{:?}", stub.requests());
    assert_eq!(stub.connections(), 1, "the second request takes the first one's connection");
}

#[tokio::test]
async fn nothing_is_sent_that_no_rule_permits() {
    let (stub, egress) = (Stub::saying("hello").await, egress(Names::default()));
    let rule = format!("GET http://{}/open/*", stub.address);
    let policy = policy(&[rule], &[]);
    for (method, path) in [("GET", "/closed"), ("POST", "/open/a"), ("GET", "/open/../closed")] {
        let request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", stub.address))
            .body(body(""))
            .unwrap();
        let refusal = error(egress.send(policy.clone(), request, PATIENT).await);
        assert!(
            matches!(&refusal, EgressError::Denied(text) if text.contains("rule")),
            "{refusal}"
        );
    }
    assert!(stub.requests().is_empty());
}

#[tokio::test]
async fn names_that_lead_to_special_addresses_are_refused() {
    for address in [
        "127.0.0.1",
        "10.0.0.1",
        "169.254.169.254",
        "192.168.0.1",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "::1",
        "::",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",
        "fe80::1",
        "fd00:ec2::254",
        "ff02::1",
    ] {
        let egress = egress(Names::default().with("inside.test", &[&[address]]));
        let policy = policy(&["http://inside.test".to_owned(), "http://127.0.0.1".to_owned()], &[]);
        let refusal = error(egress.send(policy, get("http://inside.test/"), PATIENT).await);
        let EgressError::PrivateAddress(text) = &refusal else { panic!("{address}: {refusal}") };
        assert!(text.contains("private_networks") && !text.contains(address), "{text}");
    }
    let unknown = egress(Names::default());
    let policy = policy(&["http://nowhere.test".to_owned()], &[]);
    let refusal = error(unknown.send(policy, get("http://nowhere.test/"), PATIENT).await);
    assert!(
        matches!(&refusal, EgressError::Resolve(text) if text.contains("no address")),
        "{refusal}"
    );
}

#[tokio::test]
async fn private_networks_of_the_policy_are_reached_and_no_others() {
    let stub = Stub::saying("hello").await;
    let port = stub.address.port();
    let names =
        Names::default().with("inside.test", &[&["10.255.255.1", "127.0.0.1", "::ffff:127.0.0.1"]]);
    let egress = egress(names);
    let rules = [format!("http://inside.test:{port}")];
    let url = format!("http://Inside.Test.:{port}/");
    let response = egress.send(policy(&rules, &["127.0.0.0/8"]), get(&url), PATIENT).await.unwrap();
    assert_eq!(text(response).await.unwrap(), "hello");
    assert!(
        stub.requests()[0].contains(&format!("host: inside.test:{port}\r\n")),
        "{:?}",
        stub.requests()
    );
    let refusal = error(egress.send(policy(&rules, &["192.168.0.0/16"]), get(&url), PATIENT).await);
    assert!(matches!(refusal, EgressError::PrivateAddress(_)), "{refusal}");
}

#[tokio::test]
async fn localhost_by_name_means_this_machine_and_nothing_else() {
    let stub = Stub::saying("hello").await;
    let port = stub.address.port();
    let names = Names::default().with("localhost", &[&["127.0.0.1"], &["10.0.0.1"]]);
    let egress = egress(names);
    let policy = policy(&[format!("http://localhost:{port}")], &[]);
    let url = format!("http://localhost:{port}/");
    egress.send(policy.clone(), get(&url), PATIENT).await.unwrap();
    let refusal = error(egress.send(policy, get(&url), PATIENT).await);
    assert!(matches!(refusal, EgressError::PrivateAddress(_)), "{refusal}");
}

#[tokio::test]
async fn strange_spellings_are_what_they_mean() {
    let stub = Stub::saying("hello").await;
    let port = stub.address.port();
    let egress = egress(SystemResolver);
    for host in ["2130706433", "0177.0.0.1", "0x7f.1", "0x7f000001", "127.1", "127.0.1"] {
        let policy = policy(&[format!("http://{host}:{port}")], &[]);
        let refusal =
            error(egress.send(policy, get(&format!("http://{host}:{port}/")), PATIENT).await);
        // Where the system resolves such a name at all, it means this machine.
        let is_kept_in =
            matches!(refusal, EgressError::Resolve(_) | EgressError::PrivateAddress(_));
        assert!(is_kept_in, "{host}: {refusal}");
    }
    let named = policy(&[format!("http://127.0.0.1:{port}"), "http://*.test".to_owned()], &[]);
    for url in [
        "http://user@127.0.0.1:PORT/",
        "http://a:b@127.0.0.1:PORT/",
        "http://a.test@127.0.0.1:PORT/",
    ] {
        let url = url.replace("PORT", &port.to_string());
        let refusal = error(egress.send(named.clone(), get(&url), PATIENT).await);
        assert!(
            matches!(&refusal, EgressError::Denied(text) if text.contains("user name")),
            "{url}: {refusal}"
        );
    }
    for url in ["http://[::ffff:127.0.0.1]:PORT/", "http://[::1]:PORT/", "http://127.0.0.2:PORT/"] {
        let url = url.replace("PORT", &port.to_string());
        let refusal = error(egress.send(named.clone(), get(&url), PATIENT).await);
        assert!(matches!(refusal, EgressError::Denied(_)), "{url}: {refusal}");
    }
    assert!(stub.requests().is_empty());
    // A trailing dot makes no other address of it.
    egress.send(named, get(&format!("http://127.0.0.1.:{port}/")), PATIENT).await.unwrap();
}

#[tokio::test]
async fn a_name_is_resolved_once_and_what_it_led_to_opens_nothing_for_others() {
    let stub = Stub::saying("hello").await;
    let port = stub.address.port();
    let names =
        Names::default().with("shifty.test", &[&["127.0.0.1"], &["10.255.255.1"], &["127.0.0.1"]]);
    let egress = egress(names.clone());
    let rules = [format!("http://shifty.test:{port}")];
    let url = format!("http://shifty.test:{port}/");
    let trusted = policy(&rules, &["127.0.0.0/8"]);
    let response = egress.send(trusted.clone(), get(&url), PATIENT).await.unwrap();
    text(response).await.unwrap();
    assert_eq!(names.questions(), 1);
    while egress.inner.network.idle() == 0 {
        tokio::task::yield_now().await;
    }
    // It leads elsewhere now: the connection that waits is of no use, even to the same agent.
    let refusal = error(egress.send(trusted, get(&url), PATIENT).await);
    assert!(matches!(refusal, EgressError::PrivateAddress(_)), "{refusal}");
    // It leads there again, but another agent may not go there, although a connection waits.
    let refusal = error(egress.send(policy(&rules, &[]), get(&url), PATIENT).await);
    assert!(matches!(refusal, EgressError::PrivateAddress(_)), "{refusal}");
    assert_eq!(stub.requests().len(), 1);
}

#[tokio::test]
async fn what_is_between_two_hops_is_the_hosts() {
    let (stub, egress) = (Stub::saying("hello").await, egress(Names::default()));
    let request = |base: &str| {
        Request::post(format!("{base}/"))
            .header("Host", "evil.test")
            .header("Connection", "close, X-Secret")
            .header("Keep-Alive", "timeout=1000")
            .header("X-Secret", "1")
            .header("Proxy-Authorization", "Basic eA==")
            .header("TE", "trailers")
            .header("Transfer-Encoding", "chunked, identity")
            .header("Upgrade", "h2c")
            .header("Expect", "100-continue")
            .header("Content-Length", "5")
            .header("X-Kept", "yes")
            .body(pieces(&["hel", "lo"]))
            .unwrap()
    };
    ask(&egress, &stub, request).await.unwrap();
    let seen = stub.requests()[0].to_ascii_lowercase();
    for absent in [
        "evil",
        "secret",
        "proxy",
        "\r\nte:",
        "transfer-encoding",
        "upgrade",
        "expect",
        "keep-alive",
    ] {
        assert!(!seen.contains(absent), "{absent} in {seen}");
    }
    assert!(seen.contains("x-kept: yes\r\n") && seen.contains("content-length: 5\r\n"), "{seen}");
    assert!(seen.ends_with("\r\n\r\nhello"), "{seen}");
}

#[tokio::test]
async fn a_body_is_as_long_as_it_says() {
    let (stub, egress) = (Stub::saying("hello").await, egress(Names::default()));
    for lengths in [&["5", "6"][..], &["+5"], &["5, 5"], &["-1"], &[""], &["99999999999999999999"]]
    {
        let request = |base: &str| {
            let mut request = Request::post(base).body(body("hello")).unwrap();
            for length in lengths {
                request.headers_mut().append("Content-Length", length.parse().unwrap());
            }
            request
        };
        let refusal = error(ask(&egress, &stub, request).await);
        assert!(
            matches!(&refusal, EgressError::Denied(text) if text.contains("Content-Length")),
            "{refusal}"
        );
    }
    for (length, sent) in [("9", &["hel", "lo"][..]), ("3", &["hello"]), ("5", &[])] {
        let request = |base: &str| {
            Request::post(base).header("Content-Length", length).body(pieces(sent)).unwrap()
        };
        let refusal = error(ask(&egress, &stub, request).await);
        assert!(
            matches!(&refusal, EgressError::Protocol(text) if text.contains(length)),
            "{refusal}"
        );
    }
    // What comes after the announced length is not the beginning of another request.
    let request = |base: &str| {
        let more = "GET /evil HTTP/1.1\r\nHost: a\r\n\r\n";
        Request::post(base).header("Content-Length", "5").body(pieces(&["hello", more])).unwrap()
    };
    let _ = ask(&egress, &stub, request).await;
    let response = ask(&egress, &stub, get).await.unwrap();
    assert_eq!(text(response).await.unwrap(), "hello");
    assert!(
        stub.requests().iter().all(|request| !request.contains("evil")),
        "{:?}",
        stub.requests()
    );
    // Without a length, it is sent in chunks.
    ask(&egress, &stub, |base| Request::post(base).body(pieces(&["a", "b"])).unwrap())
        .await
        .unwrap();
    let seen = stub.requests().pop().unwrap().to_ascii_lowercase();
    assert!(seen.contains("transfer-encoding: chunked"), "{seen}");
}

#[tokio::test]
async fn bodies_are_bounded_in_both_directions() {
    let stub = Stub::saying("hello").await;
    let config =
        EgressConfig { request_max_bytes: 4, response_max_bytes: 5, ..EgressConfig::default() };
    let tight = HttpEgress::new(Network::new(Names::default()), Arc::new(Kept), config);
    for body in [body("hello"), pieces(&["hel", "lo"])] {
        let refusal =
            error(ask(&tight, &stub, |base| Request::post(base).body(body).unwrap()).await);
        assert!(
            matches!(&refusal, EgressError::Protocol(text) if text.contains("4 bytes")),
            "{refusal}"
        );
    }
    let response = ask(&tight, &stub, |base| Request::post(base).body(body("1234")).unwrap()).await;
    assert_eq!(text(response.unwrap()).await.unwrap(), "hello");
    let config = EgressConfig { response_max_bytes: 4, ..EgressConfig::default() };
    let tighter = HttpEgress::new(Network::new(Names::default()), Arc::new(Kept), config);
    let response = ask(&tighter, &stub, get).await.unwrap();
    let message = text(response).await.unwrap_err();
    assert!(message.contains("larger than 4 bytes"), "{message}");
}

#[tokio::test]
async fn servers_that_misbehave_are_told_apart() {
    let cases: [(&str, Vec<Step>, &str); 5] = [
        ("garbage", vec![Step::Send(b"SSH-2.0-OpenSSH_9.6\r\n\r\n".to_vec())], "Protocol"),
        ("nothing", vec![Step::Close], "Protocol"),
        ("silence", vec![Step::Hang], "Timeout"),
        (
            "a huge head",
            vec![Step::Send(
                format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(1 << 20)).into_bytes(),
            )],
            "Protocol",
        ),
        (
            "an upgrade",
            vec![Step::Send(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"
                    .to_vec(),
            )],
            "Protocol",
        ),
    ];
    for (what, steps, expected) in cases {
        let stub = Stub::start(move |_| steps.clone()).await;
        let base = format!("http://{}", stub.address);
        let first_byte = if expected == "Timeout" { IMPATIENT } else { PATIENT.first_byte };
        let timeouts = EgressTimeouts { first_byte, ..PATIENT };
        let policy = policy(std::slice::from_ref(&base), &[]);
        let refusal = error(egress(Names::default()).send(policy, get(&base), timeouts).await);
        assert!(format!("{refusal:?}").starts_with(expected), "{what}: {refusal:?}");
    }
}

#[tokio::test]
async fn an_answer_that_stops_in_the_middle_ends() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello".to_vec();
    for (steps, expected) in [
        (vec![Step::Send(head.clone()), Step::Hang], "stopped in the middle"),
        (vec![Step::Send(head), Step::Close], "broke off"),
    ] {
        let stub = Stub::start(move |_| steps.clone()).await;
        let base = format!("http://{}", stub.address);
        let timeouts = EgressTimeouts { between_bytes: IMPATIENT, ..PATIENT };
        let policy = policy(std::slice::from_ref(&base), &[]);
        let response = egress(Names::default()).send(policy, get(&base), timeouts).await.unwrap();
        let message = text(response).await.unwrap_err();
        assert!(message.contains(expected), "{message}");
    }
}

#[tokio::test]
async fn redirects_are_the_guests_to_follow() {
    let answer = "HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nConnection: x-hop\r\nX-Hop: 1\r\nContent-Length: 0\r\n\r\n";
    let stub = Stub::start(move |_| vec![Step::Send(answer.as_bytes().to_vec())]).await;
    let response = ask(&egress(Names::default()), &stub, get).await.unwrap();
    assert_eq!(response.status(), 302);
    assert_eq!(response.headers()["location"], "http://169.254.169.254/");
    assert!(
        !response.headers().contains_key("x-hop") && !response.headers().contains_key("connection")
    );
    assert_eq!(stub.requests().len(), 1);
}

#[tokio::test]
async fn requests_at_one_time_are_bounded_until_their_bodies_end() {
    let stub = Stub::saying("hello").await;
    let config = EgressConfig { requests_max: 1, ..EgressConfig::default() };
    let egress = HttpEgress::new(Network::new(Names::default()), Arc::new(Kept), config);
    let first = ask(&egress, &stub, get).await.unwrap();
    let base = format!("http://{}", stub.address);
    let timeouts = EgressTimeouts { connect: IMPATIENT, ..PATIENT };
    let policy = policy(std::slice::from_ref(&base), &[]);
    let refusal = error(egress.send(policy, get(&base), timeouts).await);
    assert!(
        matches!(&refusal, EgressError::Timeout(text) if text.contains("1 outgoing")),
        "{refusal}"
    );
    let in_flight =
        || egress.measure().iter().find(|sample| sample.name == "egress_in_flight").unwrap().value;
    assert!((in_flight() - 1.0).abs() < f64::EPSILON);
    drop(first);
    ask(&egress, &stub, get).await.unwrap();
}

#[tokio::test]
async fn a_connection_that_its_server_closed_is_not_used_again() {
    let stub = Stub::start(|_| vec![Step::Send(ok("hello")), Step::Close]).await;
    let egress = egress(Names::default());
    for _ in 0..5 {
        let response = ask(&egress, &stub, get).await.unwrap();
        assert_eq!(text(response).await.unwrap(), "hello");
    }
    assert_eq!(stub.requests().len(), 5);
}

#[tokio::test]
async fn other_schemes_and_methods_are_refused() {
    let egress = egress(Names::default());
    let policy = policy(&["http://a.test".to_owned()], &[]);
    let connect =
        Request::builder().method("CONNECT").uri("http://a.test/").body(body("")).unwrap();
    let refusal = error(egress.send(policy.clone(), connect, PATIENT).await);
    assert!(matches!(&refusal, EgressError::Denied(text) if text.contains("CONNECT")), "{refusal}");
    for url in
        ["ftp://a.test/", "/a", "http://a.test:0/", "http://a.test:/", "http://a.test:99999/"]
    {
        let Ok(request) = Request::get(url).body(body("")) else { continue };
        let refusal = error(egress.send(policy.clone(), request, PATIENT).await);
        assert!(matches!(refusal, EgressError::Denied(_)), "{url}: {refusal}");
    }
}

#[tokio::test]
async fn one_agent_leaves_requests_to_others() {
    let stub = Stub::saying("hello").await;
    let config = EgressConfig { requests_max: 4, ..EgressConfig::default() };
    let egress = HttpEgress::new(Network::new(Names::default()), Arc::new(Kept), config);
    let (greedy, other) = (here(&stub), here(&stub));
    let timeouts = EgressTimeouts { connect: IMPATIENT, ..PATIENT };
    let ask =
        async |policy: &Sender| egress.send(policy.clone(), get(&base(&stub)), timeouts).await;
    let held = ask(&greedy).await.unwrap();
    let refusal = error(ask(&greedy).await);
    assert!(
        matches!(&refusal, EgressError::Timeout(text) if text.contains("the 1 that an agent may have")),
        "{refusal}"
    );
    ask(&other).await.unwrap();
    drop(held);
    ask(&greedy).await.unwrap();
}

#[tokio::test]
async fn a_request_lasts_until_both_bodies_ended() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    // Answers when the request has begun, whatever is still to come.
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_u8().await.unwrap();
        stream.write_all(&ok("hello")).await.unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
    });
    let egress = egress(Names::default());
    let (more, coming) = futures::channel::mpsc::unbounded();
    more.unbounded_send(Ok(Frame::data(Bytes::from_static(b"first")))).unwrap();
    let request = Request::post(&url).body(Box::pin(StreamBody::new(coming)) as EgressBody);
    let policy = policy(std::slice::from_ref(&url), &[]);
    let response = egress.send(policy, request.unwrap(), PATIENT).await.unwrap();
    assert_eq!(text(response).await.unwrap(), "hello");
    assert_eq!(egress.inner.shares.held(), 1, "the guest still writes");
    drop(more);
    while egress.inner.shares.held() > 0 {
        tokio::task::yield_now().await;
    }
    server.abort();
}

/// A policy as an agent's settings say it, with the port of a server in it.
fn said(stub: &Stub, entries: &str) -> Sender {
    let text = format!("[policy]\nhttp = [{entries}]\n");
    let text = text.replace("HERE", &base(stub));
    sender(Settings::from_toml(&text).expect("the settings are right").policy)
}

#[tokio::test]
async fn a_secret_reaches_the_server_and_never_the_guest() {
    let echo = |request: &str| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n", request.len());
        let echoed = request.lines().find(|line| line.starts_with("authorization")).unwrap_or("");
        vec![Step::Send(format!("{head}X-Echo: {echoed}\r\n\r\n{request}").into_bytes())]
    };
    let (stub, egress) = (Stub::start(echo).await, egress(Names::default()));
    let agent = said(
        &stub,
        r#"{ permit = "HERE/a", plaintext = true, headers = { Authorization = "Bearer {secret:KEY}" } }, "HERE""#,
    );
    let request = Request::get(format!("{}/a", base(&stub)))
        .header("authorization", "mine")
        .header("Authorization", "mine too")
        .header("accept-encoding", "gzip")
        .body(body(""))
        .unwrap();
    let response = egress.send(agent.clone(), request, PATIENT).await.unwrap();
    assert_eq!(response.headers()["x-echo"], format!("authorization: Bearer {}", "*".repeat(23)));
    let shown = text(response).await.unwrap();
    assert!(shown.contains("Bearer *****") && !shown.contains("hunter2"), "{shown}");
    let sent = &stub.requests()[0];
    assert!(sent.contains("authorization: Bearer default-hunter2-hunter2\r\n"), "{sent}");
    assert!(!sent.contains("mine") && !sent.contains("accept-encoding"), "{sent}");
    // Another path is another rule, without the secret.
    let response = egress.send(agent, get(&format!("{}/b", base(&stub))), PATIENT).await.unwrap();
    assert!(!text(response).await.unwrap().contains("authorization"));
}

#[tokio::test]
async fn a_secret_that_is_missing_sends_nothing() {
    let (stub, egress) = (Stub::saying("hello").await, egress(Names::default()));
    let rule = r#"{ permit = "HERE", plaintext = true, headers = { A = "{secret:OTHER}" } }"#;
    let refusal = error(egress.send(said(&stub, rule), get(&base(&stub)), PATIENT).await);
    assert!(matches!(&refusal, EgressError::Header(text) if text.contains("OTHER")), "{refusal}");
    assert!(stub.requests().is_empty());
}

#[tokio::test]
async fn a_request_cannot_be_asked_back() {
    let (stub, egress) = (Stub::saying("hello").await, egress(Names::default()));
    for method in ["TRACE", "CONNECT"] {
        let request = Request::builder().method(method).uri(base(&stub)).body(body("")).unwrap();
        let refusal = error(egress.send(here(&stub), request, PATIENT).await);
        assert!(matches!(refusal, EgressError::Denied(_)), "{refusal}");
    }
    assert!(stub.requests().is_empty());
}

#[tokio::test]
async fn a_rule_limits_its_own_requests() {
    let (stub, egress) = (Stub::saying("hello").await, egress(Names::default()));
    let small = said(&stub, r#"{ permit = "HERE", response_max = "4B", request_max = "2B" }"#);
    let response = egress.send(small.clone(), get(&base(&stub)), PATIENT).await.unwrap();
    assert!(text(response).await.unwrap_err().contains("larger than 4 bytes"));
    let request = Request::post(base(&stub)).body(body("abc")).unwrap();
    let refusal = error(egress.send(small, request, PATIENT).await);
    assert!(refusal.to_string().contains("larger than 2 bytes"), "{refusal}");

    let hanging = Stub::start(|_| vec![Step::Hang]).await;
    let slow = said(&hanging, r#"{ permit = "HERE", timeout = "100ms" }"#);
    let refusal = error(egress.send(slow, get(&base(&hanging)), PATIENT).await);
    assert!(matches!(refusal, EgressError::Timeout(_)), "{refusal}");

    let begun = |_: &str| {
        vec![Step::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc".to_vec()), Step::Hang]
    };
    let hanging = Stub::start(begun).await;
    let slow = said(&hanging, r#"{ permit = "HERE", timeout = "1s" }"#);
    let response = egress.send(slow, get(&base(&hanging)), PATIENT).await.unwrap();
    assert!(text(response).await.unwrap_err().contains("longer than its rule permits"));

    let few = said(&stub, r#"{ permit = "HERE", connections_max = 1 }, "#);
    let held = egress.send(few.clone(), get(&base(&stub)), PATIENT).await.unwrap();
    let hurry = EgressTimeouts { connect: IMPATIENT, ..PATIENT };
    let refusal = error(egress.send(few.clone(), get(&base(&stub)), hurry).await);
    assert!(refusal.to_string().contains("the 1 that its rule permits"), "{refusal}");
    drop(held);
    egress.send(few, get(&base(&stub)), PATIENT).await.unwrap();
}

/// The guest follows redirects itself, so each is a request that is held against the policy like any other.
#[tokio::test]
async fn a_redirect_leads_nowhere_by_itself() {
    let inside = Stub::saying("secret").await;
    let location =
        format!("HTTP/1.1 302 Found\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n", base(&inside));
    let stub = Stub::start(move |_| vec![Step::Send(location.clone().into_bytes())]).await;
    let (agent, egress) = (here(&stub), egress(Names::default()));
    let response = egress.send(agent.clone(), get(&base(&stub)), PATIENT).await.unwrap();
    assert_eq!(response.status(), StatusCode::FOUND);
    let next = response.headers()["location"].to_str().unwrap().to_owned();
    let refusal = error(egress.send(agent, get(&next), PATIENT).await);
    assert!(matches!(refusal, EgressError::Denied(_)), "{refusal}");
    assert!(inside.requests().is_empty(), "nobody went there");
}
