//! A guest's questions as MCP requests, and what clients answer to them.
#![expect(deprecated, reason = "2026-07-28 deprecates roots, and still has them")]

use aop_core::client::{Answer, AskError, Question, Root};
use rmcp::model::{
    ElicitRequest, ElicitRequestParams, ElicitResult, ElicitationAction, ElicitationSchema,
    InputRequest, JsonObject, ListRootsRequest, ListRootsResult,
};
use serde_json::Value;
use serde_json::value::to_raw_value;
use uuid::Uuid;

use super::offers::Ability;
use super::sampling;

/// What kind of answer a question wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Of a person.
    Elicitation,
    /// Of the client's model.
    Sampling,
    /// Of the client itself.
    Roots,
}

impl Kind {
    /// Whether an answer is of this kind at all; what it says is another matter.
    pub(crate) fn fits(self, answer: &Value) -> bool {
        match self {
            Self::Elicitation => read(answer).is_some(),
            Self::Sampling => sampling::read(answer).is_some(),
            Self::Roots => roots(answer).is_some(),
        }
    }
}

/// A question as MCP has it, and the name under which its answer is expected, unless that is taken.
///
/// # Errors
/// [`AskError::Invalid`].
pub(crate) fn elicitation(question: Question) -> Result<(Ability, String, InputRequest), AskError> {
    let (ability, name, params) = match question {
        Question::Form { key, message, schema } => {
            let invalid = |error: serde_json::Error| {
                AskError::Invalid(format!("the form is none that MCP knows: {error}"))
            };
            let requested_schema: ElicitationSchema =
                serde_json::from_str(schema.get()).map_err(invalid)?;
            let name = key.unwrap_or_else(|| {
                let mut fields = requested_schema.property_order.iter().flatten();
                fields.next().map_or("form", String::as_str).to_owned()
            });
            let form = ElicitRequestParams::FormElicitationParams {
                meta: None,
                message,
                requested_schema,
            };
            (Ability::Form, name, form)
        }
        Question::Url { key, message, url } => {
            let elicitation_id = Uuid::new_v4().to_string();
            let page = ElicitRequestParams::UrlElicitationParams {
                meta: None,
                message,
                url,
                elicitation_id,
            };
            (Ability::Url, key.unwrap_or_else(|| "url".to_owned()), page)
        }
    };
    Ok((ability, name, InputRequest::Elicitation(ElicitRequest::new(params))))
}

/// Reads what a person did; none when it is no answer to an elicitation.
pub(crate) fn read(answer: &Value) -> Option<Answer> {
    let result: ElicitResult = serde_json::from_value(answer.clone()).ok()?;
    match result.action {
        ElicitationAction::Accept => {
            let content = match result.content {
                None => JsonObject::new(),
                Some(Value::Object(content)) => content,
                Some(_) => return None,
            };
            to_raw_value(&content).ok().map(Answer::Accepted)
        }
        ElicitationAction::Decline => Some(Answer::Declined),
        _ => Some(Answer::Dismissed),
    }
}

/// The request for a client's roots, and the name under which its answer is expected.
pub(crate) fn list_roots() -> (&'static str, InputRequest) {
    ("roots", InputRequest::ListRoots(ListRootsRequest::default()))
}

/// Reads the roots of a client; none when it is no answer to a request for them. What is no `file://`, which MCP does
/// not have, is left out.
pub(crate) fn roots(answer: &Value) -> Option<Vec<Root>> {
    let result: ListRootsResult = serde_json::from_value(answer.clone()).ok()?;
    let files = result.roots.into_iter().filter(|root| root.uri.starts_with("file://"));
    Some(files.map(|root| Root { uri: root.uri, name: root.name }).collect())
}
