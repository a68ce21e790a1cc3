//! A server that answers what a test tells it to, byte by byte, and a resolver of the same kind.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use aop_core::BoxFuture;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::ResolveName;

/// What a stub does when a request was read.
#[derive(Clone)]
pub(crate) enum Step {
    Send(Vec<u8>),
    Hang,
    Close,
}

/// A server on a free port of this machine.
pub(crate) struct Stub {
    pub(crate) address: SocketAddr,
    seen: Arc<Seen>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    requests: Mutex<Vec<String>>,
    connections: AtomicUsize,
}

impl Stub {
    pub(crate) async fn start(answer: impl Fn(&str) -> Vec<Step> + Send + Sync + 'static) -> Self {
        Self::serve(answer, async |stream| stream).await
    }

    /// `wrap` is what happens to a connection first, such as TLS.
    pub(crate) async fn serve<S, F>(
        answer: impl Fn(&str) -> Vec<Step> + Send + Sync + 'static,
        wrap: impl Fn(tokio::net::TcpStream) -> F + Send + Sync + 'static,
    ) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        F: Future<Output = S> + Send,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let (answer, wrap, noted) = (Arc::new(answer), Arc::new(wrap), Arc::clone(&seen));
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                noted.connections.fetch_add(1, Ordering::SeqCst);
                let (answer, wrap, noted) =
                    (Arc::clone(&answer), Arc::clone(&wrap), Arc::clone(&noted));
                tokio::spawn(async move {
                    let stream = wrap(stream).await;
                    // The other side may go at any time.
                    let _ = converse(stream, &*answer, &noted).await;
                });
            }
        });
        Self { address, seen, task }
    }

    /// One that answers everything with a text.
    pub(crate) async fn saying(text: &str) -> Self {
        let answer = ok(text);
        Self::start(move |_| vec![Step::Send(answer.clone())]).await
    }

    /// The requests so far, as text.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.seen.requests.lock().unwrap().clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A plain answer.
pub(crate) fn ok(text: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()).into_bytes()
}

async fn converse(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    answer: &(dyn Fn(&str) -> Vec<Step> + Send + Sync),
    seen: &Seen,
) -> io::Result<()> {
    while let Some(request) = read_request(&mut stream).await? {
        seen.requests.lock().unwrap().push(request.clone());
        for step in answer(&request) {
            match step {
                Step::Send(bytes) => stream.write_all(&bytes).await?,
                Step::Hang => std::future::pending::<()>().await,
                Step::Close => return stream.shutdown().await,
            }
            stream.flush().await?;
        }
    }
    Ok(())
}

async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    loop {
        if let Some(head) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let lower = text[..head].to_ascii_lowercase();
            let length = lower
                .lines()
                .find_map(|line| line.strip_prefix("content-length:"))
                .map_or(0, |length| length.trim().parse::<usize>().unwrap());
            let is_chunked = lower.contains("transfer-encoding: chunked");
            let is_whole = if is_chunked {
                bytes.ends_with(b"0\r\n\r\n")
            } else {
                bytes.len() >= head + 4 + length
            };
            if is_whole {
                return Ok(Some(text));
            }
        }
        let mut piece = [0; 4096];
        let count = stream.read(&mut piece).await?;
        if count == 0 {
            return Ok(None);
        }
        bytes.extend_from_slice(&piece[..count]);
    }
}

/// Answers names from a list, one answer per question; the last one stays.
#[derive(Clone, Default)]
pub(crate) struct Names {
    answers: Arc<Mutex<HashMap<String, VecDeque<Vec<IpAddr>>>>>,
    questions: Arc<AtomicUsize>,
}

impl Names {
    pub(crate) fn with(self, name: &str, answers: &[&[&str]]) -> Self {
        let parse = |addresses: &&[&str]| {
            addresses.iter().map(|address| address.parse().unwrap()).collect()
        };
        self.answers.lock().unwrap().insert(name.to_owned(), answers.iter().map(parse).collect());
        self
    }

    pub(crate) fn questions(&self) -> usize {
        self.questions.load(Ordering::SeqCst)
    }
}

impl ResolveName for Names {
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        self.questions.fetch_add(1, Ordering::SeqCst);
        let mut all = self.answers.lock().unwrap();
        let answer = all.get_mut(host).and_then(|answers| {
            if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() }
        });
        let answer = answer.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound));
        Box::pin(async move { answer })
    }
}
