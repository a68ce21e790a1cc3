//! HTTP as the tests need it: a client that keeps connections, server-sent events, and bytes over a
//! plain connection for what no client would send.

use std::net::SocketAddr;
use std::sync::OnceLock;

use reqwest::header::HeaderMap;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::{PATIENCE, within};

/// A client for one test. Its connections live in the test's own runtime.
///
/// # Panics
/// When it cannot be made.
#[must_use]
pub fn http_client() -> reqwest::Client {
    static PROVIDER: OnceLock<()> = OnceLock::new();
    PROVIDER.get_or_init(|| {
        // Tests speak plain HTTP; the client only insists that somebody chose.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().expect("a client can be made")
}

/// What a server answered to one MCP message.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as it came.
    pub text: String,
    /// The JSON-RPC messages in it: one of a JSON body, all of an event stream.
    pub messages: Vec<Value>,
}

impl Answer {
    /// Reads a response to its end.
    ///
    /// # Panics
    /// When it breaks off, or its body is not what its type says.
    pub async fn read(response: reqwest::Response) -> Self {
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let text = response.text().await.expect("the response is whole");
        let kind =
            headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let messages = if kind.starts_with("text/event-stream") {
            let mut events = Parser::default();
            events.push(text.as_bytes());
            std::iter::from_fn(|| events.next()).collect()
        } else if kind.starts_with("application/json") {
            vec![serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))]
        } else {
            Vec::new()
        };
        Self { status, headers, text, messages }
    }

    /// The response message: the last one, after any notifications.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    #[track_caller]
    pub fn message(&self) -> &Value {
        self.messages
            .last()
            .unwrap_or_else(|| panic!("no message in {} {}", self.status, self.text))
    }

    /// The result of a request that succeeded.
    ///
    /// # Panics
    /// When it did not.
    #[must_use]
    #[track_caller]
    pub fn result(&self) -> &Value {
        let result = self.message().get("result");
        result.unwrap_or_else(|| panic!("no result in {} {}", self.status, self.text))
    }

    /// The code of a JSON-RPC error.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    #[track_caller]
    pub fn error_code(&self) -> i64 {
        let code = self.messages.last().and_then(|message| message["error"]["code"].as_i64());
        code.unwrap_or_else(|| panic!("no error in {} {}", self.status, self.text))
    }

    /// The notifications of a method.
    pub fn notifications(&self, method: &str) -> impl Iterator<Item = &Value> {
        self.messages
            .iter()
            .filter(move |message| message["method"] == method)
            .map(|message| &message["params"])
    }
}

/// An event stream that is still open.
#[derive(Debug)]
pub struct Events {
    response: reqwest::Response,
    parser: Parser,
}

impl Events {
    /// The events of a response.
    ///
    /// # Panics
    /// When it is not a stream of events.
    #[must_use]
    #[track_caller]
    pub fn of(response: reqwest::Response) -> Self {
        let kind = response.headers().get("content-type").cloned();
        let is_stream =
            kind.as_ref().is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        assert!(is_stream, "no event stream but {} {kind:?}", response.status());
        Self { response, parser: Parser::default() }
    }

    /// The next message; none when the stream ended.
    ///
    /// # Panics
    /// When none comes within [`PATIENCE`].
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(message) = self.parser.next() {
                return Some(message);
            }
            let chunk = within(PATIENCE, "an event", self.response.chunk()).await;
            self.parser.push(&chunk.ok().flatten()?);
        }
    }

    /// The next message of a method; others are skipped.
    ///
    /// # Panics
    /// When the stream ends before.
    pub async fn next_of(&mut self, method: &str) -> Value {
        loop {
            match self.next().await {
                Some(message) if message["method"] == method => return message,
                Some(_) => {}
                None => panic!("the stream ended without a {method}"),
            }
        }
    }
}

/// Takes messages out of the bytes of an event stream.
#[derive(Debug, Default)]
struct Parser {
    bytes: Vec<u8>,
}

impl Parser {
    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes.iter().filter(|byte| **byte != b'\r'));
    }

    fn next(&mut self) -> Option<Value> {
        loop {
            let end = self.bytes.windows(2).position(|pair| pair == b"\n\n")?;
            let event: Vec<u8> = self.bytes.drain(..end + 2).collect();
            let event = String::from_utf8(event).expect("events are UTF-8");
            let data: String =
                event.lines().filter_map(|line| line.strip_prefix("data:")).collect();
            // Events without data only keep the connection open.
            if !data.trim().is_empty() {
                return Some(
                    serde_json::from_str(&data).unwrap_or_else(|error| panic!("{error}: {data}")),
                );
            }
        }
    }
}

/// A connection over which anything can be sent.
#[derive(Debug)]
pub struct Raw(TcpStream);

impl Raw {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let connecting = TcpStream::connect(address);
        Self(
            within(PATIENCE, "a connection", connecting)
                .await
                .expect("the host accepts connections"),
        )
    }

    /// Sends bytes. A host that closed the connection already is no failure: it answered.
    pub async fn send(&mut self, bytes: &[u8]) {
        let _ = self.0.write_all(bytes).await;
    }

    /// Says that nothing more comes.
    pub async fn finish(&mut self) {
        let _ = self.0.shutdown().await;
    }

    /// Everything until the host closes the connection.
    pub async fn read_to_end(&mut self) -> String {
        let mut bytes = Vec::new();
        // A reset after the answer is as good as an end.
        let _ = within(PATIENCE, "the end of the connection", self.0.read_to_end(&mut bytes)).await;
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The status of the first answer; none when the connection was closed without one.
    pub async fn status(&mut self) -> Option<u16> {
        let mut bytes = Vec::new();
        let reading = async {
            while !bytes.contains(&b'\n') {
                match self.0.read_buf(&mut bytes).await {
                    Ok(1..) => {}
                    Ok(0) | Err(_) => break,
                }
            }
        };
        within(PATIENCE, "an answer", reading).await;
        let line = String::from_utf8_lossy(&bytes).into_owned();
        line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()
    }
}
