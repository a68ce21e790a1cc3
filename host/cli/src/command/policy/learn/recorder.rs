//! What an agent asked for while it was watched.
//!
//! A guest chooses most of it, so it is bounded: [`FINDINGS_MAX`] different things, each cut to [`TEXT_MAX_BYTES`]; what
//! is more is counted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use aop_core::{Asked, Witness};
use http::{Method, Uri};

/// Different things that are kept: several times what a policy may list.
const FINDINGS_MAX: usize = 1024;
/// What is kept of a host, a path or a name. A rule may have twice as much.
const TEXT_MAX_BYTES: usize = 1024;

/// One thing that an agent wants, as it is told apart from others. In the order of a policy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Want {
    Request(Request),
    /// The host that leads to private addresses.
    PrivateAddress(String),
    Read(String),
    Write(String),
    Environment,
    Tool(String),
    Search,
    SharedState,
    Model,
    Clock,
    Random,
}

/// A request, without its query, which no rule looks at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Request {
    pub(super) scheme: String,
    pub(super) host: String,
    /// None for the scheme's own.
    pub(super) port: Option<u16>,
    pub(super) path: String,
    pub(super) method: String,
}

/// How it was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Finding {
    /// In which calls, by their place.
    pub(super) calls: BTreeSet<usize>,
    /// Whether it was ever refused.
    pub(super) is_refused: bool,
}

/// Everything that was asked for.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    pub(super) findings: BTreeMap<Want, Finding>,
    /// What found no place.
    pub(super) more: u64,
}

/// Writes down what an agent asks for in the call that runs.
#[derive(Default)]
pub(super) struct Recorder(Mutex<(usize, Seen)>);

impl Recorder {
    /// Begins the call of that place. Calls run one after another, so that what is asked for belongs to one.
    pub(super) fn begin(&self, call: usize) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0 = call;
    }

    /// What was seen so far.
    pub(super) fn seen(&self) -> Seen {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1.clone()
    }
}

impl Witness for Recorder {
    fn saw(&self, asked: Asked<'_>, granted: bool) {
        let want = Want::of(asked);
        let mut guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (call, seen) = &mut *guard;
        if seen.findings.len() >= FINDINGS_MAX && !seen.findings.contains_key(&want) {
            seen.more += 1;
            return;
        }
        let finding = seen.findings.entry(want).or_default();
        finding.calls.insert(*call);
        finding.is_refused |= !granted;
    }
}

impl Want {
    fn of(asked: Asked<'_>) -> Self {
        match asked {
            Asked::Request(method, uri) => Self::Request(Request::of(method, uri)),
            Asked::PrivateAddress(uri) => Self::PrivateAddress(host(uri)),
            Asked::Tool(name) => Self::Tool(clip(name)),
            Asked::Search => Self::Search,
            Asked::Environment => Self::Environment,
            Asked::Read(directory) => Self::Read(clip(directory)),
            Asked::Write(directory) => Self::Write(clip(directory)),
            Asked::Model => Self::Model,
            Asked::SharedState => Self::SharedState,
            Asked::Clock => Self::Clock,
            Asked::Random => Self::Random,
        }
    }
}

impl Request {
    fn of(method: &Method, uri: &Uri) -> Self {
        Self {
            scheme: clip(uri.scheme_str().unwrap_or_default()),
            host: host(uri),
            port: uri.port_u16(),
            path: clip(uri.path()),
            method: clip(method.as_str()),
        }
    }

    /// Whether its path is only the beginning of one.
    pub(super) const fn is_cut(&self) -> bool {
        // A character of more bytes may not fit to the very end.
        self.path.len() + 4 > TEXT_MAX_BYTES
    }
}

/// A host by its plain name: it is the same in upper case, and with a dot at its end.
fn host(uri: &Uri) -> String {
    let host = uri.host().unwrap_or_default();
    clip(&host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase())
}

fn clip(text: &str) -> String {
    text[..text.floor_char_boundary(TEXT_MAX_BYTES)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_guest_asks_for_without_end_is_counted_and_not_kept() {
        let recorder = Recorder::default();
        for number in 0..2000 {
            recorder.saw(Asked::Tool(&format!("tool_{number}")), false);
        }
        recorder.saw(Asked::Tool("tool_1"), false);
        recorder.saw(Asked::Tool(&"x".repeat(1 << 20)), false);
        let seen = recorder.seen();
        assert_eq!(seen.findings.len(), FINDINGS_MAX);
        assert_eq!(seen.more, 977);
        let recorder = Recorder::default();
        recorder.saw(Asked::Tool(&"ä".repeat(1 << 20)), false);
        let seen = recorder.seen();
        let Some(Want::Tool(name)) = seen.findings.keys().next() else { panic!("it is a tool") };
        assert_eq!(name.len(), TEXT_MAX_BYTES);
    }

    #[test]
    fn one_thing_is_one_finding_of_all_its_calls() {
        let recorder = Recorder::default();
        let ask = |url: &str, granted| {
            recorder.saw(Asked::Request(&Method::GET, &url.parse().unwrap()), granted);
        };
        recorder.begin(1);
        ask("https://Example.com./a?token=1", true);
        recorder.begin(4);
        ask("https://example.com/a?token=2", false);
        let seen = recorder.seen();
        let found: Vec<_> = seen.findings.into_iter().collect();
        let [(Want::Request(request), finding)] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((request.host.as_str(), request.path.as_str()), ("example.com", "/a"));
        assert_eq!(
            (finding.calls.iter().copied().collect(), finding.is_refused),
            (vec![1, 4], true)
        );
    }
}
