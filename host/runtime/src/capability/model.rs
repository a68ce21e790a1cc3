//! `aop:agent/model`: talks to the language model that the operator bound to the agent.
//!
//! The binding is the operator's: its prompt comes first, its limits hold whatever the guest asks, and
//! its budget per call is counted here, over all attempts of the call. Budgets per day, keys and
//! retries are the provider's ([`Models`](aop_core::model::Models)); the connected client's own model
//! ([`ModelBinding::CLIENT`]) is asked directly.

#[cfg(test)]
mod tests;
mod translate;
mod usage;

use std::collections::VecDeque;
use std::sync::Arc;

use aop_core::model::{
    self, Completion, CompletionEvent, CompletionRequest, CompletionStream, ModelBinding, Spender,
};
use aop_core::{Asked, CallContext, Meter};
use tokio::sync::OwnedSemaphorePermit;
use wasmtime::component::Resource;

use crate::binding::agent_0_1_0::model::{self as wit, Binding, Event, ModelError, Request};
use crate::guest::{Bounded, Guest, services};
use crate::state::State;

/// A completion that the guest reads while it is written.
#[expect(unreachable_pub, reason = "bindings name it publicly, inside a private module")]
pub struct Streaming {
    source: Source,
    /// What it will have cost at most, until it is known.
    held: Option<Held>,
    _place: OwnedSemaphorePermit,
}

/// Where the events come from.
enum Source {
    Provider(Box<dyn CompletionStream>),
    /// They are known already; none when the completion has ended.
    Written(VecDeque<CompletionEvent>),
}

impl wit::Host for State {
    async fn bound(&mut self) -> wasmtime::Result<Option<Binding>> {
        let bound = self.guest.grants.settings.model.as_ref();
        Ok(bound.map(|bound| Binding { model: bound.name.clone(), max_loops: bound.max_loops }))
    }

    async fn complete(
        &mut self,
        request: Request,
    ) -> wasmtime::Result<Result<wit::Completion, ModelError>> {
        let context = self.guest.context()?;
        let completed = match Prepared::new(&self.guest, context, request) {
            Ok(prepared) => prepared.complete().await,
            Err(error) => Err(error),
        };
        Ok(completed.map(Into::into).map_err(Into::into))
    }

    async fn complete_streaming(
        &mut self,
        request: Request,
    ) -> wasmtime::Result<Result<Resource<Streaming>, ModelError>> {
        let context = self.guest.context()?;
        let place = match self.guest.place(Bounded::Completions) {
            Ok(place) => place,
            Err(rule) => return Ok(Err(ModelError::Denied(rule))),
        };
        let begun = match Prepared::new(&self.guest, context, request) {
            Ok(prepared) => prepared.begin().await,
            Err(error) => Err(error),
        };
        Ok(match begun {
            Ok((source, held)) => {
                Ok(self.table.push(Streaming { source, held: Some(held), _place: place })?)
            }
            Err(error) => Err(error.into()),
        })
    }
}

impl wit::HostCompletionStream for State {
    async fn next(
        &mut self,
        stream: Resource<Streaming>,
    ) -> wasmtime::Result<Result<Option<Event>, ModelError>> {
        let stream = self.table.get_mut(&stream)?;
        Ok(stream.next().await.map(|event| event.map(Into::into)).map_err(Into::into))
    }

    async fn drop(&mut self, stream: Resource<Streaming>) -> wasmtime::Result<()> {
        self.table.delete(stream)?;
        Ok(())
    }
}

/// Tokens of the call's budget that are set aside for a completion. What is not settled stays spent:
/// nobody can say what a completion cost that was not read to its end.
struct Held {
    meter: Arc<Meter>,
    tokens: u64,
}

impl Held {
    /// Sets aside what a completion may write, or says that the budget is used up.
    fn take(
        meter: &Arc<Meter>,
        bound: &ModelBinding,
        request: &mut CompletionRequest,
    ) -> Result<Self, model::ModelError> {
        let left = bound.tokens_per_call.saturating_sub(meter.tokens());
        if left == 0 {
            return Err(model::ModelError::Budget(format!(
                "the call has used its {} tokens",
                bound.tokens_per_call
            )));
        }
        let left = u32::try_from(left).unwrap_or(u32::MAX);
        let tokens = request.max_tokens.unwrap_or(bound.max_tokens).min(left);
        request.max_tokens = Some(tokens);
        meter.add_tokens(tokens.into());
        Ok(Self { meter: Arc::clone(meter), tokens: tokens.into() })
    }

    /// Spends what the completion really took.
    fn settle(self, usage: model::Usage) {
        self.release();
        self.meter.add_tokens(usage.input_tokens.saturating_add(usage.output_tokens));
    }

    /// Spends nothing: there was no completion.
    fn release(&self) {
        self.meter.return_tokens(self.tokens);
    }
}

/// A request as it is sent.
pub(super) struct Prepared {
    context: Arc<CallContext>,
    bound: ModelBinding,
    request: CompletionRequest,
    held: Held,
}

impl Prepared {
    pub(super) fn new(
        guest: &Guest,
        context: Arc<CallContext>,
        request: Request,
    ) -> Result<Self, model::ModelError> {
        guest.voice.saw(Asked::Model, guest.grants.settings.model.is_some());
        let Some(bound) = guest.grants.settings.model.clone() else {
            let rule = "no model is bound to the agent";
            guest.voice.refuse(rule, &["model"]);
            return Err(model::ModelError::Denied(rule.to_owned()));
        };
        let mut request =
            translate::request(&bound, request).map_err(model::ModelError::Invalid)?;
        let held = Held::take(&context.meter, &bound, &mut request)?;
        Ok(Self { context, bound, request, held })
    }

    pub(super) async fn complete(self) -> Result<Completion, model::ModelError> {
        let Self { context, bound, request, held } = self;
        let completed = if bound.provider == ModelBinding::CLIENT {
            sample(&context, &bound, request).await
        } else {
            match services(&context).map_err(unavailable) {
                Ok(services) => services.models.complete(&spender(&context), &bound, request).await,
                Err(error) => Err(error),
            }
        };
        match &completed {
            Ok(completion) => held.settle(completion.usage),
            Err(_) => held.release(),
        }
        completed
    }

    async fn begin(self) -> Result<(Source, Held), model::ModelError> {
        let Self { context, bound, request, held } = self;
        let begun = if bound.provider == ModelBinding::CLIENT {
            sample(&context, &bound, request).await.map(Source::written)
        } else {
            match services(&context).map_err(unavailable) {
                Ok(services) => {
                    let begun = services.models.stream(&spender(&context), &bound, request).await;
                    begun.map(Source::Provider)
                }
                Err(error) => Err(error),
            }
        };
        match begun {
            Ok(source) => Ok((source, held)),
            Err(error) => {
                held.release();
                Err(error)
            }
        }
    }
}

fn spender(context: &CallContext) -> Spender {
    Spender {
        tenant: context.caller.tenant.clone(),
        owner: context.owner.clone(),
        agent: context.agent_id,
        payer: Arc::clone(&context.payer),
    }
}

fn unavailable(failure: aop_core::Failure) -> model::ModelError {
    model::ModelError::Unavailable(failure.message)
}

/// Asks the model of the client that waits for the call. MCP has no words for what a completion took, so it is
/// estimated; a budget that counted nothing would bind nobody.
async fn sample(
    context: &CallContext,
    bound: &ModelBinding,
    request: CompletionRequest,
) -> Result<Completion, model::ModelError> {
    let Some(client) = &context.client else {
        return Err(model::ModelError::Unavailable(
            "the agent's model is the client's own, and the client of this call offers none"
                .to_owned(),
        ));
    };
    let read = usage::of_request(&request);
    let most = model::Usage {
        input_tokens: read,
        output_tokens: request.max_tokens.unwrap_or(bound.max_tokens).into(),
    };
    // Without a host around the call there is no day to count.
    let models = context.services.as_ref().map(|services| &services.models);
    let reserved = models.map(|models| models.reserve(&spender(context), bound, most));
    let mut reserved = reserved.transpose()?;
    let mut completed = client.sample(request).await;
    if let Ok(completion) = &mut completed
        && completion.usage == model::Usage::default()
    {
        let written = usage::of_parts(&completion.parts);
        completion.usage = model::Usage { input_tokens: read, output_tokens: written };
    }
    if let Some(reserved) = &mut reserved {
        reserved.settle(completed.as_ref().map_or_else(|_| model::Usage::default(), |c| c.usage));
    }
    completed
}

impl Source {
    /// A client answers with the whole at once: its text is told first, as anybody's is.
    fn written(completion: Completion) -> Self {
        let texts = completion.parts.iter().filter_map(|part| match part {
            model::Part::Text(text) => Some(CompletionEvent::Text(text.clone())),
            model::Part::Image { .. }
            | model::Part::ToolCall { .. }
            | model::Part::ToolResult { .. } => None,
        });
        let mut events: VecDeque<_> = texts.collect();
        events.push_back(CompletionEvent::Done(completion));
        Self::Written(events)
    }
}

impl Streaming {
    async fn next(&mut self) -> Result<Option<CompletionEvent>, model::ModelError> {
        let event = match &mut self.source {
            Source::Provider(stream) => stream.next().await,
            Source::Written(events) => Ok(events.pop_front()),
        };
        let ended = match &event {
            Ok(Some(CompletionEvent::Text(_))) => return event,
            Ok(Some(CompletionEvent::Done(completion))) => Some(completion.usage),
            Ok(None) | Err(_) => None,
        };
        // What fails on its way has cost something, and nobody says how much: it stays spent.
        if let Some((held, usage)) = self.held.take().zip(ended) {
            held.settle(usage);
        }
        self.source = Source::Written(VecDeque::new());
        event
    }
}
