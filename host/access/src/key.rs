//! API keys: their text, and the table that a request is looked up in.
//!
//! A key is `aop_<id>_<secret>`. The id finds it and may be shown; the secret is 256 random bits, of which only the
//! BLAKE3 hash of the whole key is stored. A slow hash (argon2) defends passwords, which can be guessed; nobody
//! guesses 256 bits, so a fast one loses nothing, and a request costs a hash and a look into a table. Hashes
//! are compared in constant time, and an unknown id costs the same as a wrong secret.
//!
//! The table is replaced as a whole when a key changes, so that a lookup takes no lock.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aop_core::{ApiKey, Bond, Caller, KeyId, KeyRecord, Secret, Subject};
use arc_swap::ArcSwap;
use rand::RngExt as _;

use crate::access::Vouched;

/// What every key begins with, so that a scanner finds one that leaked.
const PREFIX: &str = "aop_";
/// Characters of a secret: 52 of 32 kinds are 260 bits.
const SECRET_LENGTH: usize = 52;
/// RFC 4648, in lower case: no character that a shell, a URL or an eye takes for another thing.
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// Uses are noted this coarsely: it tells a key that is used from one that is not, and costs no write per call.
pub(crate) const USED_RESOLUTION_MS: u64 = 60_000;

/// Makes the text of a new key. `rand`'s thread generator is seeded and reseeded by the operating system.
pub(crate) fn generate() -> (KeyId, Secret) {
    let mut random = rand::rng();
    let mut characters = |count: usize| -> String {
        (0..count).map(|_| char::from(ALPHABET[random.random_range(0..ALPHABET.len())])).collect()
    };
    loop {
        let (id, secret) = (characters(KeyId::LENGTH), characters(SECRET_LENGTH));
        // The alphabet is that of ids, so this succeeds at once.
        if let Ok(parsed) = KeyId::new(&id) {
            return (parsed, Secret::new(format!("{PREFIX}{id}_{secret}")));
        }
    }
}

/// Whether a credential is meant to be a key, and not a token of an issuer.
pub(crate) fn looks_like_one(text: &str) -> bool {
    text.starts_with(PREFIX)
}

/// What is stored of a key.
pub(crate) fn hash(text: &str) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new_derive_key("aop 2026 the hash of an API key");
    hasher.update(text.as_bytes()).finalize()
}

/// The id in the text of a key, if it has the form of one.
fn id_of(text: &str) -> Option<&str> {
    let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
    (id.len() == KeyId::LENGTH && secret.len() == SECRET_LENGTH).then_some(id)
}

/// The keys of the host.
#[derive(Default)]
pub(crate) struct Keys {
    table: ArcSwap<HashMap<KeyId, Arc<Entry>>>,
}

struct Entry {
    record: KeyRecord,
    caller: Caller,
    used_unix_ms: AtomicU64,
    /// What of that is stored.
    stored_unix_ms: AtomicU64,
}

impl Entry {
    fn new(record: KeyRecord) -> Self {
        let key = &record.key;
        let used = key.last_used_unix_ms.unwrap_or(0);
        let caller = Caller {
            tenant: key.tenant.clone(),
            subject: Subject::Key { id: key.subject.as_arc().clone() },
            scopes: key.scopes,
        };
        Self { caller, record, used_unix_ms: used.into(), stored_unix_ms: used.into() }
    }

    fn note_used(&self, now_unix_ms: u64) {
        let used = self.used_unix_ms.load(Ordering::Relaxed);
        if now_unix_ms.saturating_sub(used) >= USED_RESOLUTION_MS {
            self.used_unix_ms.store(now_unix_ms, Ordering::Relaxed);
        }
    }

    fn shown(&self) -> ApiKey {
        let used = self.used_unix_ms.load(Ordering::Relaxed);
        ApiKey { last_used_unix_ms: (used > 0).then_some(used), ..self.record.key.clone() }
    }
}

/// Why a key opens nothing. For the log; whoever sent it is not told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    Malformed,
    Unknown,
    Wrong,
    Expired,
    Revoked,
}

impl Keys {
    /// Replaces all.
    pub(crate) fn restore(&self, records: Vec<KeyRecord>) {
        let entries =
            records.into_iter().map(|record| (record.key.id.clone(), Arc::new(Entry::new(record))));
        self.table.store(Arc::new(entries.collect()));
    }

    /// Puts keys in, new or changed. Changes come one after another.
    pub(crate) fn put(&self, records: &[KeyRecord]) {
        let mut table = HashMap::clone(&self.table.load());
        for record in records {
            let entry = Entry::new(record.clone());
            if let Some(known) = table.get(&record.key.id) {
                let used = known.used_unix_ms.load(Ordering::Relaxed);
                entry.used_unix_ms.store(used, Ordering::Relaxed);
            }
            table.insert(record.key.id.clone(), Arc::new(entry));
        }
        self.table.store(Arc::new(table));
    }

    /// Takes out those that `keep` does not keep.
    pub(crate) fn retain(&self, keep: impl Fn(&ApiKey) -> bool) {
        let mut table = HashMap::clone(&self.table.load());
        table.retain(|_, entry| keep(&entry.record.key));
        self.table.store(Arc::new(table));
    }

    /// Whose key this is. On the path of every request.
    pub(crate) fn find(&self, text: &str, now_unix_ms: u64) -> Result<Vouched, Refused> {
        let id = id_of(text).ok_or(Refused::Malformed)?;
        let hash = hash(text);
        let table = self.table.load();
        let Some(entry) = table.get(id) else { return Err(Refused::Unknown) };
        // Constant time: that is what `blake3::Hash` compares in.
        if hash != entry.record.hash {
            return Err(Refused::Wrong);
        }
        let key = &entry.record.key;
        if key.revoked_unix_ms.is_some() {
            return Err(Refused::Revoked);
        }
        if !key.is_valid(now_unix_ms) {
            return Err(Refused::Expired);
        }
        entry.note_used(now_unix_ms);
        Ok(Vouched { caller: entry.caller.clone(), bond: Bond::Key(key.id.clone()) })
    }

    /// Whether a key that opened something is still good.
    pub(crate) fn is_good(&self, id: &KeyId, now_unix_ms: u64) -> bool {
        let table = self.table.load();
        let key = table.get(id).map(|entry| &entry.record.key);
        key.is_some_and(|key| key.revoked_unix_ms.is_none() && key.is_valid(now_unix_ms))
    }

    /// The keys of a tenant, the oldest first.
    pub(crate) fn of(&self, tenant: &str) -> Vec<ApiKey> {
        let table = self.table.load();
        let of_tenant = table.values().filter(|entry| *entry.record.key.tenant == *tenant);
        let mut keys: Vec<_> = of_tenant.map(|entry| entry.shown()).collect();
        keys.sort_by(|a, b| (a.created_unix_ms, &a.id).cmp(&(b.created_unix_ms, &b.id)));
        keys
    }

    /// One key as it is stored.
    pub(crate) fn get(&self, id: &KeyId) -> Option<KeyRecord> {
        self.table
            .load()
            .get(id)
            .map(|entry| KeyRecord { key: entry.shown(), hash: entry.record.hash })
    }

    /// Of the invalid keys that may go, the one that should go first when there are too many.
    pub(crate) fn oldest(
        &self,
        now_unix_ms: u64,
        may_go: &dyn Fn(&ApiKey) -> bool,
    ) -> Option<KeyId> {
        let table = self.table.load();
        let keys = table.values().map(|entry| &entry.record.key);
        let invalid = keys.filter(|key| !key.is_valid(now_unix_ms) && may_go(key));
        invalid.min_by_key(|key| key.ended()).map(|key| key.id.clone())
    }

    /// How many there are, the invalid ones included.
    pub(crate) fn len(&self) -> usize {
        self.table.load().len()
    }

    /// Uses that are not stored yet.
    pub(crate) fn unstored_uses(&self) -> Vec<(KeyId, u64)> {
        let table = self.table.load();
        let used = table.iter().filter_map(|(id, entry)| {
            let used = entry.used_unix_ms.load(Ordering::Relaxed);
            let stored = entry.stored_unix_ms.load(Ordering::Relaxed);
            (stored != used).then(|| (id.clone(), used))
        });
        used.collect()
    }

    /// These uses are stored.
    pub(crate) fn stored_uses(&self, stored: &[(KeyId, u64)]) {
        let table = self.table.load();
        for (id, at) in stored {
            if let Some(entry) = table.get(id) {
                entry.stored_unix_ms.store(*at, Ordering::Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests;
