//! JSON-RPC messages, borrowed from the bytes they arrived in.
//!
//! One scan decides whether the bytes may be parsed at all (UTF-8, nesting), one strict parse reads
//! the two hot requests without copying, and one lenient parse tells what anything else is. None of
//! them builds a value tree.

use std::borrow::Cow;

use aop_core::bucket::SessionId;
use rmcp::model::{ClientCapabilities, RequestId, RequestMetaObject};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;

/// The revision that needs no session.
pub(crate) const STATELESS_REVISION: &str = "2026-07-28";

/// Bytes that are UTF-8 and not nested too deeply.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scanned<'a> {
    /// The message.
    pub(crate) text: &'a str,
    /// Whether a string escapes a UTF-16 surrogate. Raw values are not decoded while parsing, so a
    /// lone surrogate would pass unnoticed: such messages take the path that decodes everything.
    pub(crate) surrogates: bool,
    /// Objects and arrays in it, which cost a tree of values a hundred times their bytes.
    pub(crate) containers: usize,
}

/// Objects and arrays of a message that is read as a tree: some 20 MB of memory while it is read.
pub(crate) const CONTAINERS_MAX: usize = 20_000;
/// The same in each of the members that are kept for as long as a session, a stream or a call that waits.
const KEPT_CONTAINERS_MAX: usize = 256;
/// Bytes of each of these members: a client may have its icons in its description.
const KEPT_MAX_BYTES: usize = 256 << 10;

/// Why bytes are not worth parsing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ScanError {
    #[error("Parse error: the message is not UTF-8")]
    Encoding,
    #[error("Parse error: the message is nested deeper than {0} levels")]
    Depth(usize),
}

/// Checks encoding and nesting in one pass, without recursion.
pub(crate) fn scan(bytes: &[u8], depth_max: usize) -> Result<Scanned<'_>, ScanError> {
    let text = std::str::from_utf8(bytes).map_err(|_| ScanError::Encoding)?;
    let (mut depth, mut surrogates, mut containers) = (0_usize, false, 0_usize);
    let mut bytes = bytes.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => surrogates |= skip_string(&mut bytes),
            b'{' | b'[' => {
                depth += 1;
                containers += 1;
                if depth > depth_max {
                    return Err(ScanError::Depth(depth_max));
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(Scanned { text, surrogates, containers })
}

/// Goes past the end of a string. Whether it escapes a surrogate.
fn skip_string(bytes: &mut std::slice::Iter<'_, u8>) -> bool {
    let mut surrogates = false;
    while let Some(byte) = bytes.find(|byte| matches!(byte, b'"' | b'\\')) {
        if *byte == b'"' {
            break;
        }
        surrogates |= matches!(bytes.as_slice(), [b'u', b'd' | b'D', ..]);
        bytes.next();
    }
    surrogates
}

/// What a message is, as far as anyone has to know before `rmcp` reads it.
#[derive(Debug, Default)]
pub(crate) struct Outline<'a> {
    /// The request's id, when it has a usable one.
    pub(crate) id: Option<RequestId>,
    /// The method of a request or notification.
    pub(crate) method: Option<Cow<'a, str>>,
    /// The id that a `notifications/cancelled` names.
    pub(crate) cancels: Option<RequestId>,
    /// Whether it declares the stateless revision with all that belongs to it.
    pub(crate) stateless: bool,
}

/// Why a message is not a JSON-RPC message.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutlineError {
    #[error("Parse error: the message is not valid JSON: {0}")]
    Json(serde_json::Error),
    #[error("Invalid Request: batches were removed from MCP; send one message at a time")]
    Batch,
    #[error("Invalid Request: a message must be a JSON object")]
    NotAnObject,
    #[error(
        "Invalid Request: `{0}` may have at most {KEPT_MAX_BYTES} bytes with {KEPT_CONTAINERS_MAX} objects and arrays"
    )]
    Bulky(&'static str),
}

/// Reads the outline of any message.
pub(crate) fn outline(text: &str) -> Result<Outline<'_>, OutlineError> {
    match text.trim_start().as_bytes().first() {
        Some(b'{') => {}
        _ => {
            // Broken JSON is a parse error whatever it starts with.
            serde_json::from_str::<IgnoredAny>(text).map_err(OutlineError::Json)?;
            let batch = text.trim_start().starts_with('[');
            return Err(if batch { OutlineError::Batch } else { OutlineError::NotAnObject });
        }
    }
    #[derive(Deserialize)]
    struct Members<'a> {
        #[serde(borrow)]
        id: Option<&'a RawValue>,
        #[serde(borrow)]
        method: Option<&'a RawValue>,
        #[serde(borrow)]
        params: Option<&'a RawValue>,
    }
    serde_json::from_str::<IgnoredAny>(text).map_err(OutlineError::Json)?;
    // Valid JSON that this does not fit (a member twice) is left for rmcp to judge.
    let Ok(members) = serde_json::from_str::<Members<'_>>(text) else {
        return Ok(Outline::default());
    };
    let method = members.method.and_then(|raw| serde_json::from_str::<Text<'_>>(raw.get()).ok());
    let params =
        members.params.and_then(|raw| serde_json::from_str::<OutlineParams<'_>>(raw.get()).ok());
    let params = params.unwrap_or_default();
    for (name, kept) in [
        ("_meta", params.meta),
        ("capabilities", params.capabilities),
        ("clientInfo", params.client),
    ] {
        if kept.is_some_and(is_bulky) {
            return Err(OutlineError::Bulky(name));
        }
    }
    let meta = params.meta.and_then(|raw| serde_json::from_str::<Meta<'_>>(raw.get()).ok());
    Ok(Outline {
        id: members.id.and_then(request_id),
        method: method.map(|text| text.0),
        cancels: params.request_id.and_then(request_id),
        stateless: meta.is_some_and(|meta| meta.is_stateless()),
    })
}

#[derive(Deserialize, Default)]
struct OutlineParams<'a> {
    #[serde(borrow, rename = "requestId")]
    request_id: Option<&'a RawValue>,
    #[serde(borrow, rename = "_meta")]
    meta: Option<&'a RawValue>,
    #[serde(borrow)]
    capabilities: Option<&'a RawValue>,
    #[serde(borrow, rename = "clientInfo")]
    client: Option<&'a RawValue>,
}

fn is_bulky(kept: &RawValue) -> bool {
    let text = kept.get();
    text.len() > KEPT_MAX_BYTES
        || scan(text.as_bytes(), usize::MAX)
            .is_ok_and(|scanned| scanned.containers > KEPT_CONTAINERS_MAX)
}

fn request_id(raw: &RawValue) -> Option<RequestId> {
    serde_json::from_str(raw.get()).ok()
}

/// `Cow` alone never borrows when it is deserialized on its own.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// A `tools/call` or `tools/list` request of the plain kind: nothing but the members below, none
/// of them twice.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    /// The id as it was sent: a string or an integer.
    pub(crate) id: &'a RawValue,
    /// The same, for looking it up.
    pub(crate) key: RequestId,
    /// What is asked.
    pub(crate) method: Method<'a>,
    /// The `_meta` of the params; empty when there is none.
    pub(crate) meta: Meta<'a>,
    /// The conversation to continue.
    pub(crate) session: Option<SessionId>,
}

/// What a plain request asks.
#[derive(Debug)]
pub(crate) enum Method<'a> {
    /// `tools/call`
    Call {
        /// The tool.
        name: Cow<'a, str>,
        /// A JSON object as text.
        arguments: &'a str,
    },
    /// `tools/list`
    List {
        /// Where to go on.
        cursor: Option<Cow<'a, str>>,
    },
}

impl Method<'_> {
    /// The method's name.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Call { .. } => "tools/call",
            Self::List { .. } => "tools/list",
        }
    }
}

/// The members of a request's `_meta` that matter here. Others are the client's own.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Meta<'a> {
    #[serde(borrow, rename = "io.modelcontextprotocol/protocolVersion")]
    pub(crate) protocol_version: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "io.modelcontextprotocol/clientCapabilities")]
    capabilities: Option<&'a RawValue>,
    #[serde(rename = "progressToken")]
    progress_token: Option<IgnoredAny>,
    #[serde(rename = "io.modelcontextprotocol/logLevel")]
    log_level: Option<IgnoredAny>,
    #[serde(borrow, rename = "aop/session")]
    session: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) traceparent: Option<Cow<'a, str>>,
}

impl Meta<'_> {
    /// Whether it carries everything that the stateless revision asks of a request.
    pub(crate) fn is_stateless(&self) -> bool {
        self.protocol_version.as_deref() == Some(STATELESS_REVISION)
            && self.capabilities.is_some_and(|raw| {
                raw.get() == "{}" || serde_json::from_str::<ClientCapabilities>(raw.get()).is_ok()
            })
    }

    /// The conversation to continue.
    ///
    /// # Errors
    /// [`BadSession`].
    fn session(&self) -> Result<Option<SessionId>, BadSession> {
        let Some(raw) = self.session else { return Ok(None) };
        let text: Text<'_> = serde_json::from_str(raw.get()).map_err(|_| BadSession)?;
        SessionId::new(&text.0).map(Some).ok_or(BadSession)
    }

    /// Whether it says nothing of a revision, as before the stateless one.
    pub(crate) const fn is_sessional(&self) -> bool {
        self.protocol_version.is_none() && self.capabilities.is_none()
    }
}

/// The conversation that a request wants to continue has no possible name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("_meta[\"aop/session\"] must be 1 to {} visible ASCII characters", SessionId::LENGTH_MAX)]
pub(crate) struct BadSession;

/// The conversation that the `_meta` of a request wants to continue.
///
/// # Errors
/// [`BadSession`].
pub(crate) fn session(meta: &RequestMetaObject) -> Result<Option<SessionId>, BadSession> {
    match meta.get("aop/session") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => SessionId::new(text).map(Some).ok_or(BadSession),
        Some(_) => Err(BadSession),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlainRequest<'a> {
    #[serde(borrow)]
    jsonrpc: Cow<'a, str>,
    #[serde(borrow)]
    id: &'a RawValue,
    #[serde(borrow)]
    method: Cow<'a, str>,
    #[serde(borrow)]
    params: Option<PlainParams<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlainParams<'a> {
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
    #[serde(borrow)]
    cursor: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "_meta")]
    meta: Option<Meta<'a>>,
}

/// Reads a plain request; none when the message is anything else, right or wrong.
pub(crate) fn plain<'a>(scanned: Scanned<'a>) -> Option<Request<'a>> {
    if scanned.surrogates {
        return None;
    }
    let request = serde_json::from_str::<PlainRequest<'a>>(scanned.text).ok()?;
    if request.jsonrpc != "2.0" {
        return None;
    }
    let key = plain_id(request.id)?;
    let params = request.params.unwrap_or_default();
    let meta = params.meta.unwrap_or_default();
    // Progress and log lines come before the answer: they need a stream.
    if meta.progress_token.is_some() || meta.log_level.is_some() {
        return None;
    }
    let session = meta.session().ok()?;
    let method = match (&*request.method, params.name, params.arguments, params.cursor) {
        ("tools/call", Some(name), arguments, None) => {
            let arguments = arguments.map_or("{}", RawValue::get);
            if !arguments.starts_with('{') {
                return None;
            }
            Method::Call { name, arguments }
        }
        ("tools/list", None, None, cursor) => Method::List { cursor },
        _ => return None,
    };
    Some(Request { id: request.id, key, method, meta, session })
}

/// An id whose text can be sent back as it is: rmcp would spell `1.0` as `1`.
fn plain_id(raw: &RawValue) -> Option<RequestId> {
    let text = raw.get();
    if text.starts_with('"') {
        return serde_json::from_str(text).ok();
    }
    let number = text.parse::<i64>().ok()?;
    (number != 0 || text == "0").then_some(RequestId::Number(number))
}

/// The arguments of a `tools/call` as they were sent; `{}` when there are none.
pub(crate) fn arguments(message: &[u8]) -> Option<&str> {
    #[derive(Deserialize)]
    struct Whole<'a> {
        #[serde(borrow)]
        params: Params<'a>,
    }
    #[derive(Deserialize)]
    struct Params<'a> {
        #[serde(borrow)]
        arguments: Option<&'a RawValue>,
    }
    let whole = serde_json::from_slice::<Whole<'_>>(message).ok()?;
    Some(whole.params.arguments.map_or("{}", RawValue::get))
}

/// Whether the parameters of a request have a cursor, of whichever type.
pub(crate) fn has_cursor(message: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Whole<'a> {
        #[serde(borrow)]
        params: Option<Params<'a>>,
    }
    #[derive(Deserialize)]
    struct Params<'a> {
        #[serde(borrow)]
        cursor: Option<&'a RawValue>,
    }
    let whole = serde_json::from_slice::<Whole<'_>>(message);
    whole.is_ok_and(|whole| whole.params.is_some_and(|params| params.cursor.is_some()))
}

#[cfg(test)]
mod tests;
