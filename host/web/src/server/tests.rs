use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use aop_core::Measure as _;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::{get, post};
use http::StatusCode;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tower::Layer as _;

use super::clock::PROGRESS_BYTES;
use super::{ACCEPT_PAUSE_MAX, Accept, Pause, REFUSALS_MAX, Server, ServerConfig};
use crate::gate::Peer;
use crate::testing::{FakeCatalog, open_router, state};
use crate::{Guard, GuardConfig, WebError};

const GRACE: Duration = Duration::from_secs(10);

/// `/gate` answers once the test adds a permit; `/gate` also tells when a request arrived.
#[derive(Clone)]
struct Gate {
    arrived: Arc<Semaphore>,
    open: Arc<Semaphore>,
}

impl Gate {
    fn new() -> Self {
        Self { arrived: Arc::new(Semaphore::new(0)), open: Arc::new(Semaphore::new(0)) }
    }

    async fn wait_for_a_request(&self) {
        self.arrived.acquire().await.unwrap().forget();
    }
}

fn app(gate: &Gate) -> Router {
    let gate = gate.clone();
    let wait = move || async move {
        gate.arrived.add_permits(1);
        gate.open.acquire().await.unwrap().forget();
        "through"
    };
    Router::new()
        .route("/", get(|| async { "hello" }))
        .route("/echo", post(|body: Bytes| async { body }))
        .route("/refuse", post(|| async { (StatusCode::PAYLOAD_TOO_LARGE, "too large") }))
        .route("/flood", get(|| async { Body::from(vec![0; 8 << 20]) }))
        .route("/gate", get(wait))
        .route("/stream", get(stream))
}

/// Turns the connection into one that says everything again.
async fn stream(mut request: http::Request<Body>) -> http::Response<Body> {
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let stream = hyper_util::rt::TokioIo::new(upgraded.await.unwrap());
        let (mut read, mut write) = tokio::io::split(stream);
        let _ = tokio::io::copy(&mut read, &mut write).await;
    });
    let answer = http::Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
    let answer = answer.header("connection", "upgrade").header("upgrade", "echo");
    answer.body(Body::empty()).unwrap()
}

/// A server on a real socket.
struct Running {
    address: SocketAddr,
    server: Server,
    gate: Gate,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), WebError>>,
}

async fn start(config: ServerConfig, grace: Duration) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (server, gate, (stop, stopped)) = (Server::new(config), Gate::new(), oneshot::channel());
    let (serving, app) = (server.clone(), app(&gate));
    let task = tokio::spawn(async move {
        let stopped = async {
            let _ = stopped.await;
        };
        serving.serve(listener, app, stopped, grace).await
    });
    Running { address, server, gate, stop, task }
}

/// A server without sockets, for tests in virtual time.
struct Piped(mpsc::UnboundedReceiver<io::Result<(DuplexStream, Option<Peer>)>>);

impl Accept for Piped {
    type Io = DuplexStream;

    async fn accept(&mut self) -> io::Result<(DuplexStream, Option<Peer>)> {
        match self.0.recv().await {
            Some(result) => result,
            None => std::future::pending().await,
        }
    }
}

struct Pipes {
    clients: mpsc::UnboundedSender<io::Result<(DuplexStream, Option<Peer>)>>,
    task: JoinHandle<Result<(), WebError>>,
}

fn start_piped() -> Pipes {
    start_piped_with(ServerConfig::default())
}

fn start_piped_with(config: ServerConfig) -> Pipes {
    let (clients, source) = mpsc::unbounded_channel();
    let app = app(&Gate::new());
    let server = Server::new(config);
    let task = tokio::spawn(async move {
        server.serve_from(Piped(source), app, std::future::pending(), GRACE).await
    });
    Pipes { clients, task }
}

impl Pipes {
    fn connect(&self) -> DuplexStream {
        self.connect_from(None)
    }

    fn connect_from(&self, address: Option<&str>) -> DuplexStream {
        let (client, server) = tokio::io::duplex(1024);
        let peer = address.map(|address| Peer(address.parse().unwrap()));
        self.clients.send(Ok((server, peer))).unwrap();
        client
    }
}

async fn read_all(mut io: impl AsyncRead + Unpin) -> String {
    let mut bytes = Vec::new();
    io.read_to_end(&mut bytes).await.unwrap();
    String::from_utf8(bytes).unwrap()
}

/// Sends a request and reads everything until the server closes.
async fn exchange(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    read_all(stream).await
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

fn count(server: &Server, name: &str) -> u64 {
    let sample = server.measure().into_iter().find(|sample| sample.name == name).unwrap();
    format!("{}", sample.value).parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_became_a_stream_lives_on_and_takes_no_place() {
    let pipes = start_piped_with(ServerConfig { connections_max: 1, ..ServerConfig::default() });
    let mut client = pipes.connect();
    let asks = b"GET /stream HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\nfirst";
    client.write_all(asks).await.unwrap();
    let mut said = Vec::new();
    while !said.ends_with(b"first") {
        client.read_buf(&mut said).await.unwrap();
    }
    assert!(said.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&said));
    // Longer than any request may take.
    tokio::time::sleep(Duration::from_secs(3600)).await;
    client.write_all(b"second").await.unwrap();
    let mut again = [0; 6];
    client.read_exact(&mut again).await.unwrap();
    assert_eq!(&again, b"second");
    let mut other = pipes.connect();
    other.write_all(GET).await.unwrap();
    assert!(read_all(other).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn requests_share_a_connection_and_are_counted() {
    let running = start(ServerConfig::default(), GRACE).await;
    let request =
        b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\nPOST /echo HTTP/1.1\r\nhost: localhost\r\n\
                    content-length: 4\r\nconnection: close\r\n\r\nping";
    let answers = exchange(running.address, request).await;
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 2, "{answers}");
    assert!(answers.contains("hello") && answers.ends_with("ping"), "{answers}");
    assert_eq!(count(&running.server, "http_connections"), 1);
}

#[tokio::test]
async fn small_packets_are_sent_at_once() {
    let mut listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap());
    let (accepted, _client) = tokio::join!(Accept::accept(&mut listener), client);
    assert!(accepted.unwrap().0.nodelay().unwrap());
}

#[tokio::test]
async fn garbage_is_a_bad_request() {
    let running = start(ServerConfig::default(), GRACE).await;
    for garbage in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\x00"[..],
        b"GET / HTTP/9.9\r\n\r\n",
        b"\0\0\0\0\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost localhost\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
    ] {
        let answer = exchange(running.address, garbage).await;
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request"), "{garbage:?}: {answer}");
    }
    let answer = exchange(running.address, GET).await;
    assert!(answer.ends_with("hello"), "{answer}");
}

#[tokio::test]
async fn http_2_is_not_spoken_and_its_preface_closes_the_connection() {
    let running = start(ServerConfig::default(), GRACE).await;
    assert_eq!(exchange(running.address, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await, "");
}

#[tokio::test]
async fn headers_are_bounded_in_size_and_number_and_the_client_learns_it() {
    let running = start(ServerConfig::default(), GRACE).await;
    let with_headers = |headers: &str| {
        format!("GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n")
    };
    let accepted = with_headers(&format!("a: {}\r\n", "a".repeat(31 << 10)));
    assert!(exchange(running.address, accepted.as_bytes()).await.ends_with("hello"));
    let accepted = with_headers(&"a: b\r\n".repeat(98));
    assert!(exchange(running.address, accepted.as_bytes()).await.ends_with("hello"));
    for headers in [format!("a: {}\r\n", "a".repeat(8 << 20)), "a: b\r\n".repeat(99)] {
        let answer = exchange(running.address, with_headers(&headers).as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
}

#[tokio::test]
async fn an_answer_that_comes_before_the_end_of_the_body_reaches_the_client() {
    let running = start(ServerConfig::default(), GRACE).await;
    let mut request =
        b"POST /refuse HTTP/1.1\r\nhost: localhost\r\ncontent-length: 33554432\r\n\r\n".to_vec();
    request.resize(request.len() + (32 << 20), 0);
    let answer = exchange(running.address, &request).await;
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.ends_with("too large"), "{answer}");
}

#[tokio::test]
async fn an_answer_in_front_of_an_unread_body_is_the_last_of_its_connection_and_says_so() {
    let running = start(ServerConfig::default(), GRACE).await;
    let told = "connection: close\r\n";
    for body in [
        "content-length: 4\r\n\r\nping",
        "transfer-encoding: chunked\r\n\r\n4\r\nping\r\n0\r\n\r\n",
    ] {
        let post = |path: &str| format!("POST {path} HTTP/1.1\r\nhost: localhost\r\n{body}");
        let answer = exchange(running.address, post("/refuse").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains(told), "{answer}");
        // One that was read, and one that is empty, leave the connection to the next request.
        let empty = "POST /refuse HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n";
        let requests = [post("/echo").as_bytes(), empty.as_bytes(), GET].concat();
        let answers = exchange(running.address, &requests).await;
        assert_eq!(answers.matches("HTTP/1.1 ").count(), 3, "{answers}");
        let (before, last) = answers.rsplit_once("HTTP/1.1 ").unwrap();
        assert!(!before.contains(told) && last.ends_with("hello"), "{answers}");
    }
}

#[tokio::test]
async fn connections_beyond_the_cap_are_told_so_and_others_are_served_again_later() {
    let config = ServerConfig { connections_max: 2, ..ServerConfig::default() };
    let running = start(config, GRACE).await;
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        stream
            .write_all(b"GET /gate HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            .await
            .unwrap();
        running.gate.wait_for_a_request().await;
        open.push(stream);
    }
    let answer = exchange(running.address, GET).await;
    assert!(
        answer.starts_with("HTTP/1.1 503 ") && answer.contains("\r\nretry-after: 1\r\n"),
        "{answer}"
    );
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{answer}");
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(body).unwrap()["code"],
        "resource_exhausted"
    );
    assert_eq!(count(&running.server, "http_connections_refused"), 1);
    assert_eq!(count(&running.server, "http_connections_open"), 2);

    running.gate.open.add_permits(2);
    for stream in open {
        assert!(read_all(stream).await.ends_with("through"));
    }
    while count(&running.server, "http_connections_open") > 0 {
        tokio::task::yield_now().await;
    }
    assert!(exchange(running.address, GET).await.ends_with("hello"));
}

#[tokio::test(start_paused = true)]
async fn only_so_many_refused_clients_are_told_why_at_once() {
    let pipes = start_piped_with(ServerConfig { connections_max: 0, ..ServerConfig::default() });
    let mut clients: Vec<_> = (0..=REFUSALS_MAX).map(|_| pipes.connect()).collect();
    let last = clients.pop().unwrap();
    assert_eq!(read_all(last).await, "");
    for client in &mut clients {
        assert!(read_all(client).await.starts_with("HTTP/1.1 503 "));
    }
    // None of them has closed its side, but none is waited for longer than a second.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(read_all(pipes.connect()).await.starts_with("HTTP/1.1 503 "));
}

#[tokio::test]
async fn shutdown_finishes_what_runs_and_closes_what_is_idle() {
    let running = start(ServerConfig::default(), GRACE).await;
    let mut idle = TcpStream::connect(running.address).await.unwrap();
    idle.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut first = [0; 12];
    idle.read_exact(&mut first).await.unwrap();
    let mut busy = TcpStream::connect(running.address).await.unwrap();
    busy.write_all(b"GET /gate HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    running.gate.wait_for_a_request().await;

    running.stop.send(()).unwrap();
    assert!(read_all(idle).await.ends_with("hello"), "the idle connection is closed");
    // Who comes meanwhile has one answer, and nobody waits for who says nothing.
    let mut late = TcpStream::connect(running.address).await.unwrap();
    late.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let answer = read_all(late).await;
    assert!(answer.contains("connection: close") && answer.ends_with("hello"), "{answer}");
    let silent = TcpStream::connect(running.address).await.unwrap();
    running.gate.open.add_permits(1);
    assert!(read_all(busy).await.ends_with("through"));
    running.task.await.unwrap().unwrap();
    drop(silent);
    assert!(TcpStream::connect(running.address).await.is_err(), "nobody listens any more");
    assert_eq!(count(&running.server, "http_connections_open"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_came_late_has_the_grace_period_too() {
    let (clients, source) = mpsc::unbounded_channel();
    let gate = Gate::new();
    let (server, app) = (Server::new(ServerConfig::default()), app(&gate));
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(async move {
        let stopped = async { drop(stopped.await) };
        server.serve_from(Piped(source), app, stopped, GRACE).await
    });
    let pipes = Pipes { clients, task };
    let asks = async || {
        let mut client = pipes.connect();
        client.write_all(b"GET /gate HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        gate.wait_for_a_request().await;
        client
    };
    let early = asks().await;
    stop.send(()).unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
    let late = asks().await;
    gate.open.add_permits(1);
    assert!(read_all(early).await.ends_with("through"));
    // Nobody else is left.
    tokio::time::sleep(GRACE / 2).await;
    gate.open.add_permits(1);
    assert!(read_all(late).await.ends_with("through"));
    pipes.task.await.unwrap().unwrap();
}

#[tokio::test]
async fn requests_that_outlive_the_grace_period_are_cut_off() {
    let running = start(ServerConfig::default(), Duration::from_millis(1)).await;
    let mut busy = TcpStream::connect(running.address).await.unwrap();
    busy.write_all(b"GET /gate HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    running.gate.wait_for_a_request().await;
    running.stop.send(()).unwrap();
    running.task.await.unwrap().unwrap();
    assert_eq!(count(&running.server, "http_connections_open"), 0);
    let mut rest = Vec::new();
    let _ = busy.read_to_end(&mut rest).await;
    assert!(rest.is_empty());
}

/// Checks that the server gives up a client after its timeout, at most two ticks late.
#[track_caller]
fn assert_given_up(since: Instant) {
    let elapsed = since.elapsed();
    assert!((28..=33).contains(&elapsed.as_secs()), "{elapsed:?}");
}

#[tokio::test(start_paused = true)]
async fn clients_that_send_no_or_half_a_request_are_given_up() {
    let pipes = start_piped();
    for sent in [&b""[..], b"GET / HT", b"GET / HTTP/1.1\r\nhost: localhost\r\n"] {
        let since = Instant::now();
        let mut client = pipes.connect();
        client.write_all(sent).await.unwrap();
        assert_eq!(read_all(client).await, "");
        assert_given_up(since);
    }
}

#[tokio::test(start_paused = true)]
async fn dripping_header_bytes_buys_no_time() {
    let pipes = start_piped();
    let since = Instant::now();
    let mut client = pipes.connect();
    let drip = async {
        while client.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    drip.await;
    assert_given_up(since);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_after_its_last_answer() {
    let pipes = start_piped();
    let mut client = pipes.connect();
    tokio::time::sleep(Duration::from_secs(20)).await;
    client.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let since = Instant::now();
    assert!(read_all(client).await.ends_with("hello"));
    assert_given_up(since);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stops_is_given_up_with_an_answer() {
    let pipes = start_piped();
    let mut client = pipes.connect();
    let since = Instant::now();
    client
        .write_all(b"POST /echo HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\nhalf")
        .await
        .unwrap();
    let answer = read_all(client).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert_given_up(since);
}

/// A request that announces a body of so many bytes.
fn echo(length: usize) -> String {
    format!(
        "POST /echo HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    )
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_slow_but_moves_is_read() {
    let pipes = start_piped();
    let mut client = pipes.connect();
    client.write_all(echo(3 * PROGRESS_BYTES + 1).as_bytes()).await.unwrap();
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_secs(20)).await;
        client.write_all(&vec![b'x'; PROGRESS_BYTES]).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(20)).await;
    client.write_all(b"!").await.unwrap();
    assert!(read_all(client).await.ends_with("xx!"));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_drips_is_given_up_with_an_answer() {
    let pipes = start_piped();
    let mut client = pipes.connect();
    let since = Instant::now();
    client.write_all(echo(1_000).as_bytes()).await.unwrap();
    for _ in 0..27 {
        client.write_all(b"x").await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let answer = read_all(client).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert_given_up(since);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_a_little_now_and_then_is_given_up() {
    let pipes = start_piped();
    let mut client = pipes.connect();
    let since = Instant::now();
    client.write_all(b"GET /flood HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut received = 0;
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        match client.read(&mut [0; 400]).await.unwrap() {
            0 => break,
            bytes => received += bytes,
        }
    }
    assert!(received < PROGRESS_BYTES, "{received}");
    assert!(since.elapsed() < Duration::from_secs(40), "{:?}", since.elapsed());
}

#[tokio::test(start_paused = true)]
async fn no_address_has_all_connections_but_this_machine_may() {
    let pipes = start_piped_with(ServerConfig { connections_max: 9, ..ServerConfig::default() });
    let served = async |address: &str| {
        let mut client = pipes.connect_from(Some(address));
        let _ = client.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
        let mut first = [0; 12];
        client.read_exact(&mut first).await.unwrap();
        (first == *b"HTTP/1.1 200").then_some(client)
    };
    let mut held = Vec::new();
    // One network of IPv6 is one address.
    for host in 0..8 {
        held.push(served(&format!("2001:db8::{host}")).await.unwrap());
    }
    assert!(served("2001:db8::9").await.is_none());
    held.push(served("192.0.2.1").await.unwrap());
    drop(held);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let mut held = Vec::new();
    for _ in 0..9 {
        held.push(served("127.0.0.1").await.unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_nothing_is_given_up() {
    let pipes = start_piped();
    let mut client = pipes.connect();
    client.write_all(b"GET /flood HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    let mut received = Vec::new();
    client.read_to_end(&mut received).await.unwrap();
    assert!(received.len() < 8 << 20, "the rest was not sent any more");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_keeps_sending_after_its_answer_is_cut_off() {
    let pipes = start_piped();
    let mut client = pipes.connect();
    let since = Instant::now();
    client
        .write_all(b"POST /refuse HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99999999\r\n\r\n")
        .await
        .unwrap();
    while client.write_all(b"more").await.is_ok() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!((2..=4).contains(&since.elapsed().as_secs()), "{:?}", since.elapsed());
    assert!(read_all(client).await.ends_with("too large"));
}

#[tokio::test(start_paused = true)]
async fn accepting_is_tried_again_ever_more_slowly() {
    const EMFILE: i32 = 24;
    let pipes = start_piped();
    let since = Instant::now();
    for _ in 0..3 {
        pipes.clients.send(Err(io::Error::from_raw_os_error(EMFILE))).unwrap();
    }
    pipes.clients.send(Err(io::ErrorKind::ConnectionAborted.into())).unwrap();
    let mut client = pipes.connect();
    client.write_all(GET).await.unwrap();
    assert!(read_all(client).await.ends_with("hello"));
    // 10 + 20 + 40 ms; a client that went away adds none.
    let elapsed = since.elapsed();
    assert!((70..=80).contains(&elapsed.as_millis()), "{elapsed:?}");
}

#[tokio::test]
async fn a_broken_listener_ends_the_server() {
    const EINVAL: i32 = 22;
    let pipes = start_piped();
    pipes.clients.send(Err(io::Error::from_raw_os_error(EINVAL))).unwrap();
    assert!(matches!(pipes.task.await.unwrap(), Err(WebError::Listener(_))));
}

#[tokio::test(start_paused = true)]
async fn the_pause_between_attempts_has_an_end() {
    let mut pause = Pause::default();
    for _ in 0..100 {
        pause.lengthen();
    }
    assert_eq!(pause.until, Some(Instant::now() + ACCEPT_PAUSE_MAX));
}

#[tokio::test]
async fn the_guarded_routes_are_served_as_the_binary_wires_them() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let guard =
        GuardConfig { bound: address, allowed_hosts: Vec::new(), allowed_origins: Vec::new() };
    let app =
        Guard::new(&guard).unwrap().layer(open_router(state(Arc::new(FakeCatalog::default()))));
    tokio::spawn(async move {
        Server::default().serve(listener, app, std::future::pending(), GRACE).await
    });
    let ask = async |headers: &str| {
        let request = format!("GET /healthz HTTP/1.1\r\nconnection: close\r\n{headers}\r\n");
        exchange(address, request.as_bytes()).await
    };
    assert!(ask(&format!("host: {address}\r\n")).await.starts_with("HTTP/1.1 200 "));
    assert!(ask("host: evil.com\r\n").await.starts_with("HTTP/1.1 403 "));
    assert!(
        ask("host: localhost\r\norigin: http://evil.com\r\n").await.starts_with("HTTP/1.1 403 ")
    );
    assert!(ask("").await.starts_with("HTTP/1.1 400 "));
}
