//! Results that arrive over time: `stream<T>` is collected into a list under the output limit (and
//! told as progress while it grows), `future<T>` into its value.
//!
//! wasmtime types payloads statically, so only strings and primitives can be collected; others were
//! refused when the component was derived.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use aop_core::interface::TypeKind;
use aop_core::{Failure, Progress};
use futures::StreamExt as _;
use futures::channel::mpsc;
use wasmtime::StoreContextMut;
use wasmtime::component::{
    Accessor, FutureAny, FutureConsumer, Lift, Source, StreamAny, StreamConsumer, StreamResult, Val,
};

use crate::codec::StreamEncoder;
use crate::state::State;

/// Items on their way from the guest to the collector. The guest waits while it is full.
const ITEMS_IN_FLIGHT_MAX: usize = 64;

/// Why a call did not come to a result.
pub(crate) enum CallError {
    /// It ended in a failure of its own.
    Failure(Failure),
    /// wasmtime stopped it.
    Wasmtime(wasmtime::Error),
}

impl From<Failure> for CallError {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<wasmtime::Error> for CallError {
    fn from(error: wasmtime::Error) -> Self {
        Self::Wasmtime(error)
    }
}

/// A payload that can be collected.
trait Item: Lift + Send + Sync + Unpin + 'static {
    fn into_val(self) -> Val;
}

macro_rules! items {
    ($($type:ty => $val:ident,)*) => {$(
        impl Item for $type {
            fn into_val(self) -> Val { Val::$val(self) }
        }
    )*};
}

items! {
    bool => Bool,
    u8 => U8,
    u16 => U16,
    u32 => U32,
    u64 => U64,
    i8 => S8,
    i16 => S16,
    i32 => S32,
    i64 => S64,
    f32 => Float32,
    f64 => Float64,
    char => Char,
    String => String,
}

/// Calls `$function::<T>($arguments)` for the payload type of `$kind`.
macro_rules! for_payload {
    ($kind:expr, $function:ident($($argument:expr),*)) => {
        match $kind {
            TypeKind::Bool => $function::<bool>($($argument),*).await,
            TypeKind::U8 => $function::<u8>($($argument),*).await,
            TypeKind::U16 => $function::<u16>($($argument),*).await,
            TypeKind::U32 => $function::<u32>($($argument),*).await,
            TypeKind::U64 => $function::<u64>($($argument),*).await,
            TypeKind::S8 => $function::<i8>($($argument),*).await,
            TypeKind::S16 => $function::<i16>($($argument),*).await,
            TypeKind::S32 => $function::<i32>($($argument),*).await,
            TypeKind::S64 => $function::<i64>($($argument),*).await,
            TypeKind::F32 => $function::<f32>($($argument),*).await,
            TypeKind::F64 => $function::<f64>($($argument),*).await,
            TypeKind::Char => $function::<char>($($argument),*).await,
            TypeKind::String => $function::<String>($($argument),*).await,
            other => Err(CallError::Wasmtime(wasmtime::format_err!(
                "a stream or future of {other:?} cannot be collected"
            ))),
        }
    };
}

/// Collects a stream of `payload` into `encoder`, under the output limit.
pub(crate) async fn collect_stream(
    accessor: &Accessor<State>,
    stream: StreamAny,
    payload: &TypeKind,
    encoder: &mut StreamEncoder,
    progress: Option<&Arc<dyn Progress>>,
) -> Result<(), CallError> {
    for_payload!(payload, stream_of(accessor, stream, encoder, progress))
}

/// Waits for a future of `payload`.
pub(crate) async fn await_future(
    accessor: &Accessor<State>,
    future: FutureAny,
    payload: &TypeKind,
) -> Result<Val, CallError> {
    for_payload!(payload, future_of(accessor, future))
}

async fn stream_of<T: Item>(
    accessor: &Accessor<State>,
    stream: StreamAny,
    encoder: &mut StreamEncoder,
    progress: Option<&Arc<dyn Progress>>,
) -> Result<(), CallError> {
    let (sender, mut receiver) = mpsc::channel(ITEMS_IN_FLIGHT_MAX);
    accessor.with(|access| {
        stream
            .try_into_stream_reader::<T>()?
            .pipe(access, Collector { sender, waiting: Vec::new() })
    })?;
    let mut count: u32 = 0;
    while let Some(item) = receiver.next().await {
        let item = item.into_val();
        let json = encoder.push(&item)?;
        count = count.saturating_add(1);
        if let Some(progress) = progress {
            let text = if let Val::String(text) = &item { text } else { json };
            progress.report(f64::from(count), None, Some(text));
        }
    }
    Ok(())
}

async fn future_of<T: Item>(
    accessor: &Accessor<State>,
    future: FutureAny,
) -> Result<Val, CallError> {
    let (sender, mut receiver) = mpsc::channel(1);
    accessor.with(|access| {
        future
            .try_into_future_reader::<T>()?
            .pipe(access, Collector { sender, waiting: Vec::new() })
    })?;
    receiver.next().await.map(T::into_val).ok_or_else(|| {
        CallError::Wasmtime(wasmtime::format_err!("the agent dropped its future without a value"))
    })
}

/// The host's end: takes items as long as the collector keeps up.
struct Collector<T> {
    sender: mpsc::Sender<T>,
    waiting: Vec<T>,
}

impl<T> Collector<T> {
    /// Passes on what waits. Ready when nothing does.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<wasmtime::Result<()>> {
        while let Some(item) = self.waiting.pop() {
            match self.sender.poll_ready(cx) {
                Poll::Ready(Ok(())) => {
                    self.sender
                        .start_send(item)
                        .map_err(|_| wasmtime::format_err!("not collected"))?;
                }
                Poll::Ready(Err(_)) => {
                    return Poll::Ready(Err(wasmtime::format_err!("not collected")));
                }
                Poll::Pending => {
                    self.waiting.push(item);
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: Item> StreamConsumer<State> for Collector<T> {
    type Item = T;

    fn poll_consume(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut store: StoreContextMut<State>,
        mut source: Source<'_, T>,
        _finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let this = self.get_mut();
        if this.waiting.is_empty() {
            let count = source.remaining(&mut store).min(ITEMS_IN_FLIGHT_MAX);
            let mut items = Vec::with_capacity(count);
            source.read(&mut store, &mut items)?;
            items.reverse();
            this.waiting = items;
        }
        this.poll_drain(cx).map_ok(|()| StreamResult::Completed)
    }
}

impl<T: Item> FutureConsumer<State> for Collector<T> {
    type Item = T;

    fn poll_consume(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut store: StoreContextMut<State>,
        mut source: Source<'_, T>,
        _finish: bool,
    ) -> Poll<wasmtime::Result<()>> {
        let this = self.get_mut();
        if this.waiting.is_empty() {
            let mut value: Option<T> = None;
            source.read(&mut store, &mut value)?;
            this.waiting.extend(value);
        }
        this.poll_drain(cx)
    }
}
