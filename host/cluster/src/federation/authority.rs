//! What this zone itself says: its apex, its delegations, its exported agents, and that a name is absent.
//!
//! Records are signed when they are asked for and kept for a minute, so a crowd that asks for one name costs one
//! signature. Keys and peers live in files that commands change; [`Authority::reload`] notices.

mod files;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use quick_cache::Weighter;
use quick_cache::sync::Cache as Storage;
use uuid::Uuid;

use super::below;
use super::book::{Book, BookError, Peer};
use super::export::{Asker, Exported, Exports, Table};
use super::key::{KeyError, ZoneKey};
use super::name::{FullName, ZoneName};
use super::record::{
    self, ABSENT_MAX_S, ATTACH_LIFE_S, Absent, Agent, Apex, Attach, Delegation, Endpoint, Record,
    RecordError, SIGNED_AGE_MAX_S, TAGS_MAX,
};
pub use files::ZoneFiles;
use files::{Fingerprint, read};

/// What signed records that are kept may take: a stranger who asks for nonsense only turns these over.
const SIGNED_MAX_BYTES: u64 = 8 << 20;
/// How many that likely are.
const SIGNED_LIKELY: usize = 4096;
/// What one takes beside its name and text.
const SIGNED_BYTES: u64 = 128;

#[derive(Debug, Clone)]
struct SignedScales;

impl Weighter<String, (u64, Arc<str>)> for SignedScales {
    fn weight(&self, what: &String, (_, jws): &(u64, Arc<str>)) -> u64 {
        SIGNED_BYTES + (what.len() + jws.len()) as u64
    }
}

/// How long a record may be believed in an outage, in seconds.
const LIFE_S: u64 = 24 * 60 * 60;

/// The time in Unix seconds; passed in, so that tests and models have their own.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// The system's time.
#[must_use]
pub fn system_clock() -> Clock {
    Arc::new(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs()))
}

/// How a zone presents itself.
#[derive(Debug, Clone)]
pub struct Presence {
    /// Its name.
    pub zone: ZoneName,
    /// Where others reach it. None: through its parent, to which it keeps a connection.
    pub endpoints: Vec<Endpoint>,
    /// How long its records are fresh.
    pub ttl: Duration,
    /// How long a name counts as absent.
    pub negative_ttl: Duration,
}

/// Why a zone cannot speak.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// Its keys cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// It has none.
    #[error("the zone has no key: make one with `aop zone keygen`")]
    NoKey,
    /// Its list of other zones cannot be used.
    #[error(transparent)]
    Book(#[from] BookError),
    /// Its serial cannot be kept.
    #[error("{0}")]
    Serial(String),
}

/// Keys and peers as they were read.
struct State {
    /// The oldest first, at least one.
    keys: Vec<ZoneKey>,
    book: Arc<Book>,
    /// Where others reach this zone.
    endpoints: Vec<Endpoint>,
    serial: u64,
    /// How often what this zone believes of others changed; see [`Authority::epoch`].
    epoch: u64,
}

impl State {
    fn new(presence: &Presence, keys: Vec<ZoneKey>, book: Book, serial: u64) -> Self {
        let endpoints = match book.parent() {
            Some((_, parent)) if presence.endpoints.is_empty() => {
                below::through(&parent.endpoints, &presence.zone)
            }
            _ => presence.endpoints.clone(),
        };
        Self { keys, book: Arc::new(book), endpoints, serial, epoch: 0 }
    }

    /// Whether another state leads to the same answers about other zones: words that exports are found by do not.
    fn believes_like(&self, other: &Self) -> bool {
        let keys = |state: &Self| -> Vec<_> {
            state.keys.iter().map(|key| key.public().thumbprint().clone()).collect()
        };
        let plain = |peer: &Peer| Peer { exports: Vec::new(), accepts: None, ..peer.clone() };
        let (own, theirs) = (&self.book.peers, &other.book.peers);
        keys(self) == keys(other)
            && own.len() == theirs.len()
            && own.iter().zip(theirs).all(|((zone, peer), (other_zone, other_peer))| {
                zone == other_zone && plain(peer) == plain(other_peer)
            })
    }

    fn newest(&self) -> Option<&ZoneKey> {
        self.keys.last()
    }
}

/// The zone as it speaks for itself.
pub struct Authority {
    presence: Presence,
    files: Option<ZoneFiles>,
    clock: Clock,
    exports: Exports,
    state: RwLock<Arc<State>>,
    /// Held while files are looked at, so that of two who look the second sees what the first one read.
    reloading: Mutex<()>,
    fingerprint: RwLock<Fingerprint>,
    signed: Storage<String, (u64, Arc<str>), SignedScales>,
}

impl Authority {
    /// Reads keys and peers.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub fn open(
        presence: Presence,
        files: ZoneFiles,
        clock: Clock,
        exports: Exports,
    ) -> Result<Self, AuthorityError> {
        let fingerprint = files.fingerprint();
        let state = read(&presence, &files, clock())?;
        let mut authority = Self::with(presence, clock, exports, state);
        authority.fingerprint = RwLock::new(fingerprint);
        authority.files = Some(files);
        Ok(authority)
    }

    /// A zone that has no files; for models.
    #[must_use]
    pub fn fleeting(
        presence: Presence,
        clock: Clock,
        exports: Exports,
        keys: Vec<ZoneKey>,
        book: Book,
    ) -> Self {
        let state = State::new(&presence, keys, book, 1);
        Self::with(presence, clock, exports, state)
    }

    fn with(presence: Presence, clock: Clock, exports: Exports, state: State) -> Self {
        Self {
            presence,
            files: None,
            clock,
            exports,
            state: RwLock::new(Arc::new(state)),
            reloading: Mutex::new(()),
            fingerprint: RwLock::default(),
            signed: Storage::with_weighter(SIGNED_LIKELY, SIGNED_MAX_BYTES, SignedScales),
        }
    }

    /// Reads the files again when they changed. Whether they had; what cannot be read leaves everything as it was.
    ///
    /// # Errors
    /// [`AuthorityError`], once for each change.
    pub fn reload(&self) -> Result<bool, AuthorityError> {
        let Some(files) = &self.files else { return Ok(false) };
        let _reloading = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let fingerprint = files.fingerprint();
        {
            let mut known = self.fingerprint.write().unwrap_or_else(PoisonError::into_inner);
            if *known == fingerprint {
                return Ok(false);
            }
            *known = fingerprint;
        }
        let state = read(&self.presence, files, (self.clock)())?;
        self.become_(state);
        Ok(true)
    }

    /// Another book, as if its file had changed; for models.
    #[cfg(test)]
    pub(super) fn replace_book(&self, book: Book) {
        let old = self.state();
        let keys = old.keys.iter().map(ZoneKey::twin).collect();
        self.become_(State::new(&self.presence, keys, book, old.serial));
    }

    /// A later word, as if its files had changed; for models.
    #[cfg(test)]
    pub(super) fn set_serial(&self, serial: u64) {
        let old = self.state();
        let keys = old.keys.iter().map(ZoneKey::twin).collect();
        self.become_(State::new(&self.presence, keys, Book::clone(&old.book), serial));
    }

    /// Changes the book, in its file; a zone without one keeps it as it is.
    ///
    /// # Errors
    /// [`AuthorityError::Book`] when the file cannot be written; then nothing changed.
    pub fn rewrite(&self, change: impl FnOnce(&mut Book)) -> Result<(), AuthorityError> {
        let Some(files) = &self.files else { return Ok(()) };
        Book::edit(&files.book(), |book| {
            change(book);
            Ok::<_, BookError>(())
        })?;
        self.reload().map(drop)
    }

    fn become_(&self, mut state: State) {
        {
            let mut known = self.state.write().unwrap_or_else(PoisonError::into_inner);
            state.epoch = known.epoch + u64::from(!known.believes_like(&state));
            *known = Arc::new(state);
        }
        self.signed.clear();
    }

    /// Counts the changes of this zone's keys and of whom it believes. What was learnt of other zones in an earlier
    /// one is not used any more: an operator who pins another key, or lets a peer go, means it at once.
    pub fn epoch(&self) -> u64 {
        self.state().epoch
    }

    /// The other zones that it knows by itself, and the epoch in which that holds.
    pub fn book_now(&self) -> (Arc<Book>, u64) {
        let state = self.state();
        (Arc::clone(&state.book), state.epoch)
    }

    fn state(&self) -> Arc<State> {
        Arc::clone(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The zone's name.
    pub const fn zone(&self) -> &ZoneName {
        &self.presence.zone
    }

    /// How it presents itself.
    pub const fn presence(&self) -> &Presence {
        &self.presence
    }

    /// Where others reach this zone.
    pub fn endpoints(&self) -> Vec<Endpoint> {
        self.state().endpoints.clone()
    }

    /// Where a zone of the book is reached: one without endpoints through this one, to which it keeps a connection.
    pub fn endpoints_of(&self, zone: &ZoneName, peer: &Peer) -> Vec<Endpoint> {
        if peer.endpoints.is_empty() {
            below::through(&self.state().endpoints, zone)
        } else {
            peer.endpoints.clone()
        }
    }

    /// Who this zone is, for its parent: the same word signed by each of its keys, since the parent may not have learnt the
    /// newest. It is good once and for a short time. `node` is the same for all words of this process.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn attach(&self, parent: &ZoneName, node: Uuid) -> Result<Vec<Arc<str>>, RecordError> {
        let (state, now, id) = (self.state(), self.now_s(), Uuid::new_v4());
        let sign = |key: &ZoneKey| {
            let attach = Attach {
                zone: self.zone().clone(),
                to: parent.clone(),
                node,
                id,
                key: key.public().clone(),
                iat: now,
                exp: now + ATTACH_LIFE_S,
            };
            record::sign(&attach, key)
        };
        state.keys.iter().rev().map(sign).collect()
    }

    /// The other zones that it knows by itself.
    pub fn book(&self) -> Arc<Book> {
        Arc::clone(&self.state().book)
    }

    /// What it publishes now.
    pub fn exported(&self) -> Arc<Table> {
        self.exports.table()
    }

    /// The time in Unix seconds.
    pub fn now_s(&self) -> u64 {
        (self.clock)()
    }

    /// Whether a name is this zone's own to answer: within it, and in no zone below.
    pub fn is_own(&self, name: &FullName) -> bool {
        name.is_within(self.zone()) && self.state().book.child_of(name).is_none()
    }

    /// What the zone says of itself, signed by each of its keys.
    ///
    /// # Errors
    /// [`RecordError`] when its configuration cannot be said.
    pub fn apex(&self) -> Result<Vec<Arc<str>>, RecordError> {
        let state = self.state();
        if state.endpoints.is_empty() {
            return Err(RecordError::Malformed(
                "the zone is reached through its parent and has none yet: `aop zone peer --parent URL`"
                    .to_owned(),
            ));
        }
        let sign = |(number, key): (usize, &ZoneKey)| {
            self.signed(&format!("apex {number}"), key, |now| apex(&self.presence, &state, now))
        };
        state.keys.iter().enumerate().map(sign).collect()
    }

    /// What the zone says of itself, unsigned: its newest word.
    #[must_use]
    pub fn apex_body(&self) -> Apex {
        let state = self.state();
        apex(&self.presence, &state, self.now_s())
    }

    /// Who a child is.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn delegation(&self, child: &ZoneName, peer: &Peer) -> Result<Arc<str>, RecordError> {
        let state = self.state();
        let key = newest(&state)?;
        // Each of the child's keys signs its apex; the newest is the one that stays longest.
        let Some(thumbprint) = peer.keys.last().cloned() else {
            return Err(RecordError::Malformed(format!("{child} has no key")));
        };
        self.signed(&format!("child {child}"), key, |now| Delegation {
            zone: self.zone().clone(),
            child: child.clone(),
            key_thumbprint: thumbprint,
            endpoints: self.endpoints_of(child, peer),
            exports: peer.exports.clone(),
            ttl: seconds(self.presence.ttl),
            iat: now,
            exp: now + LIFE_S,
        })
    }

    /// An exported agent.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn agent(&self, exported: &Exported) -> Result<Arc<str>, RecordError> {
        let state = self.state();
        let key = newest(&state)?;
        self.signed(&format!("agent {} {}", exported.name, exported.digest), key, |now| Agent {
            name: exported.name.clone(),
            version: exported.version,
            descriptor_sha256: exported.digest,
            endpoints: state.endpoints.clone(),
            ttl: seconds(self.presence.ttl),
            iat: now,
            exp: now + LIFE_S,
        })
    }

    /// That there is no such name, for whoever asked.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn absent(&self, name: &FullName) -> Result<Arc<str>, RecordError> {
        let state = self.state();
        let key = newest(&state)?;
        let ttl = seconds(self.presence.negative_ttl).min(ABSENT_MAX_S);
        self.signed(&format!("absent {name}"), key, |now| Absent {
            zone: self.zone().clone(),
            name: name.clone(),
            ttl,
            iat: now,
            // It is handed out for a minute, and must outlive that.
            exp: now + SIGNED_AGE_MAX_S + u64::from(ttl),
        })
    }

    fn signed<T: Record>(
        &self,
        what: &str,
        key: &ZoneKey,
        body: impl FnOnce(u64) -> T,
    ) -> Result<Arc<str>, RecordError> {
        let now = self.now_s();
        if let Some((at, jws)) = self.signed.get(what)
            // A clock that was set back makes old ones look new.
            && (at..at + SIGNED_AGE_MAX_S).contains(&now)
        {
            return Ok(jws);
        }
        let jws = record::sign(&body(now), key)?;
        self.signed.insert(what.to_owned(), (now, Arc::clone(&jws)));
        Ok(jws)
    }

    /// Words that the exports of this zone and of those below it are found by.
    pub fn tags(&self, asker: Asker<'_>) -> Vec<String> {
        let book = self.book();
        let below = book.children().flat_map(|(_, child)| child.exports.iter().cloned());
        let tags: BTreeSet<String> = self.exported().tags(asker).into_iter().chain(below).collect();
        tags.into_iter().take(TAGS_MAX).collect()
    }
}

fn newest(state: &State) -> Result<&ZoneKey, RecordError> {
    state.newest().ok_or_else(|| RecordError::Malformed("the zone has no key".to_owned()))
}

fn apex(presence: &Presence, state: &State, now: u64) -> Apex {
    Apex {
        zone: presence.zone.clone(),
        serial: state.serial,
        ttl: seconds(presence.ttl),
        neg_ttl: seconds(presence.negative_ttl).min(ABSENT_MAX_S),
        keys: state.keys.iter().map(|key| key.public().clone()).collect(),
        endpoints: state.endpoints.clone(),
        iat: now,
        exp: now + LIFE_S,
    }
}

fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
}
