//! One entry of `http` under `[policy]`: a rule, or a table with a rule and what belongs to it.

use std::time::Duration;

use super::super::super::keys::{Bounds, Entries, Entry, Form, Key, Row, reference};
use super::narrow;
use crate::policy::HttpGrant;
use crate::policy::http_grant::{HEADERS_MAX, HttpLimits, InjectedHeader};

/// Longest rule: longer URLs are refused by most servers.
const RULE_CHARS_MAX: usize = 2048;

/// An entry while it is read.
#[derive(Default)]
struct Draft {
    permit: Option<String>,
    headers: Vec<InjectedHeader>,
    plaintext: bool,
    limits: HttpLimits,
}

pub(super) fn read(mut entry: Entry<'_, '_>) -> Result<HttpGrant, String> {
    if let Some(rule) = entry.as_text() {
        return rule.parse();
    }
    let mut draft = Draft::default();
    entry.read(KEYS, &mut draft);
    let Draft { permit, headers, plaintext, limits } = draft;
    let permit =
        permit.ok_or("it needs `permit`, like `permit = \"GET https://api.example.com/v1/*\"`")?;
    HttpGrant { rule: permit.parse()?, headers, plaintext, limits }.check()
}

pub(super) fn rows() -> Vec<Row> {
    reference(KEYS)
}

static KEYS: &[Key<Draft>] = &[
    Key {
        name: "permit",
        meaning: "The requests, as a rule.",
        form: Form::Text {
            chars_max: RULE_CHARS_MAX,
            get: |draft| draft.permit.clone(),
            set: |draft, text| {
                draft.permit = Some(text.to_owned());
                Ok(())
            },
        },
    },
    Key {
        name: "headers",
        meaning: "A header that the host sets in the place of the agent's own: `Authorization = \"Bearer {secret:NAME}\"`. The agent never sees the secret; its rule must name one host, over https.",
        form: Form::Open {
            placeholder: "<header>",
            entries_max: HEADERS_MAX,
            read: read_headers,
            rows: || {
                vec![Row {
                    key: String::new(),
                    form: "text".to_owned(),
                    default: String::new(),
                    bounds: "at most 1024 characters".to_owned(),
                    meaning: "A header that the host sets in the place of the agent's own: `Authorization = \"Bearer {secret:NAME}\"`. The agent never sees the secret; its rule must name one host, over https.".to_owned(),
                }]
            },
        },
    },
    Key::flag(
        "plaintext",
        "Secrets may go over plain HTTP, where everybody on the way reads them.",
        |draft| Some(draft.plaintext),
        |draft, flag| draft.plaintext = flag,
    ),
    Key {
        name: "request_max",
        meaning: "The largest body of such a request; by default, the host's own limit.",
        form: Form::Size {
            bounds: SIZE,
            get: |draft| draft.limits.request_max_bytes.unwrap_or(SIZE.max),
            set: |draft, bytes| draft.limits.request_max_bytes = Some(bytes),
        },
    },
    Key {
        name: "response_max",
        meaning: "The largest body of its answer; by default, the host's own limit.",
        form: Form::Size {
            bounds: SIZE,
            get: |draft| draft.limits.response_max_bytes.unwrap_or(SIZE.max),
            set: |draft, bytes| draft.limits.response_max_bytes = Some(bytes),
        },
    },
    Key::time(
        "timeout",
        "How long it may take, from sending to the end of the answer; by default, what the call has left.",
        TIME,
        |draft| draft.limits.timeout.unwrap_or(TIME.max),
        |draft, time| draft.limits.timeout = Some(time),
    ),
    Key::count(
        "connections_max",
        "Such requests of the agent at one time, over all its instances; each has a connection of its own.",
        COUNT,
        |draft| draft.limits.connections_max.map_or(COUNT.max, u64::from),
        |draft, count| draft.limits.connections_max = Some(narrow(count)),
    ),
];

const SIZE: Bounds<u64> =
    Bounds::new(0, 64 << 30, "0 permits no body, and bodies are not held in memory");
const TIME: Bounds<Duration> = Bounds::new(
    Duration::from_millis(100),
    Duration::from_secs(24 * 60 * 60),
    "a connection takes a while, and no call lasts longer than a day",
);
const COUNT: Bounds<u64> = Bounds::new(1, 100_000, "a rule that permits none should be removed");

fn read_headers(draft: &mut Draft, entries: &mut Entries<'_, '_>) {
    entries.each(|name, entry| {
        let value = entry.as_text().ok_or("the value of a header must be text")?;
        draft.headers.push(InjectedHeader::new(name, value)?);
        Ok(())
    });
}
