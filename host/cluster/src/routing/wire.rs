//! A call between nodes, as it travels: a stateless MCP `tools/call` (2026-07-28) whose `_meta` carries what
//! clients of the public port may not say.
//!
//! | `_meta` of a request | |
//! |---|---|
//! | `aop/v` | the form of what follows; a node refuses a newer one than it knows |
//! | `aop/caller` | on whose behalf, as the sending member asserts it |
//! | `aop/deadline-ms` | what is left of the call's time |
//! | `aop/agent`, `aop/feature` | the target, when it is no tool but an offer (resources, prompts, completions) |
//! | `aop/waiting`, `aop/calls-left` | the lineage: which agents wait, and what their root may still lead to |
//! | `aop/session`, `traceparent`, `progressToken` | as on the public port |
//!
//! The answer's `structuredContent` is the envelope; its `content` stays empty, since no model reads it. Its
//! `_meta` says whether guest code may have run, how the result is shown, which session continues, and how many
//! calls were made under the lineage. Both sides refuse what is too large before they read it.

use std::borrow::Cow;
use std::time::Duration;

use aop_core::bucket::SessionId;
use aop_core::interface::Feature;
use aop_core::{
    AgentId, AgentName, CallId, Caller, Envelope, ErrorCode, Failure, Output, Reply, Shown,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The form of `_meta`. Two adjacent releases work in one zone: a release reads this one and the one before.
pub(super) const FORM: u32 = 1;
/// The MCP revision.
pub(super) const PROTOCOL: &str = "2026-07-28";
/// The most bytes of a request: what the public port takes by default (4 MiB) many times over, since an agent's
/// own calls are bounded by its memory instead.
pub(super) const REQUEST_MAX_BYTES: usize = 64 << 20;
/// What an answer may have beyond the agent's output limit: the envelope, and the longest failure.
pub(super) const ANSWER_SLACK_BYTES: u64 = 1 << 20;
/// Who waits in a lineage at most; more is no lineage of this protocol.
pub(super) const WAITING_MAX: usize = 64;

/// A request.
#[derive(Serialize, Deserialize)]
pub(super) struct Request<'a> {
    pub(super) jsonrpc: Cow<'a, str>,
    pub(super) id: u32,
    pub(super) method: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) params: Params<'a>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Params<'a> {
    #[serde(borrow)]
    pub(super) name: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) arguments: &'a RawValue,
    #[serde(borrow, rename = "_meta")]
    pub(super) meta: CallMeta<'a>,
}

/// See the module's documentation.
#[derive(Serialize, Deserialize)]
pub(super) struct CallMeta<'a> {
    #[serde(rename = "io.modelcontextprotocol/protocolVersion")]
    pub(super) protocol: Cow<'a, str>,
    #[serde(rename = "io.modelcontextprotocol/clientCapabilities")]
    pub(super) capabilities: Nothing,
    #[serde(rename = "progressToken", default, skip_serializing_if = "Option::is_none")]
    pub(super) progress_token: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) traceparent: Option<Cow<'a, str>>,
    #[serde(rename = "aop/v")]
    pub(super) form: u32,
    #[serde(rename = "aop/caller")]
    pub(super) caller: Cow<'a, Caller>,
    #[serde(rename = "aop/deadline-ms")]
    pub(super) deadline_ms: u64,
    #[serde(rename = "aop/session", default, skip_serializing_if = "Option::is_none")]
    pub(super) session: Option<Cow<'a, str>>,
    #[serde(rename = "aop/agent", default, skip_serializing_if = "Option::is_none")]
    pub(super) agent: Option<Cow<'a, str>>,
    #[serde(rename = "aop/feature", default, skip_serializing_if = "Option::is_none")]
    pub(super) feature: Option<Cow<'a, str>>,
    #[serde(rename = "aop/waiting", default, skip_serializing_if = "Vec::is_empty")]
    pub(super) waiting: Vec<(AgentId, AgentName)>,
    #[serde(rename = "aop/calls-left", default)]
    pub(super) calls_left: u32,
}

/// An empty object.
#[derive(Serialize, Deserialize)]
pub(super) struct Nothing {}

/// The feature of a name in [`Feature::as_str`]'s spelling.
pub(super) fn feature_named(name: &str) -> Option<Feature> {
    Feature::ALL.iter().map(|(feature, ..)| *feature).find(|feature| feature.as_str() == name)
}

/// An answer.
#[derive(Serialize)]
struct Answer<'a> {
    jsonrpc: &'static str,
    id: u32,
    result: AnswerResult<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AnswerResult<'a> {
    result_type: &'static str,
    content: [(); 0],
    structured_content: Envelope<'a>,
    is_error: bool,
    #[serde(rename = "_meta")]
    meta: AnswerMeta<'a>,
}

#[derive(Serialize, Deserialize)]
struct AnswerMeta<'a> {
    #[serde(rename = "aop/v")]
    form: u32,
    #[serde(rename = "aop/call-id")]
    call_id: CallId,
    #[serde(rename = "aop/executed")]
    executed: bool,
    #[serde(rename = "aop/shown")]
    shown: WireShown,
    #[serde(rename = "aop/session", default, skip_serializing_if = "Option::is_none")]
    session: Option<Cow<'a, str>>,
    #[serde(rename = "aop/calls", default)]
    calls: u32,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WireShown {
    Json,
    Text,
    Content,
}

impl From<Shown> for WireShown {
    fn from(shown: Shown) -> Self {
        match shown {
            Shown::Json => Self::Json,
            Shown::Text => Self::Text,
            Shown::Content => Self::Content,
        }
    }
}

/// Writes how a call ended. `calls` were made under its lineage.
pub(super) fn answer(id: u32, reply: &Reply, calls: u32) -> Vec<u8> {
    let executed = reply.result.as_ref().err().is_none_or(|failure| failure.executed);
    let shown = reply.result.as_ref().map_or(Shown::Json, |output| output.shown);
    let answer = Answer {
        jsonrpc: "2.0",
        id,
        result: AnswerResult {
            result_type: "complete",
            content: [],
            structured_content: Envelope::new(&reply.result),
            is_error: reply.result.is_err(),
            meta: AnswerMeta {
                form: FORM,
                call_id: reply.id,
                executed,
                shown: shown.into(),
                session: reply.session.as_ref().map(|session| Cow::Borrowed(session.as_str())),
                calls,
            },
        },
    };
    // Strings, flags and raw JSON: writing them cannot fail.
    serde_json::to_vec(&answer).unwrap_or_default()
}

/// What another node answered.
pub(super) struct Answered {
    pub(super) result: Result<Output, Failure>,
    pub(super) session: Option<SessionId>,
    /// Calls made under the lineage.
    pub(super) calls: u32,
}

/// Reads an answer.
///
/// # Errors
/// What is wrong with it.
pub(super) fn read_answer(bytes: &[u8]) -> Result<Answered, serde_json::Error> {
    #[derive(Deserialize)]
    struct Whole<'a> {
        #[serde(borrow)]
        result: Inner<'a>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Inner<'a> {
        #[serde(borrow)]
        structured_content: Ended<'a>,
        #[serde(borrow, rename = "_meta")]
        meta: AnswerMeta<'a>,
    }
    #[derive(Deserialize)]
    struct Ended<'a> {
        success: bool,
        #[serde(borrow)]
        result: Option<&'a RawValue>,
        #[serde(borrow)]
        error: Option<Cow<'a, str>>,
        code: Option<ErrorCode>,
        #[serde(borrow)]
        details: Option<&'a RawValue>,
        retry_after_ms: Option<u64>,
    }
    let Inner { structured_content: ended, meta } =
        serde_json::from_slice::<Whole<'_>>(bytes)?.result;
    let result = if ended.success {
        let shown = match meta.shown {
            WireShown::Json => Shown::Json,
            WireShown::Text => Shown::Text,
            WireShown::Content => Shown::Content,
        };
        // `null` is read as none.
        let json = ended.result.map_or_else(|| RawValue::NULL.to_owned(), ToOwned::to_owned);
        Ok(Output { json, shown })
    } else {
        Err(Failure {
            code: ended.code.unwrap_or(ErrorCode::Internal),
            message: ended.error.unwrap_or_default().into_owned(),
            details: ended.details.map(ToOwned::to_owned),
            retry_after: ended.retry_after_ms.map(Duration::from_millis),
            executed: meta.executed,
        })
    };
    let session = meta.session.as_deref().and_then(SessionId::new);
    Ok(Answered { result, session, calls: meta.calls })
}

/// One report of progress.
#[derive(Serialize, Deserialize)]
pub(super) struct Report<'a> {
    jsonrpc: Cow<'a, str>,
    method: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) params: ReportParams<'a>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ReportParams<'a> {
    progress_token: u32,
    pub(super) progress: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) total: Option<f64>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(super) message: Option<Cow<'a, str>>,
}

/// Writes a report of progress.
pub(super) fn report(
    token: u32,
    progress: f64,
    total: Option<f64>,
    message: Option<&str>,
) -> Vec<u8> {
    let report = Report {
        jsonrpc: "2.0".into(),
        method: "notifications/progress".into(),
        params: ReportParams {
            progress_token: token,
            progress,
            total,
            message: message.map(Cow::Borrowed),
        },
    };
    serde_json::to_vec(&report).unwrap_or_default()
}

/// Reads a report of progress; none for any other message.
pub(super) fn read_report(bytes: &[u8]) -> Option<Report<'_>> {
    serde_json::from_slice(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reply(result: Result<Output, Failure>) -> Reply {
        Reply {
            id: CallId(uuid::Uuid::from_u128(5)),
            result,
            trace: None,
            session: SessionId::new("talk"),
        }
    }

    #[test]
    fn every_failure_stays_what_it_is() {
        for code in ErrorCode::ALL {
            for executed in [false, true] {
                let details = RawValue::from_string(r#"[{"pointer":"/a"}]"#.to_owned()).unwrap();
                let failure = Failure {
                    executed,
                    retry_after: Some(Duration::from_millis(250)),
                    details: Some(details),
                    ..Failure::before_execution(code, "no \"way\"\n")
                };
                let read = read_answer(&answer(1, &reply(Err(failure.clone())), 7)).unwrap();
                let got = read.result.unwrap_err();
                assert_eq!((got.code, got.executed), (code, executed));
                assert_eq!((got.message, got.retry_after), (failure.message, failure.retry_after));
                assert_eq!(got.details.unwrap().get(), failure.details.unwrap().get());
                assert_eq!((read.calls, read.session.unwrap().as_str()), (7, "talk"));
            }
        }
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for bad in ["", "{}", r#"{"result":{}}"#, r#"{"jsonrpc":"2.0","id":1,"error":{}}"#] {
            assert!(read_answer(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(read_report(br#"{"jsonrpc":"2.0","id":1,"result":{}}"#).is_none());
    }

    proptest! {
        #[test]
        fn results_come_back_byte_for_byte(text: String, shown in 0..3u8) {
            let json = serde_json::value::to_raw_value(&text).unwrap();
            let shown = [Shown::Json, Shown::Text, Shown::Content][usize::from(shown)];
            let sent = reply(Ok(Output { json: json.clone(), shown }));
            let got = read_answer(&answer(1, &sent, 0)).unwrap().result.unwrap();
            prop_assert_eq!((got.json.get(), got.shown), (json.get(), shown));
        }

        #[test]
        fn reports_come_back(done in 0..1_000_000u32, total in prop::option::of(0..1_000_000u32), message in prop::option::of(".*")) {
            let (progress, total) = (f64::from(done), total.map(f64::from));
            let bytes = report(1, progress, total, message.as_deref());
            let read = read_report(&bytes).unwrap().params;
            prop_assert_eq!((read.progress, read.total), (progress, total));
            prop_assert_eq!(read.message.as_deref(), message.as_deref());
        }

        #[test]
        fn no_bytes_break_the_reader(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_answer(&bytes);
            let _ = read_report(&bytes);
            let _ = serde_json::from_slice::<Request<'_>>(&bytes);
        }
    }
}
