//! `aop:agent/elicit`: asks the person behind the client.
//!
//! A guest describes a form in types; [`form`] makes the schema of it that MCP allows, and holds the
//! answer against the same description before the guest sees it: neither a guest nor a client can get
//! anything past the other that the form does not have.

mod form;
mod formats;
#[cfg(test)]
mod tests;

use aop_core::client::{self, Question};
use aop_core::{AgentName, CallContext};

use super::client::client;
use crate::binding::agent_0_1_0::elicit::{self, Answer, AskError, Field};
use crate::state::State;

use form::Form;

/// What a person reads before answering.
const MESSAGE_MAX_CHARS: usize = 4096;
/// As long as a URL may be that a person is sent to.
const URL_MAX_BYTES: usize = 2048;
/// The longest name of a question: a word or two, as clients may show it.
const KEY_MAX_CHARS: usize = 64;

impl elicit::Host for State {
    async fn form(
        &mut self,
        message: String,
        fields: Vec<Field>,
    ) -> wasmtime::Result<Result<Answer, AskError>> {
        let context = self.guest.context()?;
        Ok(match Prepared::form(None, message, fields)? {
            Ok(prepared) => prepared.ask(&context).await,
            Err(rule) => Err(AskError::Invalid(rule)),
        })
    }

    async fn url(
        &mut self,
        message: String,
        url: String,
    ) -> wasmtime::Result<Result<Answer, AskError>> {
        let context = self.guest.context()?;
        Ok(match Prepared::page(None, message, url) {
            Ok(prepared) => prepared.ask(&context).await,
            Err(rule) => Err(AskError::Invalid(rule)),
        })
    }
}

/// A question that keeps the rules, and what its answer is held against.
pub(super) struct Prepared {
    question: Question,
    /// None for a page.
    form: Option<Form>,
}

impl Prepared {
    /// A form. The outer error is none that a guest could cause, the inner one the rule that it breaks.
    pub(super) fn form(
        key: Option<String>,
        message: String,
        fields: Vec<Field>,
    ) -> Result<Result<Self, String>, serde_json::Error> {
        let checked = legal(&message).and_then(|()| named(key.as_deref()));
        let form = match checked.and_then(|()| Form::new(fields)) {
            Ok(form) => form,
            Err(rule) => return Ok(Err(rule)),
        };
        let question = Question::Form { key, message, schema: form.schema()? };
        Ok(Ok(Self { question, form: Some(form) }))
    }

    /// A page.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub(super) fn page(key: Option<String>, message: String, url: String) -> Result<Self, String> {
        legal(&message)?;
        named(key.as_deref())?;
        page(&url)?;
        Ok(Self { question: Question::Url { key, message, url }, form: None })
    }

    /// Asks the client of a call.
    ///
    /// # Errors
    /// Why there is no answer, or that the answer does not fit the form.
    pub(super) async fn ask(self, context: &CallContext) -> Result<Answer, AskError> {
        let question = match &context.lineage {
            None => self.question,
            Some(_) => attributed(self.question, &context.agent),
        };
        Ok(match (client(context)?.ask(question).await?, self.form) {
            (client::Answer::Accepted(answer), Some(form)) => {
                form.check(&answer).map(Answer::Accepted).map_err(AskError::Failed)?
            }
            (client::Answer::Accepted(_), None) => Answer::Accepted("{}".to_owned()),
            (client::Answer::Declined, _) => Answer::Declined,
            (client::Answer::Dismissed, _) => Answer::Dismissed,
        })
    }
}

/// The question of an agent that another agent called. It says who asks, since the person called somebody else, and
/// its name is one of that agent's own: what was answered in advance was meant for the agent that was called.
fn attributed(question: Question, agent: &AgentName) -> Question {
    let name = |key: Option<String>, kind: &str| {
        Some(format!("{agent}/{}", key.as_deref().unwrap_or(kind)))
    };
    // On one line: on a line of its own, anything could claim that somebody else asks it.
    let breaks = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    let asks = |message: String| format!("{agent} asks: {}", message.replace(breaks, " "));
    match question {
        Question::Form { key, message, schema } => {
            Question::Form { key: name(key, "form"), message: asks(message), schema }
        }
        Question::Url { key, message, url } => {
            Question::Url { key: name(key, "url"), message: asks(message), url }
        }
    }
}

/// Whether a message can be shown.
fn legal(message: &str) -> Result<(), String> {
    if message.trim().is_empty() {
        return Err("the message is empty: say what the question is about".to_owned());
    }
    if message.chars().count() > MESSAGE_MAX_CHARS {
        return Err(format!("the message has more than {MESSAGE_MAX_CHARS} characters"));
    }
    Ok(())
}

/// Whether a question may have this name.
fn named(key: Option<&str>) -> Result<(), String> {
    let is_word = |key: &str| {
        let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        (1..=KEY_MAX_CHARS).contains(&key.len()) && key.bytes().all(is_legal)
    };
    if key.is_none_or(is_word) {
        return Ok(());
    }
    Err(format!("the name of a question must be 1 to {KEY_MAX_CHARS} letters, digits, `_` or `-`"))
}

/// Whether a person may be sent to a URL.
fn page(url: &str) -> Result<(), String> {
    if url.len() > URL_MAX_BYTES {
        return Err(format!("the URL has more than {URL_MAX_BYTES} bytes"));
    }
    let uri: http::Uri = url.parse().map_err(|error| format!("not a URL: {error}"))?;
    if !matches!(uri.scheme_str(), Some("https" | "http")) {
        return Err("the URL must be absolute and begin with https:// or http://".to_owned());
    }
    let authority = uri.authority().map_or("", http::uri::Authority::as_str);
    if authority.contains('@') {
        // What is before the sign looks like the host to a person.
        return Err("the URL must not hold a user name".to_owned());
    }
    if uri.host().is_none_or(str::is_empty) {
        return Err("the URL names no host".to_owned());
    }
    Ok(())
}
