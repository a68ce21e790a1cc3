//! Against h2's server over a pipe in memory, on a paused clock.

use bytes::Bytes;
use h2::server::{Connection, SendResponse};
use http_body_util::BodyExt as _;
use tokio::io::DuplexStream;

use super::*;

const PIPE_BYTES: usize = 64 << 10;
/// Far beyond every bound here.
const LONG: Duration = Duration::from_secs(60);

type Server = Connection<DuplexStream, Bytes>;

async fn pair() -> (Http2, Server) {
    let (near, far) = tokio::io::duplex(PIPE_BYTES);
    let (client, server) =
        tokio::join!(Http2::begin(near, 8, "the test".to_owned()), h2::server::handshake(far));
    (client.unwrap(), server.unwrap())
}

fn request(body: &'static str) -> Request<Bytes> {
    Request::post("https://node/").body(Bytes::from_static(body.as_bytes())).unwrap()
}

async fn accept(server: &mut Server) -> (Request<RecvStream>, SendResponse<Bytes>) {
    server.accept().await.unwrap().unwrap()
}

/// Goes on serving what was accepted.
fn drive(mut server: Server) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move { while server.accept().await.is_some() {} })
}

#[tokio::test(start_paused = true)]
async fn a_request_and_an_answer_of_many_windows_arrive_whole() {
    let (client, mut server) = pair().await;
    let sent = tokio::spawn(client.open().send(request("hello")));
    let (request, mut respond) = accept(&mut server).await;
    assert_eq!(request.headers()[CONTENT_LENGTH], "5");
    let driven = drive(server);
    let mut body = request.into_body();
    assert_eq!(body.data().await.unwrap().unwrap(), "hello");
    assert_eq!(client.under_way(), 1);
    let answer = Bytes::from(vec![b'a'; 3 * CONNECTION_WINDOW_BYTES as usize]);
    let mut stream = respond.send_response(Response::new(()), false).unwrap();
    stream.send_data(answer.clone(), true).unwrap();
    let Exchange { response, stream } = sent.await.unwrap().unwrap();
    let read = response.into_body().collect().await.unwrap().to_bytes();
    assert!(read == answer);
    drop(stream);
    assert_eq!(client.under_way(), 0);
    driven.abort();
}

#[tokio::test(start_paused = true)]
async fn what_is_under_way_when_the_other_side_wants_no_more_comes_to_its_end() {
    let (mut client, mut server) = pair().await;
    let sent = tokio::spawn(client.open().send(request("")));
    let (_, mut respond) = accept(&mut server).await;
    assert!(client.is_open());
    server.graceful_shutdown();
    let driven = drive(server);
    while client.is_open() {
        tokio::task::yield_now().await;
    }
    let refused = client.open().send(request("")).await;
    assert!(matches!(refused, Err(SendError::NotSent(_))));
    respond.send_response(Response::new(()), true).unwrap();
    assert!(sent.await.unwrap().is_ok());
    driven.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_unread_was_not_sent_and_what_breaks_is_lost() {
    let (client, mut server) = pair().await;
    let sent = tokio::spawn(client.open().send(request("")));
    let (_, mut respond) = accept(&mut server).await;
    respond.send_reset(Reason::REFUSED_STREAM);
    let lost = tokio::spawn(client.open().send(request("")));
    let (_, held) = accept(&mut server).await;
    assert!(matches!(sent.await.unwrap(), Err(SendError::NotSent(_))));
    drop((server, held));
    assert!(matches!(lost.await.unwrap(), Err(SendError::Lost(_))));
}

#[tokio::test(start_paused = true)]
async fn dropping_an_answer_resets_its_stream() {
    let (client, mut server) = pair().await;
    let sent = tokio::spawn(client.open().send(request("")));
    let (_, mut respond) = accept(&mut server).await;
    let driven = drive(server);
    sent.abort();
    let reset = std::future::poll_fn(|cx| respond.poll_reset(cx)).await.unwrap();
    assert_eq!((reset, client.under_way()), (Reason::CANCEL, 0));
    driven.abort();
}

#[tokio::test(start_paused = true)]
async fn who_falls_silent_loses_what_is_under_way() {
    let (client, server) = pair().await;
    // Nobody drives the server. Without a call, that is nobody's business.
    tokio::time::sleep(LONG).await;
    let begun = tokio::time::Instant::now();
    let lost = tokio::time::timeout(LONG, client.open().send(request(""))).await.unwrap();
    assert!(matches!(lost, Err(SendError::Lost(_))));
    assert!(begun.elapsed() <= 2 * ALIVE_INTERVAL + ALIVE_TIMEOUT);
    drop(server);
}

#[tokio::test(start_paused = true)]
async fn whose_answers_are_being_read_is_not_silent() {
    let (client, server) = pair().await;
    let mut waiting = tokio::spawn(client.open().send(request("")));
    // Nobody drives the server, so its word that it lives is held up.
    for _ in 0..30 {
        client.reads.fetch_add(1, Ordering::Relaxed);
        assert!(tokio::time::timeout(Duration::from_secs(1), &mut waiting).await.is_err());
    }
    let lost = tokio::time::timeout(LONG, waiting).await.unwrap().unwrap();
    assert!(matches!(lost, Err(SendError::Lost(_))));
    drop(server);
}
