//! Suggestions while a person fills in a prompt or a URI template.

use std::time::Instant;

use aop_core::interface::Feature;
use aop_core::{AgentName, Caller, Offer};
use rmcp::ErrorData;
use rmcp::model::{CompleteRequestParams, CompleteResult, CompletionInfo, Reference};
use serde::Deserialize;
use serde_json::{Value, json};

use super::resources::Reader;
use super::{bad_output, error, prompts};
use crate::edge::{Edge, FeatureCall, is_unknown};

/// The longest suggestion: what a URI template is filled in with has to fit into a URI.
const VALUE_MAX_BYTES: usize = Offer::URI_MAX_BYTES;

/// What could be filled in. An agent that suggests nothing suggests nothing: that is no error.
///
/// # Errors
/// Invalid params when there is no such prompt or scheme, or why the agent cannot say.
pub(crate) async fn complete(
    edge: &Edge,
    caller: &Caller,
    request: CompleteRequestParams,
) -> Result<CompleteResult, ErrorData> {
    let (agent, subject) = subject(edge, caller, &request.r#ref).await?;
    let known = request.context.and_then(|context| context.arguments).unwrap_or_default();
    let mut known: Vec<_> = known.into_iter().collect();
    known.sort();
    let arguments = json!({
        "subject": subject,
        "name": request.argument.name,
        "value": request.argument.value,
        "known": known,
    });
    let call = FeatureCall {
        caller,
        agent: &agent,
        feature: Feature::CompletionComplete,
        arguments: &arguments.to_string(),
        received: Instant::now(),
        timeout: Some(edge.config.list_timeout),
        progress: None,
        client: None,
    };
    let reply = edge.feature(call).await;
    match &reply.result {
        Ok(output) => suggestions(output.json.get()),
        Err(_) if is_unknown(&reply) => Ok(CompleteResult::default()),
        Err(failure) => Err(error(failure)),
    }
}

/// Whom to ask, and about what.
async fn subject(
    edge: &Edge,
    caller: &Caller,
    reference: &Reference,
) -> Result<(AgentName, Value), ErrorData> {
    match reference {
        Reference::Prompt(prompt) => {
            let found = prompts::find(edge, caller, &prompt.name).await?;
            Ok((found.agent, json!({ "tag": "prompt", "val": found.name })))
        }
        Reference::Resource(template) => {
            let reader = Reader::of(edge, caller, &template.uri)
                .map_err(|error| ErrorData::invalid_params(error.message, error.data))?;
            let subject = json!({ "tag": "template", "val": template.uri });
            Ok((reader.agent().clone(), subject))
        }
        _ => Err(ErrorData::invalid_params("this kind of reference has no suggestions", None)),
    }
}

fn suggestions(json: &str) -> Result<CompleteResult, ErrorData> {
    #[derive(Deserialize)]
    struct Suggestions {
        values: Vec<String>,
        total: Option<u32>,
        has_more: bool,
    }
    let Suggestions { mut values, total, mut has_more } =
        serde_json::from_str(json).map_err(bad_output)?;
    let offered = values.len();
    values.retain(|value| value.len() <= VALUE_MAX_BYTES);
    if values.len() < offered {
        let count = offered - values.len();
        tracing::warn!(count, "left out suggestions of more than {VALUE_MAX_BYTES} bytes");
    }
    if values.len() > CompletionInfo::MAX_VALUES {
        values.truncate(CompletionInfo::MAX_VALUES);
        has_more = true;
    }
    // An agent that counts wrong must not have a client show fewer than it got.
    let total = total.map(|total| total.max(u32::try_from(values.len()).unwrap_or(u32::MAX)));
    let completion =
        CompletionInfo::with_pagination(values, total, has_more).map_err(bad_output)?;
    Ok(CompleteResult::new(completion))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggestions_are_bounded() {
        let offered = |values: &[String], total: Option<u32>| {
            let json = json!({ "values": values, "total": total, "has_more": false });
            suggestions(&json.to_string()).unwrap().completion
        };
        let many = vec!["x".repeat(VALUE_MAX_BYTES); 101];
        let found = offered(&many, Some(3));
        assert_eq!((found.values.len(), found.total, found.has_more), (100, Some(100), Some(true)));
        let long = ["a".to_owned(), "x".repeat(VALUE_MAX_BYTES + 1), "\u{e9}".to_owned()];
        assert_eq!(offered(&long, None).values, ["a", "\u{e9}"]);
    }
}
