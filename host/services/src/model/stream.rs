//! A completion that is read while it is written.

use std::sync::Arc;

use aop_core::BoxFuture;
use aop_core::model::{CompletionEvent, CompletionStream, ModelError};
use futures::StreamExt as _;
use rig_core::ProviderError;
use rig_core::completion::CompletionRequest;
use rig_core::streaming::{CompletionStream as Streamed, Item, StreamEvent};

use super::failure::Trouble;
use super::{Begun, Counts, Model, quietly, translate};

/// A stream whose first item arrived: until then, it can be tried again.
pub(super) struct Opened {
    stream: Streamed,
    first: Option<Item<StreamEvent>>,
}

pub(super) async fn open(
    model: &Model,
    request: CompletionRequest,
) -> Result<Opened, ProviderError> {
    let mut stream = model.stream(request)?;
    let first = stream.next().await.transpose()?;
    Ok(Opened { stream, first })
}

pub(super) struct Writing {
    /// None after the last event.
    opened: Option<Opened>,
    begun: Begun,
    counts: Arc<Counts>,
}

impl Writing {
    pub(super) fn new(opened: Opened, begun: Begun, counts: Arc<Counts>) -> Self {
        Self { opened: Some(opened), begun, counts }
    }

    async fn advance(&mut self) -> Result<Option<CompletionEvent>, ProviderError> {
        let Some(opened) = &mut self.opened else { return Ok(None) };
        loop {
            let item = match opened.first.take() {
                Some(item) => Some(item),
                None => opened.stream.next().await.transpose()?,
            };
            match item {
                Some(Item::Event(StreamEvent::Text { text, .. })) if !text.is_empty() => {
                    self.begun.reservation.wrote(translate::tokens_of(text.len()));
                    return Ok(Some(CompletionEvent::Text(text)));
                }
                Some(_) => {}
                None => break,
            }
        }
        let Some(opened) = self.opened.take() else { return Ok(None) };
        let response = opened.stream.finish().await?;
        let completion =
            translate::completion(response, &self.begun.name, self.begun.reservation.size());
        self.begun.reservation.settle(completion.usage);
        self.counts.completed(completion.usage);
        Ok(Some(CompletionEvent::Done(completion)))
    }
}

impl CompletionStream for Writing {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<CompletionEvent>, ModelError>> {
        Box::pin(async move {
            let outcome = quietly(self.advance()).await;
            outcome.map_err(|error| {
                self.opened = None;
                let trouble =
                    Trouble::of(&error, &self.begun.provider.config, (self.begun.clock)());
                self.counts.failed(&trouble.error);
                trouble.error
            })
        })
    }
}
