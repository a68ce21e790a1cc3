//! One HTTP/1.1 connection and the requests that go over it.

use anyhow::Context as _;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use reqwest::Url;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use tokio::net::TcpStream;

use crate::client::{ACCEPT, Params, REVISION, Request as RpcRequest};

/// The protocol revision with sessions.
const SESSION_REVISION: &str = "2025-11-25";
const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
/// The id of `initialize`; the calls count on from it.
const FIRST_ID: u64 = 0;

/// What is called, ready to be written to a connection.
pub(super) struct Target {
    address: String,
    path: String,
    headers: HeaderMap,
    body: Body,
    kind: Kind,
}

/// A request's body, before and after its id.
struct Body {
    front: String,
    back: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Stateless,
    Sessions,
}

impl Target {
    /// The arguments alone, to any URL.
    pub(super) fn plain(url: &str, arguments: &str) -> anyhow::Result<Self> {
        let url = Url::parse(url).with_context(|| format!("`{url}` is not a URL"))?;
        Self::new(&url, Kind::Plain, Body { front: arguments.to_owned(), back: String::new() })
    }

    /// `tools/call` of 2026-07-28.
    pub(super) fn stateless(url: &Url, tool: &str, arguments: &str) -> anyhow::Result<Self> {
        let params = Params::call(tool, arguments)?.stateless();
        let mut target = Self::new(url, Kind::Stateless, body(params)?)?;
        for (name, value) in
            [("mcp-protocol-version", REVISION), ("mcp-method", "tools/call"), ("mcp-name", tool)]
        {
            target.headers.insert(name, value.parse().context("the tool's name is not one")?);
        }
        Ok(target)
    }

    /// `tools/call` of 2025-11-25, inside a session.
    pub(super) fn sessions(url: &Url, tool: &str, arguments: &str) -> anyhow::Result<Self> {
        let mut target = Self::new(url, Kind::Sessions, body(Params::call(tool, arguments)?)?)?;
        target.headers.insert("mcp-protocol-version", HeaderValue::from_static(SESSION_REVISION));
        Ok(target)
    }

    /// The same with a credential.
    pub(super) fn with_key(mut self, key: Option<&str>) -> anyhow::Result<Self> {
        if let Some(key) = key {
            let mut value = HeaderValue::from_str(&format!("Bearer {key}"))
                .ok()
                .context("the key has characters that no key has")?;
            value.set_sensitive(true);
            self.headers.insert(AUTHORIZATION, value);
        }
        Ok(self)
    }

    fn new(url: &Url, kind: Kind, body: Body) -> anyhow::Result<Self> {
        anyhow::ensure!(
            url.scheme() == "http",
            "`bench` measures plain http only: TLS would measure itself"
        );
        let host = url.host_str().context("the URL has no host")?;
        let port = url.port_or_known_default().unwrap_or(80);
        let authority = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let mut headers = HeaderMap::new();
        headers.insert("host", authority.parse().context("the URL's host is not one")?);
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        headers.insert("accept", HeaderValue::from_static(ACCEPT));
        let path = url
            .query()
            .map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
        Ok(Self { address: format!("{host}:{port}"), path, headers, body, kind })
    }
}

/// Splits a request where its id goes: it is the first member with a number that is ours to choose.
fn body(params: Params<'_>) -> anyhow::Result<Body> {
    let request = RpcRequest { jsonrpc: "2.0", id: FIRST_ID, method: "tools/call", params };
    let text = serde_json::to_string(&request)?;
    let (front, back) = text.split_once(r#""id":0,"#).context("the request has no id")?;
    Ok(Body { front: format!(r#"{front}"id":"#), back: format!(",{back}") })
}

/// One worker's connection.
pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    headers: HeaderMap,
    next_id: u64,
}

impl Connection {
    /// Connects, and opens a session where the protocol has them.
    pub(super) async fn open(target: &Target) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(&target.address)
            .await
            .with_context(|| format!("cannot reach {}: is the host running?", target.address))?;
        stream.set_nodelay(true)?;
        let (sender, driver) = handshake(TokioIo::new(stream)).await?;
        // It ends with the connection; what breaks it shows up in the call that it breaks.
        tokio::spawn(driver);
        let mut connection =
            Self { sender, headers: target.headers.clone(), next_id: FIRST_ID + 1 };
        if target.kind == Kind::Sessions {
            connection.open_session(target).await.context("cannot open a session")?;
        }
        Ok(connection)
    }

    /// Whether the next call can go over it.
    pub(super) fn is_usable(&self) -> bool {
        !self.sender.is_closed()
    }

    /// One call, and whether its tool succeeded.
    pub(super) async fn call(&mut self, target: &Target) -> anyhow::Result<()> {
        let body = match target.kind {
            Kind::Plain => Bytes::from(target.body.front.clone()),
            Kind::Stateless | Kind::Sessions => {
                let id = self.next_id;
                self.next_id += 1;
                Bytes::from(format!("{}{id}{}", target.body.front, target.body.back))
            }
        };
        let response = self.send(target, Method::POST, body).await?;
        let (status, is_stream) = (response.status(), is_stream(response.headers()));
        let body = response.into_body().collect().await?.to_bytes();
        match target.kind {
            _ if !status.is_success() => {
                anyhow::bail!("the host answered {status}: {}", excerpt(&body))
            }
            Kind::Plain => Ok(()),
            Kind::Stateless | Kind::Sessions => check(&body, is_stream),
        }
    }

    /// Ends the session, so that a host under measurement does not keep it until it idles out.
    pub(super) async fn close(mut self, target: &Target) {
        if target.kind == Kind::Sessions {
            // The measurement is over: a host that refuses loses nothing.
            let _ = self.send(target, Method::DELETE, Bytes::new()).await;
        }
    }

    async fn open_session(&mut self, target: &Target) -> anyhow::Result<()> {
        let hello = format!(
            r#"{{"jsonrpc":"2.0","id":{FIRST_ID},"method":"initialize","params":{{"protocolVersion":"{SESSION_REVISION}","capabilities":{{}},"clientInfo":{{"name":"aop","version":"{}"}}}}}}"#,
            env!("CARGO_PKG_VERSION")
        );
        let response = self.send(target, Method::POST, Bytes::from(hello)).await?;
        let status = response.status();
        let session = response.headers().get(SESSION_ID).cloned();
        let body = response.into_body().collect().await?.to_bytes();
        anyhow::ensure!(status.is_success(), "the host answered {status}: {}", excerpt(&body));
        self.headers.insert(SESSION_ID, session.context("the host gave no session id")?);
        let ready =
            Bytes::from_static(br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
        let response = self.send(target, Method::POST, ready).await?;
        anyhow::ensure!(
            response.status() == StatusCode::ACCEPTED,
            "the host answered {}",
            response.status()
        );
        response.into_body().collect().await?;
        Ok(())
    }

    async fn send(
        &mut self,
        target: &Target,
        method: Method,
        body: Bytes,
    ) -> anyhow::Result<Response<hyper::body::Incoming>> {
        self.sender.ready().await.context("the connection broke")?;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = target.path.parse()?;
        *request.headers_mut() = self.headers.clone();
        self.sender.send_request(request).await.context("the connection broke")
    }
}

fn is_stream(headers: &HeaderMap) -> bool {
    headers
        .get("content-type")
        .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"))
}

/// Whether an answer is a result without an error.
pub(super) fn check(body: &[u8], is_stream: bool) -> anyhow::Result<()> {
    #[derive(Deserialize)]
    struct Message<'a> {
        #[serde(borrow)]
        result: Option<Outcome<'a>>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Outcome<'a> {
        #[serde(default)]
        is_error: bool,
        #[serde(borrow)]
        content: Option<&'a RawValue>,
        structured_content: Option<IgnoredAny>,
    }
    let text = std::str::from_utf8(body)?;
    let message = if is_stream {
        let data = text.lines().filter_map(|line| line.strip_prefix("data:"));
        data.map(str::trim_start)
            .find(|data| data.contains(r#""result""#) || data.contains(r#""error""#))
    } else {
        Some(text)
    };
    let outcome =
        message.and_then(|message| serde_json::from_str::<Message<'_>>(message).ok()?.result);
    match outcome {
        Some(Outcome { is_error: false, content, structured_content })
            if content.is_some() || structured_content.is_some() =>
        {
            Ok(())
        }
        _ => anyhow::bail!("the call failed: {}", excerpt(body)),
    }
}

/// The beginning of an answer, for an error message.
fn excerpt(body: &[u8]) -> String {
    const EXCERPT_MAX_CHARS: usize = 300;
    String::from_utf8_lossy(body).chars().take(EXCERPT_MAX_CHARS).collect()
}
