//! Documents by digest: how what is too large for gossip reaches every node.
//!
//! A node gossips only `SERIAL;SHA-256` of what it publishes. Whoever hears of a digest that it does not
//! have waits up to a second, asks the owner and, when that does not answer, two other nodes, checks
//! what it got against the digest, and keeps it. The wait spreads the load on the owner over time; it
//! is derived from who asks for what, so that nothing here is random.
//!
//! What bounds it: the size of a document, the documents of a node, what all documents together may
//! take, fetches at one time, and the time of one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aop_core::{Digest, NodeId};
use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::Instant;

use super::members::{DOCUMENT_MAX_BYTES, Document, Documents};
use super::{DocumentVersion, View};

/// What the documents of all members together may take; a thousand times what catalogues usually do.
const TOTAL_MAX_BYTES: usize = 512 << 20;
/// What documents that no live member publishes may still take: a node that restarts finds its old
/// catalogue with everybody.
const UNUSED_MAX_BYTES: usize = 64 << 20;
/// The longest wait before a fetch.
const JITTER_MAX: Duration = Duration::from_secs(1);
/// The pause after a fetch that failed.
pub(crate) const RETRY_PAUSE: Duration = Duration::from_secs(2);

/// A document that is wanted, and who may have it, the owner first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) digest: Digest,
    pub(crate) holders: Vec<NodeId>,
    pub(crate) wait: Duration,
}

/// The documents that this node has.
#[derive(Debug)]
pub(crate) struct DocumentStore {
    node: NodeId,
    state: Mutex<State>,
    published: watch::Sender<Arc<Documents>>,
}

#[derive(Debug, Default)]
struct State {
    /// By digest, with the number of the use: the oldest unused go first.
    held: BTreeMap<Digest, (Bytes, u64)>,
    uses: u64,
    own: BTreeMap<&'static str, DocumentVersion>,
    fetching: BTreeSet<Digest>,
    /// When a fetch may be tried again.
    failed: BTreeMap<Digest, Instant>,
    /// Since when documents are missing, by digest.
    missing: BTreeMap<Digest, Instant>,
    failures: u64,
    fetched: u64,
}

impl DocumentStore {
    pub(crate) fn new(node: NodeId) -> Self {
        Self { node, state: Mutex::default(), published: watch::Sender::new(Arc::default()) }
    }

    pub(crate) fn published(&self) -> watch::Receiver<Arc<Documents>> {
        self.published.subscribe()
    }

    /// Takes a document of this node. None when it is the one that is there.
    pub(crate) fn publish(&self, name: &'static str, bytes: Bytes) -> (DocumentVersion, bool) {
        let digest = Digest::of(&bytes);
        let mut state = self.lock();
        let last = state.own.get(name).copied();
        if let Some(last) = last.filter(|last| last.digest == digest) {
            return (last, false);
        }
        let version = DocumentVersion { serial: last.map_or(0, |last| last.serial) + 1, digest };
        state.own.insert(name, version);
        state.hold(digest, bytes);
        (version, true)
    }

    /// A document that this node has, its own or another's.
    pub(crate) fn get(&self, digest: &Digest) -> Option<Bytes> {
        self.lock().held.get(digest).map(|(bytes, _)| bytes.clone())
    }

    /// What of the view is not here yet and not being fetched; from now on it is. Publishes what is.
    pub(crate) fn look(&self, view: &View, now: Instant) -> Vec<Wanted> {
        let mut state = self.lock();
        let mut holders: BTreeMap<Digest, Vec<NodeId>> = BTreeMap::new();
        for member in view.others() {
            for version in member.documents.values() {
                holders.entry(version.digest).or_default().push(member.id.clone());
            }
        }
        state.missing.retain(|digest, _| holders.contains_key(digest));
        state.failed.retain(|digest, until| holders.contains_key(digest) && *until > now);
        let mut wanted = Vec::new();
        for (digest, owners) in holders {
            if state.held.contains_key(&digest) {
                state.missing.remove(&digest);
                continue;
            }
            state.missing.entry(digest).or_insert(now);
            if state.failed.contains_key(&digest) || !state.fetching.insert(digest) {
                continue;
            }
            let wait = jitter(&self.node, &digest);
            // Others than the owner may have it too; which is as good as chance.
            let mut others: Vec<_> = view
                .others()
                .map(|other| other.id.clone())
                .filter(|id| !owners.contains(id))
                .collect();
            let turn = usize::from(digest.as_bytes()[0]) % others.len().max(1);
            others.rotate_left(turn);
            let holders = owners.into_iter().chain(others.into_iter().take(2)).collect();
            wanted.push(Wanted { digest, holders, wait });
        }
        // Not only when something arrives: a node that publishes again and again keeps its own old ones otherwise.
        state.forget(view);
        drop(state);
        self.republish(view);
        wanted
    }

    /// Ends a fetch. What does not match its digest is not a document.
    pub(crate) fn fetched(&self, digest: Digest, bytes: Option<Bytes>, view: &View, now: Instant) {
        let mut state = self.lock();
        state.fetching.remove(&digest);
        let held: usize = state.held.values().map(|(bytes, _)| bytes.len()).sum();
        match bytes.filter(|bytes| Digest::of(bytes) == digest) {
            Some(bytes) if held + bytes.len() <= TOTAL_MAX_BYTES => {
                state.hold(digest, bytes);
                state.missing.remove(&digest);
                state.fetched += 1;
            }
            refused => {
                if refused.is_some() {
                    tracing::error!(%digest, "the zone's documents are larger than this node keeps");
                }
                state.failures += 1;
                state.failed.insert(digest, now + RETRY_PAUSE);
            }
        }
        state.forget(view);
        drop(state);
        self.republish(view);
    }

    /// Documents that are missing, how long the one that is missing for longest has been, fetches that
    /// worked and fetches that failed.
    pub(crate) fn counts(&self, now: Instant) -> (usize, Duration, u64, u64) {
        let state = self.lock();
        let oldest = state.missing.values().min().copied().unwrap_or(now);
        (state.missing.len(), now.duration_since(oldest), state.fetched, state.failures)
    }

    fn republish(&self, view: &View) {
        self.published.send_if_modified(|published| {
            let state = self.lock();
            let mut next = Documents::default();
            for member in view.members.values() {
                for (name, version) in &member.documents {
                    let now = state
                        .held
                        .get(&version.digest)
                        .map(|(bytes, _)| Document { version: *version, bytes: bytes.clone() });
                    let before =
                        || published.0.get(name).and_then(|of| of.get(&member.id)).cloned();
                    if let Some(document) = now.or_else(before) {
                        next.0.entry(name.clone()).or_default().insert(member.id.clone(), document);
                    }
                }
            }
            let is_new = next != **published;
            if is_new {
                *published = Arc::new(next);
            }
            is_new
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn hold(&mut self, digest: Digest, bytes: Bytes) {
        self.uses += 1;
        self.held.insert(digest, (bytes, self.uses));
    }

    /// Drops the oldest documents that nobody publishes any more, above their bound.
    fn forget(&mut self, view: &View) {
        let used: BTreeSet<_> = view
            .members
            .values()
            .flat_map(|member| member.documents.values())
            .chain(self.own.values())
            .map(|version| version.digest)
            .collect();
        let mut unused: Vec<_> = self
            .held
            .iter()
            .filter(|(digest, _)| !used.contains(digest))
            .map(|(digest, (bytes, use_number))| (*use_number, *digest, bytes.len()))
            .collect();
        unused.sort_unstable();
        let mut total: usize = unused.iter().map(|(_, _, size)| size).sum();
        for (_, digest, size) in unused {
            if total <= UNUSED_MAX_BYTES {
                break;
            }
            self.held.remove(&digest);
            total -= size;
        }
    }
}

/// Up to [`JITTER_MAX`], different for every node and document.
fn jitter(node: &NodeId, digest: &Digest) -> Duration {
    let mixed = Digest::of(format!("{node}{digest}").as_bytes());
    let [high, low, ..] = *mixed.as_bytes();
    JITTER_MAX * u32::from(u16::from_be_bytes([high, low])) / u32::from(u16::MAX)
}

/// Whether bytes can be a document.
pub(crate) fn fits(bytes: &[u8]) -> bool {
    bytes.len() <= DOCUMENT_MAX_BYTES
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::gossip::keys::Said;
    use super::super::gossip::roster::{Life, Roster};
    use super::*;
    use aop_core::Generation;

    fn node(number: u8) -> NodeId {
        NodeId::of_public_key(&[number])
    }

    fn view(contents: &[(u8, &[u8])]) -> View {
        let mut roster = Roster::default();
        let lives = contents
            .iter()
            .map(|(number, content)| Life {
                node: node(*number),
                generation: Generation(1),
                endpoint: ([127, 0, 0, *number], 1).into(),
                heartbeat: 1,
                version: 1,
                live: true,
                said: Said {
                    documents: BTreeMap::from([(
                        "cat".to_owned(),
                        DocumentVersion { serial: 1, digest: Digest::of(content) },
                    )]),
                    ..Said::default()
                },
            })
            .collect();
        roster.update(lives, &node(0), Instant::now());
        roster.view(&node(0))
    }

    #[tokio::test(start_paused = true)]
    async fn a_document_is_fetched_once_checked_and_shared() {
        let store = DocumentStore::new(node(0));
        let view = view(&[(1, b"one"), (2, b"one"), (3, b"three")]);
        let wanted = store.look(&view, Instant::now());
        assert_eq!(wanted.len(), 2, "two nodes publish the same bytes");
        assert!(store.look(&view, Instant::now()).is_empty(), "they are being fetched");
        store.fetched(Digest::of(b"one"), Some(Bytes::from_static(b"one")), &view, Instant::now());
        store.fetched(
            Digest::of(b"three"),
            Some(Bytes::from_static(b"lie")),
            &view,
            Instant::now(),
        );
        let documents = store.published().borrow().clone();
        let owners: BTreeSet<_> = documents.named("cat").map(|(node, _)| node.clone()).collect();
        assert_eq!(owners, BTreeSet::from([node(1), node(2)]));
        assert_eq!(store.get(&Digest::of(b"three")), None);
        let (missing, _, fetched, failures) = store.counts(Instant::now());
        assert_eq!((missing, fetched, failures), (1, 1, 1));
        // It is asked for again, after a while.
        assert!(store.look(&view, Instant::now()).is_empty());
        assert_eq!(store.look(&view, Instant::now() + RETRY_PAUSE).len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_old_state_stays_until_the_new_one_is_here_and_goes_with_its_node() {
        let store = DocumentStore::new(node(0));
        let old = view(&[(1, b"old")]);
        store.look(&old, Instant::now());
        store.fetched(Digest::of(b"old"), Some(Bytes::from_static(b"old")), &old, Instant::now());
        let new = view(&[(1, b"new")]);
        store.look(&new, Instant::now());
        let bytes = |store: &DocumentStore| {
            let documents = store.published().borrow().clone();
            documents.named("cat").next().map(|(_, document)| document.bytes.clone())
        };
        assert_eq!(bytes(&store).as_deref(), Some(&b"old"[..]));
        store.fetched(Digest::of(b"new"), Some(Bytes::from_static(b"new")), &new, Instant::now());
        assert_eq!(bytes(&store).as_deref(), Some(&b"new"[..]));
        store.look(&view(&[]), Instant::now());
        assert_eq!(bytes(&store), None);
    }

    #[test]
    fn publishing_the_same_again_changes_nothing() {
        let store = DocumentStore::new(node(0));
        let (first, is_new) = store.publish("cat", Bytes::from_static(b"a"));
        assert!(is_new);
        assert_eq!(store.publish("cat", Bytes::from_static(b"a")), (first, false));
        let (second, _) = store.publish("cat", Bytes::from_static(b"b"));
        assert_eq!((first.serial, second.serial), (1, 2));
        assert_eq!(store.get(&second.digest).as_deref(), Some(&b"b"[..]));
    }

    #[test]
    fn what_this_node_published_before_is_forgotten() {
        let store = DocumentStore::new(node(0));
        let empty = view(&[]);
        let piece = UNUSED_MAX_BYTES / 2;
        for number in 0..5_u8 {
            store.publish("cat", Bytes::from(vec![number; piece]));
            store.look(&empty, Instant::now());
        }
        let held: usize = store.lock().held.values().map(|(bytes, _)| bytes.len()).sum();
        assert!(held <= UNUSED_MAX_BYTES + piece, "{held}");
    }

    proptest! {
        #[test]
        fn the_wait_is_bounded_and_differs(number in any::<u8>(), content in any::<Vec<u8>>()) {
            let digest = Digest::of(&content);
            let wait = jitter(&node(number), &digest);
            prop_assert!(wait <= JITTER_MAX);
            prop_assert_ne!(wait, jitter(&node(number.wrapping_add(1)), &digest));
        }
    }
}
