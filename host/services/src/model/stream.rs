//! A completion that is read while it is written.

use aop_core::BoxFuture;
use aop_core::model::{CompletionEvent, CompletionStream, ModelError};
use futures::StreamExt as _;
use rig_core::ProviderError;
use rig_core::completion::CompletionRequest;
use rig_core::streaming::{CompletionStream as Streamed, Item, StreamEvent};
use tokio::time::Instant;

use super::cover::Pieces;
use super::{Begun, Model, quietly};
use crate::share::Place;

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
    /// None once nothing more is read.
    place: Option<Place>,
    since: Instant,
    /// What is written, without the key.
    text: Pieces,
    /// Whether all of it was read.
    is_read: bool,
}

impl Writing {
    pub(super) fn new(opened: Opened, begun: Begun, place: Place, since: Instant) -> Self {
        let text = Pieces::new(begun.cover());
        Self { opened: Some(opened), begun, place: Some(place), since, text, is_read: false }
    }

    async fn advance(&mut self) -> Result<Option<CompletionEvent>, ProviderError> {
        let Some(opened) = &mut self.opened else { return Ok(None) };
        while !self.is_read {
            let item = match opened.first.take() {
                Some(item) => Some(item),
                None => opened.stream.next().await.transpose()?,
            };
            let shown = match item {
                Some(Item::Event(StreamEvent::Text { text, .. })) => self.text.push(text),
                Some(_) => continue,
                None => {
                    self.is_read = true;
                    self.text.rest()
                }
            };
            if !shown.is_empty() {
                return Ok(Some(CompletionEvent::Text(shown)));
            }
        }
        let Some(opened) = self.opened.take() else { return Ok(None) };
        let response = opened.stream.finish().await?;
        self.place = None;
        let completion = self.begun.completion(response);
        self.begun.reservation.settle(completion.usage);
        self.begun.provider.counts.completed(completion.usage, self.since);
        Ok(Some(CompletionEvent::Done(completion)))
    }
}

impl CompletionStream for Writing {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<CompletionEvent>, ModelError>> {
        Box::pin(async move {
            let outcome = quietly(self.advance()).await;
            outcome.map_err(|error| {
                (self.opened, self.place) = (None, None);
                let trouble = self.begun.trouble(&error);
                self.begun.provider.counts.failed(&trouble.error, self.since);
                trouble.error
            })
        })
    }
}
