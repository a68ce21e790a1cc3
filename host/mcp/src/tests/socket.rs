//! Over a real connection: what only a socket can show.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::ServiceExt;
use axum::body::Body;
use futures::FutureExt as _;
use http::Request;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::World;
use crate::McpServer;
use crate::tests::mounted;

async fn listen(
    world: &Arc<World>,
) -> (McpServer, SocketAddr, CancellationToken, tokio::task::JoinHandle<()>) {
    let server = world.server();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let serving =
        axum::serve(listener, ServiceExt::<Request<Body>>::into_make_service(mounted(&server)))
            .with_graceful_shutdown(stop.clone().cancelled_owned());
    let serving = tokio::spawn(serving.into_future().map(|served| served.unwrap()));
    (server, address, stop, serving)
}

/// `tools/call` of the stateless revision, as bytes.
fn call(tool: &str, progress: &str) -> String {
    let meta = format!(
        r#"{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{{}}{progress}}}"#
    );
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{tool}","arguments":{{}},"_meta":{meta}}}}}"#
    );
    format!(
        "POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         accept: application/json, text/event-stream\r\nmcp-protocol-version: 2026-07-28\r\n\
         mcp-method: tools/call\r\nmcp-name: {tool}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[tokio::test]
async fn a_closed_connection_stops_its_call() {
    let world = World::new();
    let (_server, address, _stop, _serving) = listen(&world).await;
    for progress in ["", r#","progressToken":1"#] {
        let mut connection = TcpStream::connect(address).await.unwrap();
        connection.write_all(call("hang", progress).as_bytes()).await.unwrap();
        world.until_hanging(1).await;
        drop(connection);
        world.until_hanging(0).await;
    }
}

#[tokio::test]
async fn a_drained_server_lets_its_listener_finish() {
    let world = World::new();
    let (server, address, stop, serving) = listen(&world).await;
    let mut connection = TcpStream::connect(address).await.unwrap();
    let listen = call("x", "")
        .replace("tools/call", "subscriptions/listen")
        .replace(r#""name":"x","arguments":{}"#, r#""notifications":{"toolsListChanged":true}"#);
    let (head, body) = listen.split_once("\r\n\r\n").unwrap();
    let head: Vec<_> = head.lines().filter(|line| !line.starts_with("content-length")).collect();
    let request = format!("{}\r\ncontent-length: {}\r\n\r\n{body}", head.join("\r\n"), body.len());
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut head = [0; 12];
    connection.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    server.drain();
    stop.cancel();
    serving.await.unwrap();
}
