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
