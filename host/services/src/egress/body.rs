//! Bodies on their way, held to what was announced and to what is allowed.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use aop_core::egress::{EgressBody, EgressError};
use bytes::{Buf as _, Bytes};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use super::Bounds;
use crate::share::Place;

type BoxError = Box<dyn Error + Send + Sync>;

/// What is wrong with the body of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum BodyError {
    #[error("the request's body is larger than {0} bytes")]
    TooLarge(u64),
    #[error("the request's body does not have the {0} bytes that it announced")]
    WrongLength(u64),
}

impl BodyError {
    /// The mistake that made hyper give up, when it was one of the body.
    pub(super) fn of(error: &hyper::Error) -> Option<Self> {
        let mut source = error.source();
        while let Some(error) = source {
            if let Some(found) = error.downcast_ref() {
                return Some(*found);
            }
            source = error.source();
        }
        None
    }
}

/// What a guest sends.
pub(super) struct RequestBody {
    inner: EgressBody,
    /// What is still to come, when the length is known.
    missing: Option<u64>,
    length: Option<u64>,
    sent: u64,
    max_bytes: u64,
    /// A server may answer before it has read all: this half of the exchange goes on.
    _place: Arc<Place>,
}

impl RequestBody {
    pub(super) fn new(
        inner: EgressBody,
        length: Option<u64>,
        max_bytes: u64,
        place: Arc<Place>,
    ) -> Self {
        Self { inner, missing: length, length, sent: 0, max_bytes, _place: place }
    }

    fn count(&mut self, bytes: u64) -> Result<(), BodyError> {
        self.sent += bytes;
        if self.sent > self.max_bytes {
            return Err(BodyError::TooLarge(self.max_bytes));
        }
        if let (Some(missing), Some(length)) = (&mut self.missing, self.length) {
            *missing = missing.checked_sub(bytes).ok_or(BodyError::WrongLength(length))?;
        }
        Ok(())
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(self.inner.as_mut().poll_frame(context)).transpose()?;
        let Some(frame) = frame else {
            let wrong = self.length.filter(|_| self.missing != Some(0));
            return Poll::Ready(wrong.map(|length| Err(BodyError::WrongLength(length).into())));
        };
        if let Some(data) = frame.data_ref() {
            self.count(data.remaining() as u64)?;
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.missing.unwrap_or(0) == 0 && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.missing.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}

/// What a server answers.
pub(super) struct ResponseBody {
    inner: Incoming,
    left_bytes: u64,
    max_bytes: u64,
    between: Duration,
    /// Runs while the reader waits for the server, not while the server waits for the reader.
    timer: Option<Pin<Box<Sleep>>>,
    /// When it is over, whoever is slow.
    end: Option<Pin<Box<Sleep>>>,
    _place: Arc<Place>,
}

impl ResponseBody {
    pub(super) fn new(inner: Incoming, bounds: &Bounds, place: Arc<Place>) -> Self {
        let max_bytes = bounds.response_max_bytes;
        Self {
            inner,
            left_bytes: max_bytes,
            max_bytes,
            between: bounds.timeouts.between_bytes,
            timer: None,
            end: bounds.end.map(|end| Box::pin(tokio::time::sleep_until(end))),
            _place: place,
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if this.end.as_mut().is_some_and(|end| end.as_mut().poll(context).is_ready()) {
            let late = "the answer took longer than its rule permits".to_owned();
            return Poll::Ready(Some(Err(EgressError::Timeout(late).into())));
        }
        let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(context) else {
            let between = this.between;
            let deadline = || Box::pin(tokio::time::sleep_until(Instant::now() + between));
            ready!(this.timer.get_or_insert_with(deadline).as_mut().poll(context));
            let late =
                EgressError::Timeout("the server stopped in the middle of its answer".to_owned());
            return Poll::Ready(Some(Err(late.into())));
        };
        this.timer = None;
        let Some(frame) = frame else { return Poll::Ready(None) };
        let frame = frame
            .map_err(|error| EgressError::Protocol(format!("the answer broke off: {error}")))?;
        let bytes = frame.data_ref().map_or(0, |data| data.remaining() as u64);
        let Some(left) = this.left_bytes.checked_sub(bytes) else {
            let message = format!("the answer is larger than {} bytes", this.max_bytes);
            return Poll::Ready(Some(Err(EgressError::Protocol(message).into())));
        };
        this.left_bytes = left;
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
