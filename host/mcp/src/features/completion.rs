//! Suggestions while a person fills in a prompt or a URI template.

use std::time::Instant;

use aop_core::interface::Feature;
use aop_core::{AgentName, Caller};
use rmcp::ErrorData;
use rmcp::model::{CompleteRequestParams, CompleteResult, CompletionInfo, Reference};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{bad_output, error, prompts, resources};
use crate::edge::{Edge, FeatureCall, is_unknown};

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
            let agent = resources::reader(edge, caller, &template.uri)
                .map_err(|error| ErrorData::invalid_params(error.message, error.data))?;
            Ok((agent, json!({ "tag": "template", "val": template.uri })))
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
