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

use crate::binding::agent_0_1_0::elicit::{self, Answer, AskError, Field};
use crate::state::State;

use form::Form;

/// What a person reads before answering.
const MESSAGE_MAX_CHARS: usize = 4096;
/// As long as a URL may be that a person is sent to.
const URL_MAX_BYTES: usize = 2048;

impl elicit::Host for State {
    async fn form(
        &mut self,
        message: String,
        fields: Vec<Field>,
    ) -> wasmtime::Result<Result<Answer, AskError>> {
        let form = match legal(&message).and_then(|()| Form::new(fields)) {
            Ok(form) => form,
            Err(rule) => return Ok(Err(AskError::Invalid(rule))),
        };
        let question = Question::Form { message, schema: form.schema()? };
        Ok(match self.ask(question).await? {
            Ok(client::Answer::Accepted(answer)) => {
                form.check(&answer).map(Answer::Accepted).map_err(AskError::Failed)
            }
            Ok(client::Answer::Declined) => Ok(Answer::Declined),
            Ok(client::Answer::Dismissed) => Ok(Answer::Dismissed),
            Err(error) => Err(error),
        })
    }

    async fn url(
        &mut self,
        message: String,
        url: String,
    ) -> wasmtime::Result<Result<Answer, AskError>> {
        if let Err(rule) = legal(&message).and_then(|()| page(&url)) {
            return Ok(Err(AskError::Invalid(rule)));
        }
        let answered = self.ask(Question::Url { message, url }).await?;
        Ok(answered.map(|answer| match answer {
            client::Answer::Accepted(_) => Answer::Accepted("{}".to_owned()),
            client::Answer::Declined => Answer::Declined,
            client::Answer::Dismissed => Answer::Dismissed,
        }))
    }
}

impl State {
    async fn ask(
        &mut self,
        question: Question,
    ) -> wasmtime::Result<Result<client::Answer, AskError>> {
        let context = self.guest.context()?;
        let Some(client) = &context.client else {
            return Ok(Err(AskError::Unsupported(
                "nobody can be asked: the client that waits for this call takes no questions"
                    .to_owned(),
            )));
        };
        Ok(client.ask(question).await.map_err(|error| match error {
            client::AskError::Unsupported(why) => AskError::Unsupported(why),
            client::AskError::Invalid(why) => AskError::Invalid(why),
            client::AskError::Failed(why) => AskError::Failed(why),
        }))
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
