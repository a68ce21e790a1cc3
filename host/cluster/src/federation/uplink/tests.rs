use std::sync::Weak;

use axum::routing::get;
use h2::Reason;
use h2::client::SendRequest;
use http::StatusCode;
use tokio::io::DuplexStream;

use super::*;

/// A connection to who serves what a zone below serves, begun by its parent.
async fn parent(near: DuplexStream) -> SendRequest<Bytes> {
    let (sender, connection) = h2::client::Builder::new()
        .initial_max_send_streams(STREAMS_ALL)
        .max_concurrent_reset_streams(STREAMS_ALL)
        .handshake(near)
        .await
        .unwrap();
    tokio::spawn(connection);
    sender
}

fn request() -> Request<()> {
    Request::get("http://child/").body(()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn who_asks_and_goes_away_at_once_ends_no_connection() {
    let (near, far) = tokio::io::duplex(1 << 20);
    let mut sender = parent(near).await;
    let asked: Vec<_> =
        (0..STREAMS_ALL / 2).map(|_| sender.send_request(request(), true).unwrap()).collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let gone: Vec<_> = asked
        .into_iter()
        .map(|(response, mut stream)| {
            stream.send_reset(Reason::CANCEL);
            response
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    // Only now the other side reads any of it.
    let router = Router::new().route("/", get(|| async { "here" }));
    tokio::spawn(async move { serve(router, Box::new(far), &CancellationToken::new()).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (response, _) = sender.ready().await.unwrap().send_request(request(), true).unwrap();
    assert_eq!(response.await.unwrap().status(), StatusCode::OK);
    drop(gone);
}

/// An answer, and whether it is still there.
struct Watched {
    bytes: Vec<u8>,
    _there: Arc<()>,
}

impl AsRef<[u8]> for Watched {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Asks for an answer of that many bytes.
async fn ask(bytes: usize) -> (h2::RecvStream, Weak<()>, SendRequest<Bytes>) {
    let (near, far) = tokio::io::duplex(1 << 20);
    let there = Arc::new(());
    let weak = Arc::downgrade(&there);
    let answer = Bytes::from_owner(Watched { bytes: vec![7; bytes], _there: there });
    let answer = Arc::new(Mutex::new(Some(answer)));
    let answer = get(move || async move { answer.lock().unwrap().take().unwrap() });
    let router = Router::new().route("/", answer);
    tokio::spawn(async move { serve(router, Box::new(far), &CancellationToken::new()).await });
    let mut sender = parent(near).await;
    let (response, _) = sender.send_request(request(), true).unwrap();
    (response.await.unwrap().into_body(), weak, sender)
}

/// What arrives of a body, and whether that is all of it.
async fn read(body: &mut h2::RecvStream) -> (usize, bool) {
    let mut length = 0;
    while let Some(data) = body.data().await {
        let Ok(data) = data else { return (length, false) };
        body.flow_control().release_capacity(data.len()).unwrap();
        length += data.len();
    }
    (length, true)
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_not_taken_is_dropped_and_does_not_look_whole() {
    let large = 4 << 20;
    let (mut body, there, _sender) = ask(large).await;
    assert_eq!(there.strong_count(), 1);
    tokio::time::sleep(2 * STALL_TIMEOUT).await;
    assert_eq!(there.strong_count(), 0, "it is held though nobody takes it");
    let (length, is_whole) = read(&mut body).await;
    assert!(length < large && !is_whole, "{length} bytes");
    for bytes in [0, 1, PIECE_BYTES, PIECE_BYTES + 1, large] {
        let (mut body, _, _sender) = ask(bytes).await;
        assert_eq!(read(&mut body).await, (bytes, true));
    }
}
