//! Prompts: which there are, and one that was filled in.
//!
//! A prompt `code-review` of an agent `my-kit` is `my_kit_code_review` for clients, like a tool. The name belongs
//! to the agent with the longest name that it begins with, so that an agent `my` cannot answer for `my-kit` with a
//! prompt `kit-code-review`: such an entry is left out of the list. What a client's name means within its agent is
//! found by asking that agent for its list.

use std::collections::HashMap;

use aop_core::interface::Feature;
use aop_core::{AgentName, Caller, ErrorCode, Reply, ToolName};
use rmcp::ErrorData;
use rmcp::model::{GetPromptResult, JsonObject, Prompt, PromptArgument, PromptMessage};
use serde::Deserialize;
use serde_json::{Value, json};

use super::listing::{self, Entry, Source};
use super::{Paged, bad_output, check_texts, error, tag};
use crate::content::{self, BadContent, Block, Speaker, shown};
use crate::edge::{Edge, is_unknown};

/// The longest name of a prompt within its agent.
const PROMPT_NAME_MAX_CHARS: usize = 64;

/// A prompt on the menu, and what its agent calls it.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) agent: AgentName,
    /// Within the agent.
    pub(crate) name: String,
    /// As clients see it.
    pub(crate) prompt: Prompt,
}

#[derive(Deserialize)]
struct Offered {
    name: String,
    title: Option<String>,
    description: Option<String>,
    parameters: Vec<Parameter>,
}

#[derive(Deserialize)]
struct Parameter {
    name: String,
    description: Option<String>,
    required: bool,
}

const ON_THE_MENU: Source<Found> = Source { feature: Feature::PromptsList, read };

/// A page of the prompts that exist now.
///
/// # Errors
/// A cursor that this server did not give out.
pub(crate) async fn list(
    edge: &Edge,
    caller: &Caller,
    cursor: Option<&str>,
) -> Result<Paged<Prompt>, ErrorData> {
    let owners = Owners::now(edge, caller);
    let page = listing::page(edge, caller, &[ON_THE_MENU], cursor).await?;
    let is_own = |found: &Found| match owners.of(&found.prompt.name) {
        Some(owner) if *owner != found.agent => {
            let (prompt, agent) = (&found.prompt.name, &found.agent);
            tracing::warn!(agent_name = %agent, prompt, %owner, "left a prompt out of a list: its name belongs to another agent; rename the prompt or one of the agents");
            false
        }
        _ => true,
    };
    let items = page.items.into_iter().filter(is_own).map(|found| found.prompt).collect();
    Ok(Paged { items, next: page.next })
}

fn read(
    agent: &AgentName,
    json: &str,
) -> Result<Vec<Result<Entry<Found>, BadContent>>, BadContent> {
    let offered: Vec<Offered> =
        serde_json::from_str(json).map_err(|error| BadContent::new(error.to_string()))?;
    Ok(offered.into_iter().map(|offered| offered.found(agent)).collect())
}

impl Offered {
    fn found(self, agent: &AgentName) -> Result<Entry<Found>, BadContent> {
        let Self { name, title, description, parameters } = self;
        let letters = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        if name.is_empty() || name.len() > PROMPT_NAME_MAX_CHARS || !name.bytes().all(letters) {
            return Err(BadContent::new(format!(
                "the name `{}` must have 1 to {PROMPT_NAME_MAX_CHARS} of A-Z, a-z, 0-9, `_` and `-`",
                shown(&name)
            )));
        }
        check_texts(&name, title.as_deref(), description.as_deref())?;
        let arguments = parameters.into_iter().map(|parameter| {
            check_texts(&parameter.name, None, parameter.description.as_deref())?;
            let mut argument = PromptArgument::new(parameter.name);
            argument.description = parameter.description;
            Ok(argument.with_required(parameter.required))
        });
        let arguments: Vec<_> = arguments.collect::<Result<_, BadContent>>()?;
        let public = format!("{}_{}", prefix(agent), name.replace('-', "_"));
        let arguments = (!arguments.is_empty()).then_some(arguments);
        let mut prompt = Prompt::new(public.clone(), description, arguments);
        prompt.title = title;
        Ok(Entry { key: public, item: Found { agent: agent.clone(), name, prompt } })
    }
}

/// What the names of an agent's prompts begin with.
fn prefix(agent: &AgentName) -> String {
    agent.replace('-', "_")
}

/// The agents that offer prompts, by what the names of those begin with.
struct Owners(HashMap<String, AgentName>);

impl Owners {
    fn now(edge: &Edge, caller: &Caller) -> Self {
        let agents = edge.parts.catalog.offering(&caller.tenant, Feature::PromptsList);
        Self(agents.into_iter().map(|agent| (prefix(&agent), agent)).collect())
    }

    /// The agent that a name belongs to, whether it has such a prompt or not.
    fn of(&self, name: &str) -> Option<&AgentName> {
        // An agent's name is shorter than a tool's, and what a client sends may have megabytes.
        let name = &name[..name.floor_char_boundary(ToolName::LENGTH_MAX)];
        name.rmatch_indices('_').find_map(|(end, _)| self.0.get(&name[..end]))
    }
}

/// The prompt that a client means.
///
/// # Errors
/// Invalid params when there is none.
pub(crate) async fn find(edge: &Edge, caller: &Caller, name: &str) -> Result<Found, ErrorData> {
    let owners = Owners::now(edge, caller);
    let owner = owners.of(name).ok_or_else(|| unknown(name))?;
    let asked = (owner, ON_THE_MENU);
    let entries = listing::entries(edge, caller, asked, listing::deadline()).await;
    let entry = entries.into_iter().find(|entry| entry.key == name);
    entry.map(|entry| entry.item).ok_or_else(|| unknown(name))
}

/// The arguments of `get`.
///
/// # Errors
/// Invalid params: one that is required is missing, or one is no text.
pub(crate) fn get_arguments(
    found: &Found,
    arguments: Option<&JsonObject>,
) -> Result<String, ErrorData> {
    let mut given = Vec::new();
    for (name, value) in arguments.into_iter().flatten() {
        let Value::String(text) = value else {
            let reason = format!("argument `{}` must be a string", shown(name));
            return Err(ErrorData::invalid_params(reason, None));
        };
        given.push((name, text));
    }
    for parameter in found.prompt.arguments.iter().flatten() {
        let is_given = given.iter().any(|(name, _)| **name == parameter.name);
        if parameter.required == Some(true) && !is_given {
            let reason = format!("argument `{}` is required", parameter.name);
            return Err(ErrorData::invalid_params(reason, None));
        }
    }
    Ok(json!({ "name": found.name, "arguments": given }).to_string())
}

/// What an agent answered when it was asked to fill in a prompt.
///
/// # Errors
/// Invalid params when there is no such prompt or an argument is wrong, or why it cannot be given.
pub(crate) fn filled_in(
    found: &Found,
    reply: &Reply,
    is_anothers: &dyn Fn(&str) -> bool,
) -> Result<GetPromptResult, ErrorData> {
    #[derive(Deserialize)]
    struct FilledIn {
        description: Option<String>,
        messages: Vec<Message>,
    }
    #[derive(Deserialize)]
    struct Message {
        role: Speaker,
        content: Block,
    }
    let output = match &reply.result {
        Ok(output) => output,
        Err(_) if is_unknown(reply) => return Err(unknown(&found.prompt.name)),
        Err(failure) => {
            let of_guest = failure.code == ErrorCode::GuestError;
            return Err(match tag(failure).as_deref().filter(|_| of_guest) {
                Some("not_found") => unknown(&found.prompt.name),
                Some("invalid") => ErrorData::invalid_params(failure.message.clone(), None),
                _ => error(failure),
            });
        }
    };
    let filled_in: FilledIn = serde_json::from_str(output.json.get()).map_err(bad_output)?;
    let messages = filled_in.messages.into_iter().map(|Message { role, content }| {
        let content = content.into_mcp()?;
        content::owned(&content, is_anothers)?;
        Ok(PromptMessage::new(role.into(), content))
    });
    let messages = messages.collect::<Result<Vec<_>, BadContent>>().map_err(bad_output)?;
    let mut result = GetPromptResult::new(messages);
    result.description = filled_in.description;
    Ok(result)
}

fn unknown(name: &str) -> ErrorData {
    ErrorData::invalid_params(format!("Unknown prompt: {}", shown(name)), None)
}
