//! Where nodes were: what the operator names, and every address at which a member was ever seen
//! lately. It is how a node finds its zone at its start, and how the parts of a zone find each other
//! again after a partition that outlasted gossip's own memory.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::membership::MembershipError;
use crate::membership::identity::files;

/// Addresses that are remembered: every node of a zone, and as many of the past.
const REMEMBERED_MAX: usize = 400;
/// The most addresses that the operator's names stand for.
const SEEDS_MAX: usize = 256;
/// Contacts that are tried in one round while nobody is known.
const TRIED_AT_ONCE: usize = 8;
/// How often a contact that is no live member is tried while others are.
const PROBE_INTERVAL: Duration = Duration::from_secs(10);
/// What a list that cannot be read is renamed to.
const DAMAGED: &str = "contacts.json.damaged";

/// The contacts of a node.
#[derive(Debug)]
pub(crate) struct Contacts {
    endpoint: SocketAddr,
    path: Option<PathBuf>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    seeds: Vec<SocketAddr>,
    /// With the number of the update in which each was seen last: the oldest go first.
    remembered: BTreeMap<SocketAddr, u64>,
    updates: u64,
    next: usize,
    probed: Option<Instant>,
    dirty: bool,
}

impl Contacts {
    /// Reads the list, when there is one. It is a cache: one that cannot be read is set aside, and the
    /// node starts with what the operator's names stand for.
    pub(crate) fn open(endpoint: SocketAddr, path: PathBuf) -> Self {
        let addresses = read(&path).unwrap_or_else(|error| {
            let aside = path.with_file_name(DAMAGED);
            let is_aside = std::fs::rename(&path, &aside).is_ok();
            tracing::warn!(
                %error,
                set_aside = is_aside.then(|| aside.display().to_string()),
                "where other nodes were cannot be read: this node finds its zone by `join` or when another node finds it"
            );
            Vec::new()
        });
        let contacts = Self { path: Some(path), ..Self::in_memory(endpoint, Vec::new()) };
        let remembered = addresses.into_iter().take(REMEMBERED_MAX).map(|address| (address, 0));
        contacts.lock().remembered = remembered.collect();
        contacts
    }

    /// Without a list.
    pub(crate) fn in_memory(endpoint: SocketAddr, seeds: Vec<SocketAddr>) -> Self {
        Self { endpoint, path: None, state: Mutex::new(State { seeds, ..State::default() }) }
    }

    /// Takes the addresses that the operator's names stand for now.
    pub(crate) fn set_seeds(&self, mut seeds: Vec<SocketAddr>) {
        seeds.truncate(SEEDS_MAX);
        self.lock().seeds = seeds;
    }

    /// Everything that is known, seeds first.
    pub(crate) fn all(&self) -> Vec<SocketAddr> {
        let state = self.lock();
        let mut all = state.seeds.clone();
        all.extend(state.remembered.keys().filter(|address| !state.seeds.contains(address)));
        all.retain(|address| *address != self.endpoint);
        all
    }

    /// Remembers where members are.
    pub(crate) fn saw(&self, live: HashSet<SocketAddr>) {
        let mut state = self.lock();
        state.updates += 1;
        let update = state.updates;
        for address in live {
            state.dirty |= state.remembered.insert(address, update).is_none();
        }
        while state.remembered.len() > REMEMBERED_MAX {
            let Some(oldest) =
                state.remembered.iter().min_by_key(|(_, seen)| **seen).map(|(address, _)| *address)
            else {
                break;
            };
            state.remembered.remove(&oldest);
        }
    }

    /// Forgets where a node was; another one may come to live there.
    pub(crate) fn forget(&self, address: SocketAddr) {
        let mut state = self.lock();
        state.dirty |= state.remembered.remove(&address).is_some();
    }

    /// Whom to talk to beside the members that gossip picks by itself: several while nobody is live,
    /// else one now and then that is not.
    pub(crate) fn due(&self, live: HashSet<SocketAddr>, now: Instant) -> Vec<SocketAddr> {
        let candidates: Vec<_> =
            self.all().into_iter().filter(|address| !live.contains(address)).collect();
        let mut state = self.lock();
        let many = live.is_empty();
        let waits = |last: Instant| now.duration_since(last) < PROBE_INTERVAL;
        if candidates.is_empty() || (!many && state.probed.is_some_and(waits)) {
            return Vec::new();
        }
        state.probed = Some(now);
        let count = if many { TRIED_AT_ONCE.min(candidates.len()) } else { 1 };
        let start = state.next;
        state.next = state.next.wrapping_add(count);
        (0..count)
            .map(|offset| candidates[(start.wrapping_add(offset)) % candidates.len()])
            .collect()
    }

    /// Writes the list when it changed. It changes when a node comes that was never seen, so that is rare.
    ///
    /// # Errors
    /// [`MembershipError::File`]; the next call tries again.
    pub(crate) fn write(&self) -> Result<(), MembershipError> {
        let Some(path) = &self.path else { return Ok(()) };
        let addresses: Vec<_> = {
            let mut state = self.lock();
            if !std::mem::take(&mut state.dirty) {
                return Ok(());
            }
            state.remembered.keys().copied().collect()
        };
        let json = serde_json::to_vec(&addresses)
            .map_err(|error| MembershipError::Malformed(error.to_string()))?;
        files::write_private(path, &json).inspect_err(|_| self.lock().dirty = true)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(path: &Path) -> Result<Vec<SocketAddr>, MembershipError> {
    match files::read(path)? {
        None => Ok(Vec::new()),
        Some(text) => {
            serde_json::from_str(&text).map_err(|error| MembershipError::damaged(path, error))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    #[tokio::test(start_paused = true)]
    async fn who_knows_nobody_tries_everybody_and_who_does_probes_now_and_then() {
        let contacts = Contacts::in_memory(address(1), (1..=20).map(address).collect());
        let now = Instant::now();
        let tried: HashSet<_> = (0..4).flat_map(|_| contacts.due(HashSet::new(), now)).collect();
        assert_eq!(tried.len(), 19, "all but itself");
        let live: HashSet<_> = (2..=10).map(address).collect();
        assert!(contacts.due(live.clone(), now).is_empty());
        let probed = contacts.due(live.clone(), now + PROBE_INTERVAL);
        assert_eq!(probed.len(), 1);
        assert!(!live.contains(&probed[0]));
    }

    #[tokio::test(start_paused = true)]
    async fn the_list_survives_a_restart_and_is_bounded() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("contacts.json");
        let contacts = Contacts::open(address(1), path.clone());
        contacts.saw((1000..1400).map(address).collect());
        contacts.saw((2000..2100).map(address).collect());
        assert_eq!(contacts.all().len(), REMEMBERED_MAX);
        contacts.write().unwrap();
        let again = Contacts::open(address(1), path);
        assert_eq!(again.all(), contacts.all());
        assert!((2000..2100).all(|port| again.all().contains(&address(port))), "the newest stay");
    }

    #[tokio::test(start_paused = true)]
    async fn every_change_is_written_and_a_write_that_failed_is_tried_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sub/contacts.json");
        let contacts = Contacts::open(address(1), path.clone());
        contacts.saw([address(2)].into());
        assert!(contacts.write().is_err(), "there is no such directory");
        std::fs::create_dir(directory.path().join("sub")).unwrap();
        contacts.write().unwrap();
        contacts.saw([address(3)].into());
        contacts.write().unwrap();
        assert_eq!(Contacts::open(address(1), path).all(), [address(2), address(3)]);
    }

    #[test]
    fn a_damaged_list_is_set_aside() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("contacts.json");
        for damage in [&b"[\"127.0.0.1:2\", "[..], b"\xff\xfe", b"{}"] {
            std::fs::write(&path, damage).unwrap();
            assert!(Contacts::open(address(1), path.clone()).all().is_empty());
            assert!(!path.exists());
            assert_eq!(std::fs::read(directory.path().join(DAMAGED)).unwrap(), damage);
        }
    }
}
