//! What this zone itself says: its apex, its delegations, its exported agents, and that a name is absent.
//!
//! Records are signed when they are asked for and kept for a minute, so a crowd that asks for one name costs one
//! signature. Keys and peers live in files that commands change; [`Authority::reload`] notices.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aop_core::Digest;
use quick_cache::sync::Cache as Storage;
use serde::{Deserialize, Serialize};

use super::book::{Book, BookError, Peer};
use super::export::{Asker, Exported, Exports, Table};
use super::key::{self, KeyError, ZoneKey};
use super::name::{FullName, ZoneName};
use super::record::{
    self, ABSENT_MAX_S, Absent, Agent, Apex, Delegation, Endpoint, Record, RecordError, TAGS_MAX,
};

/// How long a signed record is handed out before it is signed anew.
const SIGNED_AGE_MAX_S: u64 = 60;
/// Signed records that are kept: a stranger who asks for nonsense only turns over this many.
const SIGNED_MAX: usize = 4096;
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
    /// Where others reach it.
    pub endpoints: Vec<Endpoint>,
    /// How long its records are fresh.
    pub ttl: Duration,
    /// How long a name counts as absent.
    pub negative_ttl: Duration,
}

/// Where a zone's files are, below the data directory.
#[derive(Debug, Clone)]
pub struct ZoneFiles {
    directory: PathBuf,
}

impl ZoneFiles {
    /// The files below a data directory.
    #[must_use]
    pub fn new(data: &Path) -> Self {
        Self { directory: data.join("zone") }
    }

    /// The directory of keys.
    #[must_use]
    pub fn keys(&self) -> PathBuf {
        self.directory.join("keys")
    }

    /// The other zones.
    #[must_use]
    pub fn book(&self) -> PathBuf {
        self.directory.join("peers.json")
    }

    fn serial(&self) -> PathBuf {
        self.directory.join("serial.json")
    }

    /// What tells that something changed: names, sizes and times.
    fn fingerprint(&self) -> Vec<(PathBuf, u64, Option<SystemTime>)> {
        let keys = fs::read_dir(self.keys()).into_iter().flatten().flatten();
        let mut paths: Vec<_> = keys.map(|entry| entry.path()).chain([self.book()]).collect();
        paths.sort();
        let about = |path: PathBuf| {
            let metadata = fs::metadata(&path).ok();
            let modified = metadata.as_ref().and_then(|metadata| metadata.modified().ok());
            (path, metadata.map_or(0, |metadata| metadata.len()), modified)
        };
        paths.into_iter().map(about).collect()
    }
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
    serial: u64,
}

impl State {
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
    fingerprint: RwLock<Vec<(PathBuf, u64, Option<SystemTime>)>>,
    signed: Storage<String, (u64, Arc<str>)>,
}

/// What the serial was, and of what.
#[derive(Serialize, Deserialize)]
struct Serial {
    serial: u64,
    of: Digest,
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
        Self::with(presence, clock, exports, State { keys, book: Arc::new(book), serial: 1 })
    }

    fn with(presence: Presence, clock: Clock, exports: Exports, state: State) -> Self {
        Self {
            presence,
            files: None,
            clock,
            exports,
            state: RwLock::new(Arc::new(state)),
            fingerprint: RwLock::default(),
            signed: Storage::new(SIGNED_MAX),
        }
    }

    /// Reads the files again when they changed. Whether they had; what cannot be read leaves everything as it was.
    ///
    /// # Errors
    /// [`AuthorityError`], once for each change.
    pub fn reload(&self) -> Result<bool, AuthorityError> {
        let Some(files) = &self.files else { return Ok(false) };
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

    fn become_(&self, state: State) {
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(state);
        self.signed.clear();
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
        let sign = |(number, key): (usize, &ZoneKey)| {
            self.signed(&format!("apex {number}"), key, |now| {
                apex(&self.presence, &state.keys, state.serial, now)
            })
        };
        state.keys.iter().enumerate().map(sign).collect()
    }

    /// What the zone says of itself, unsigned: its newest word.
    #[must_use]
    pub fn apex_body(&self) -> Apex {
        let state = self.state();
        apex(&self.presence, &state.keys, state.serial, self.now_s())
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
            endpoints: peer.endpoints.clone(),
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
            endpoints: self.presence.endpoints.clone(),
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

fn apex(presence: &Presence, keys: &[ZoneKey], serial: u64, now: u64) -> Apex {
    Apex {
        zone: presence.zone.clone(),
        serial,
        ttl: seconds(presence.ttl),
        neg_ttl: seconds(presence.negative_ttl).min(ABSENT_MAX_S),
        keys: keys.iter().map(|key| key.public().clone()).collect(),
        endpoints: presence.endpoints.clone(),
        iat: now,
        exp: now + LIFE_S,
    }
}

fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
}

fn read(presence: &Presence, files: &ZoneFiles, now: u64) -> Result<State, AuthorityError> {
    let keys: Vec<_> = key::read(&files.keys())?.into_iter().map(|file| file.key).collect();
    if keys.is_empty() {
        return Err(AuthorityError::NoKey);
    }
    let book = Arc::new(Book::read(&files.book())?);
    let serial = serial(presence, &keys, files, now)?;
    Ok(State { keys, book, serial })
}

/// The serial of what the zone says now: the old one, or a higher one when it changed.
fn serial(
    presence: &Presence,
    keys: &[ZoneKey],
    files: &ZoneFiles,
    now: u64,
) -> Result<u64, AuthorityError> {
    let path = files.serial();
    let failed = |error: &dyn std::fmt::Display| {
        AuthorityError::Serial(format!("{}: {error}", path.display()))
    };
    let said = Apex { iat: 0, exp: 0, ..apex(presence, keys, 0, 0) };
    let of = Digest::of(&serde_json::to_vec(&said).map_err(|error| failed(&error))?);
    let old: Option<Serial> = match fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text).ok(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(failed(&error)),
    };
    match old {
        Some(old) if old.of == of => return Ok(old.serial),
        _ => {}
    }
    // Time makes a zone whose serial was lost higher than it was.
    let serial = old.map_or(0, |old| old.serial + 1).max(now);
    let text = serde_json::to_vec(&Serial { serial, of }).map_err(|error| failed(&error))?;
    fs::write(&path, text).map_err(|error| failed(&error))?;
    Ok(serial)
}
