//! A network in memory: latency, loss, cuts, and sockets that break.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chitchat::ChitchatMessage;
use chitchat::transport::{Socket, Transport};
use tokio::sync::mpsc;

use crate::membership::gossip::codec::{Codec, bytes_of};

/// What a message costs beside itself: its length, and a TLS record.
const FRAMING_BYTES: u64 = 4 + 22;

type Letter = Option<(SocketAddr, ChitchatMessage)>;

#[derive(Clone)]
pub(super) struct Network(Arc<Mutex<State>>);

struct State {
    latency: Duration,
    loss: f64,
    /// Of a pseudo-random sequence, so that losses are the same in every run.
    seed: u64,
    sockets: HashMap<SocketAddr, mpsc::UnboundedSender<Letter>>,
    unplugged: HashSet<SocketAddr>,
    cut: Option<(HashSet<SocketAddr>, HashSet<SocketAddr>)>,
    counts: bool,
    sent_bytes: u64,
    codecs: HashMap<(SocketAddr, SocketAddr), Codec>,
}

impl Network {
    pub(super) fn new(latency: Duration, loss: f64) -> Self {
        Self(Arc::new(Mutex::new(State {
            latency,
            loss,
            seed: 1,
            sockets: HashMap::new(),
            unplugged: HashSet::new(),
            cut: None,
            counts: false,
            sent_bytes: 0,
            codecs: HashMap::new(),
        })))
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(super) fn cut(&self, a: HashSet<SocketAddr>, b: HashSet<SocketAddr>) {
        self.state().cut = Some((a, b));
    }

    pub(super) fn heal(&self) {
        self.state().cut = None;
    }

    pub(super) fn unplug(&self, address: SocketAddr) {
        self.state().unplugged.insert(address);
    }

    pub(super) fn plug(&self, address: SocketAddr) {
        self.state().unplugged.remove(&address);
    }

    /// The socket fails as a real one would that is closed under its owner.
    pub(super) fn break_socket(&self, address: SocketAddr) {
        let _ = self.state().sockets[&address].send(None);
    }

    /// Whether messages are encoded as streams would, and counted.
    pub(super) fn count_bytes(&self, counts: bool) {
        self.state().counts = counts;
    }

    pub(super) fn sent_bytes(&self) -> u64 {
        self.state().sent_bytes
    }
}

impl State {
    fn passes(&mut self, from: SocketAddr, to: SocketAddr) -> bool {
        let cut = self.cut.as_ref().is_some_and(|(a, b)| {
            (a.contains(&from) && b.contains(&to)) || (b.contains(&from) && a.contains(&to))
        });
        // SplitMix64.
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.seed;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let chance = ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64;
        let plugged = !self.unplugged.contains(&from) && !self.unplugged.contains(&to);
        !cut && plugged && chance >= self.loss
    }
}

#[async_trait]
impl Transport for Network {
    async fn open(&self, address: SocketAddr) -> anyhow::Result<Box<dyn Socket>> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.state().sockets.insert(address, sender);
        Ok(Box::new(MemorySocket { network: self.clone(), address, receiver }))
    }
}

struct MemorySocket {
    network: Network,
    address: SocketAddr,
    receiver: mpsc::UnboundedReceiver<Letter>,
}

#[async_trait]
impl Socket for MemorySocket {
    async fn send(&mut self, to: SocketAddr, message: ChitchatMessage) -> anyhow::Result<()> {
        let from = self.address;
        let mut state = self.network.state();
        if state.counts {
            let bytes = bytes_of(&message).unwrap();
            let frame = state.codecs.entry((from, to)).or_default().encode(bytes).unwrap();
            state.sent_bytes += frame.len() as u64 + FRAMING_BYTES;
        }
        if !state.passes(from, to) {
            return Ok(());
        }
        let Some(socket) = state.sockets.get(&to).cloned() else { return Ok(()) };
        let latency = state.latency;
        drop(state);
        tokio::spawn(async move {
            tokio::time::sleep(latency).await;
            let _ = socket.send(Some((from, message)));
        });
        Ok(())
    }

    async fn recv(&mut self) -> anyhow::Result<(SocketAddr, ChitchatMessage)> {
        self.receiver.recv().await.flatten().ok_or_else(|| anyhow::anyhow!("the socket broke"))
    }
}
