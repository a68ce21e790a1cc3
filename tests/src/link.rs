//! A link between two machines, in user space: it forwards connections and delays what passes.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

/// What a TLS client that wants HTTP/2 says of it in its first message, in the clear (RFC 7301).
const WANTS_HTTP2: &[u8] = b"\x02h2";

/// Forwards connections to an address that may be known later.
#[derive(Debug)]
pub struct Link {
    address: SocketAddr,
    target: Arc<OnceLock<SocketAddr>>,
    delays: Arc<Delays>,
}

/// One way, in microseconds.
#[derive(Debug, Default)]
struct Delays {
    all: AtomicU64,
    calls: AtomicU64,
}

impl Delays {
    fn of(&self, is_call: &AtomicBool) -> Duration {
        let calls = if is_call.load(Ordering::Relaxed) { &self.calls } else { &self.all };
        let micros = calls.load(Ordering::Relaxed).max(self.all.load(Ordering::Relaxed));
        Duration::from_micros(micros)
    }
}

fn micros(delay: Duration) -> u64 {
    u64::try_from(delay.as_micros()).unwrap_or(u64::MAX)
}

impl Link {
    /// A link that delays every byte by `delay`, one way.
    ///
    /// # Panics
    /// When there is no port.
    pub async fn open(delay: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it has an address");
        let target: Arc<OnceLock<SocketAddr>> = Arc::default();
        let delays = Arc::new(Delays { all: micros(delay).into(), calls: 0.into() });
        let (towards, late) = (Arc::clone(&target), Arc::clone(&delays));
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let Some(target) = towards.get() else { continue };
                let Ok(far) = TcpStream::connect(target).await else { continue };
                let _ = (near.set_nodelay(true), far.set_nodelay(true));
                let (near_read, near_write) = near.into_split();
                let (far_read, far_write) = far.into_split();
                let is_call = Arc::new(AtomicBool::new(false));
                pump(near_read, far_write, Arc::clone(&late), Arc::clone(&is_call));
                pump(far_read, near_write, Arc::clone(&late), is_call);
            }
        });
        Self { address, target, delays }
    }

    /// Where it accepts.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it leads. Connections that came before found nobody.
    ///
    /// # Panics
    /// When it leads somewhere already.
    pub fn lead_to(&self, target: SocketAddr) {
        self.target.set(target).expect("it is set once");
    }

    /// From now on connections between nodes that carry calls are delayed by this much, and nothing else is.
    pub fn delay_calls(&self, delay: Duration) {
        self.delays.calls.store(micros(delay), Ordering::Relaxed);
    }
}

fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    delays: Arc<Delays>,
    is_call: Arc<AtomicBool>,
) {
    let (sender, mut receiver) = mpsc::channel::<(Instant, Vec<u8>)>(1024);
    tokio::spawn(async move {
        let (mut buffer, mut is_first) = (vec![0; 64 << 10], true);
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            let piece = &buffer[..count];
            if std::mem::take(&mut is_first)
                && piece.windows(WANTS_HTTP2.len()).any(|bytes| bytes == WANTS_HTTP2)
            {
                is_call.store(true, Ordering::Relaxed);
            }
            let due = Instant::now() + delays.of(&is_call);
            if sender.send((due, piece.to_vec())).await.is_err() {
                return;
            }
        }
    });
    tokio::spawn(async move {
        while let Some((due, piece)) = receiver.recv().await {
            sleep_until(due).await;
            if to.write_all(&piece).await.is_err() {
                return;
            }
        }
    });
}
