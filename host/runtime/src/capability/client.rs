//! `aop:agent/client`: asks the client that waits for the call for several things at one time, and for its roots.
//!
//! All questions of one [`ask_many`](wit::Host::ask_many) are polled in the one future of the guest's call, so
//! dropping it withdraws them all. Every question is what [`elicit`](super::elicit) or
//! [`model`](super::model) would have asked alone, under the same rules.

use std::sync::Arc;

use aop_core::CallContext;
use aop_core::client::{AskError as Refused, Client};
use aop_core::model::ModelError;
use futures::future::{BoxFuture, join_all};

use super::elicit::Prepared as Elicitation;
use super::model::Prepared as Completion;
use crate::binding::agent_0_1_0::client::{self as wit, AskError, Question, Reply, Root};
use crate::state::State;

/// Questions of one round: more are no dialogue, and an edge keeps as many open.
pub(super) const QUESTIONS_MAX: usize = 16;
/// Roots of one client: a person opens a few directories, and a guest has to hold them.
pub(super) const ROOTS_MAX: usize = 1024;

type Asking = BoxFuture<'static, wasmtime::Result<Result<Reply, AskError>>>;

impl wit::Host for State {
    async fn ask_many(
        &mut self,
        questions: Vec<Question>,
    ) -> wasmtime::Result<Vec<Result<Reply, AskError>>> {
        if questions.len() > QUESTIONS_MAX {
            let rule =
                || Err(AskError::Invalid(format!("at most {QUESTIONS_MAX} questions at once")));
            return Ok(questions.iter().map(|_| rule()).collect());
        }
        let mut asking = Vec::with_capacity(questions.len());
        for question in questions {
            asking.push(self.prepare(question)?);
        }
        join_all(asking).await.into_iter().collect()
    }

    async fn roots(&mut self) -> wasmtime::Result<Result<Vec<Root>, AskError>> {
        Ok(roots(&*self.guest.context()?).await)
    }
}

impl State {
    /// Prepares one question. Nothing is asked before the future is polled.
    fn prepare(&mut self, question: Question) -> wasmtime::Result<Asking> {
        let context = self.guest.context()?;
        let elicitation = match question {
            Question::Form(wit::Form { key, message, fields }) => {
                Elicitation::form(key, message, fields)?
            }
            Question::Page(wit::Page { key, message, url }) => Elicitation::page(key, message, url),
            Question::Completion(request) => {
                let prepared = Completion::new(&self.guest, context, request);
                return Ok(Box::pin(async move {
                    let completed = match prepared {
                        Ok(prepared) => prepared.complete().await,
                        Err(error) => Err(error),
                    };
                    Ok(completed.map(|said| Reply::Completion(said.into())).map_err(refusal))
                }));
            }
            Question::Roots => {
                return Ok(Box::pin(async move { Ok(roots(&context).await.map(Reply::Roots)) }));
            }
        };
        Ok(Box::pin(async move {
            Ok(match elicitation {
                Ok(prepared) => prepared.ask(&context).await.map(Reply::Answer),
                Err(rule) => Err(AskError::Invalid(rule)),
            })
        }))
    }
}

/// The client of a call.
///
/// # Errors
/// There is none.
pub(super) fn client(context: &CallContext) -> Result<&Arc<dyn Client>, AskError> {
    context.client.as_ref().ok_or_else(|| {
        AskError::Unsupported(
            "nobody can be asked: the client that waits for this call takes no questions"
                .to_owned(),
        )
    })
}

impl From<Refused> for AskError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Unsupported(why) => Self::Unsupported(why),
            Refused::Invalid(why) => Self::Invalid(why),
            Refused::Failed(why) => Self::Failed(why),
        }
    }
}

async fn roots(context: &CallContext) -> Result<Vec<Root>, AskError> {
    let roots = client(context)?.roots().await?;
    if roots.len() > ROOTS_MAX {
        return Err(AskError::Failed(format!("the client has more than {ROOTS_MAX} roots")));
    }
    let root = |aop_core::client::Root { uri, name }| Root { uri, name };
    Ok(roots.into_iter().map(root).collect())
}

/// Why a model said nothing, among other questions that got no answer.
fn refusal(error: ModelError) -> AskError {
    match &error {
        ModelError::Denied(_) => AskError::Unsupported(error.to_string()),
        ModelError::Invalid(_) => AskError::Invalid(error.to_string()),
        ModelError::Budget(_) | ModelError::Busy(_) | ModelError::Unavailable(_) => {
            AskError::Failed(error.to_string())
        }
    }
}
