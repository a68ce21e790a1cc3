//! One line of the log: what it says, and how it is tied to the line before it.
//!
//! A line is a JSON object whose last member is the SHA-256 of everything before it in that very line, and
//! whose member before that is the hash of the line above. So each hash stands for the whole log up to there.

use std::time::SystemTime;

use aop_core::audit::{Action, AuditEvent, Outcome};
use aop_core::{AgentName, Digest, TenantName};
use serde::{Deserialize, Serialize};

/// The longest line: its texts are bounded below, and JSON may write a character as six bytes.
pub(super) const LINE_MAX_BYTES: usize = 16 << 10;
/// The longest name of an actor, in bytes: a credential's name, an agent's.
const WHO_MAX_BYTES: usize = 256;
/// The longest subject, in bytes: a digest, a key's prefix, a secret's name.
const SUBJECT_MAX_BYTES: usize = 256;
/// The longest detail, in bytes: a sentence, with the host of a refused request in it.
const DETAIL_MAX_BYTES: usize = 1 << 10;
/// What the hash of a line stands behind.
const HASH_MEMBER: &str = ",\"hash\":\"";

/// An event that waits to be written.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) time: SystemTime,
    pub(super) who: String,
    pub(super) action: Action,
    pub(super) outcome: Outcome,
    pub(super) tenant: Option<TenantName>,
    pub(super) agent: Option<AgentName>,
    pub(super) subject: String,
    pub(super) detail: String,
    /// How many events it stands for.
    pub(super) count: u64,
}

impl Record {
    pub(super) fn new(event: AuditEvent<'_>, time: SystemTime) -> Self {
        Self {
            time,
            who: clip(&event.who.to_string(), WHO_MAX_BYTES),
            action: event.action,
            outcome: event.outcome,
            tenant: event.tenant.cloned(),
            agent: event.agent.cloned(),
            subject: clip(event.subject, SUBJECT_MAX_BYTES),
            detail: clip(event.detail, DETAIL_MAX_BYTES),
            count: 1,
        }
    }
}

impl Record {
    /// Stands for events of many kinds from now on: none of them may seem to be the one who did all of it. Of which
    /// tenant they are stays.
    pub(super) fn generalise(&mut self, who: &str, why: &str) {
        let detail = format!("{why}, such as: {} {}", self.subject, self.detail);
        (self.agent, self.who) = (None, who.to_owned());
        self.subject.clear();
        self.detail = clip(&detail, DETAIL_MAX_BYTES);
    }
}

fn clip(text: &str, bytes_max: usize) -> String {
    text[..text.floor_char_boundary(bytes_max)].to_owned()
}

/// A place in the chain: a line's number, and its hash. Of an empty log: 0 and zeros.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainPlace {
    /// Counted from 1.
    pub seq: u64,
    /// 64 hexadecimal digits.
    pub hash: String,
}

impl ChainPlace {
    /// Where a log begins.
    pub(super) fn start() -> Self {
        Self { seq: 0, hash: "0".repeat(64) }
    }
}

impl std::fmt::Display for ChainPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.seq, self.hash)
    }
}

impl std::str::FromStr for ChainPlace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_hash = |hash: &str| {
            hash.len() == 64 && hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        text.trim()
            .split_once(':')
            .filter(|(_, hash)| is_hash(hash))
            .and_then(|(seq, hash)| Some(Self { seq: seq.parse().ok()?, hash: hash.to_owned() }))
            .ok_or_else(|| {
                format!("`{text}` must be a line's number, a colon and its hash, as `aop audit verify` prints them")
            })
    }
}

/// What a line says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditLine {
    /// Counted from 1, over all files.
    pub seq: u64,
    /// When, in UTC.
    pub time: String,
    /// By whom.
    pub who: String,
    /// What.
    pub action: String,
    /// How it ended.
    pub outcome: String,
    /// Whose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Which agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// What it was done to.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub subject: String,
    /// More in words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// How many events it stands for.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub count: u64,
    /// The hash of the line above.
    pub prev: String,
    /// The hash of this line without itself.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hash: String,
}

/// A time as lines have it: in UTC and of one length, so that times compare as text.
#[must_use]
pub fn timestamp(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}

const fn one() -> u64 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde asks for")]
const fn is_one(count: &u64) -> bool {
    *count == 1
}

/// Writes a record as the line after `place`, with its end, and answers its own place.
pub(super) fn seal(
    record: &Record,
    place: &ChainPlace,
) -> Result<(String, ChainPlace), serde_json::Error> {
    let line = AuditLine {
        seq: place.seq + 1,
        time: timestamp(record.time),
        who: record.who.clone(),
        action: record.action.as_str().to_owned(),
        outcome: record.outcome.as_str().to_owned(),
        tenant: record.tenant.as_ref().map(ToString::to_string),
        agent: record.agent.as_ref().map(ToString::to_string),
        subject: record.subject.clone(),
        detail: record.detail.clone(),
        count: record.count,
        prev: place.hash.clone(),
        hash: String::new(),
    };
    let mut text = serde_json::to_string(&line)?;
    // The brace that closes the object comes after the hash.
    text.pop();
    let hash = Digest::of(text.as_bytes()).hex();
    text.push_str(HASH_MEMBER);
    text.push_str(&hash);
    text.push_str("\"}\n");
    Ok((text, ChainPlace { seq: line.seq, hash }))
}

/// Reads a line, without its end.
///
/// # Errors
/// Why it is none, or that it was changed.
pub(super) fn open(text: &[u8]) -> Result<AuditLine, &'static str> {
    let text = std::str::from_utf8(text).map_err(|_| "it is not text")?;
    let line: AuditLine =
        serde_json::from_str(text).map_err(|_| "it is not a line of an audit log")?;
    let (sealed, hash) =
        text.rsplit_once(HASH_MEMBER).ok_or("it does not end with its own hash")?;
    if hash.strip_suffix("\"}") != Some(line.hash.as_str()) {
        return Err("it does not end with its own hash");
    }
    if Digest::of(sealed.as_bytes()).hex() != line.hash {
        return Err("its contents do not fit its hash: it was changed");
    }
    Ok(line)
}
