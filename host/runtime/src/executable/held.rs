//! Calls that take or return handles: they run in the instance that the handles pin.

use std::sync::Arc;

use aop_core::{CallContext, ErrorCode, Failure, GuestLevel, Output};
use wasmtime::component::{ResourceAny, Val};

use super::{Agent, Decoded, answered, arm};
use crate::codec::FunctionCodec;
use crate::guest::conversation;
use crate::handles::{HandlePool, Seat, Visitor};
use crate::lane::Turn;
use crate::stream::CallError;
use crate::warm::Live;

impl Agent {
    /// Runs a function in the instance that its handles pin, or that of its conversation, or a new one.
    pub(super) async fn run_held(
        &self,
        pool: &HandlePool,
        call: &Decoded,
        context: &Arc<CallContext>,
        turn: &Arc<Turn>,
    ) -> Result<Output, Failure> {
        let taken = &call.arguments.taken;
        let codec = &self.codecs[call.function];
        let visitor = Visitor {
            caller: &context.caller,
            agent: &context.agent,
            session: context.session.get(),
        };
        let mut seat = pool.seat(visitor, taken).await?;
        if codec.returns_handles() {
            seat.check_room()?;
        }
        let resources = seat.exchange(taken)?;
        if let Some(session) = seat.session() {
            // Whoever names a handle continues its conversation.
            context.session.get_or_init(|| session);
        }
        let mut live = match seat.take() {
            Some(mut live) => {
                live.store.data_mut().begin(context, None);
                live
            }
            None => self.instantiate((context, None), turn).await?,
        };
        arm(&mut live.store, turn);
        let called = if self.linked.interface.functions[call.function].is_drop() {
            drop_all(&mut live, codec, &resources, self.output_max_bytes()).await
        } else {
            let values = lend(codec, &call.arguments.values, &resources);
            self.call(&mut live, (call.function, &values), (context, turn), Some(&mut seat)).await
        };
        let result = match called {
            Err(CallError::Wasmtime(error)) => {
                return Err(self.explain(&error, &live.store, context));
            }
            Err(CallError::Failure(failure)) => Err(failure),
            Ok(output) => Ok(output),
        };
        if answered(&result) {
            self.keep(seat, live, context)?;
        }
        result
    }

    /// Lets the instance wait for the next call on its resources.
    fn keep(&self, seat: Seat, mut live: Live, context: &CallContext) -> Result<(), Failure> {
        let state = live.store.data_mut();
        state.end();
        if !state.guest.is_empty_handed() {
            // It would keep from others what no deadline takes away from it.
            let reason = "ended an instance and its handles: it kept a request, a completion, an attempt or a file open between calls";
            state.guest.voice.say("handles", GuestLevel::Warn, reason);
            return Ok(());
        }
        state.guest.end();
        seat.keep(live, || {
            conversation(context).map_err(|reason| Failure::executed(ErrorCode::Internal, reason))
        })
    }
}

/// The arguments with resources in the places of their handles.
fn lend(codec: &FunctionCodec, values: &[Val], resources: &[ResourceAny]) -> Vec<Val> {
    let mut values = values.to_vec();
    let exchanged = codec.each_taken::<()>(&mut values, |value| {
        let Val::U32(number) = value else { return Err(()) };
        *value = Val::Resource(*resources.get(*number as usize).ok_or(())?);
        Ok(())
    });
    // Decoding numbered them. If it had not, the engine would refuse the number in the resource's place.
    debug_assert!(exchanged.is_ok());
    values
}

/// Puts handles in the places of the resources that the guest returned.
pub(super) fn give_all(
    seat: &Seat,
    codec: &FunctionCodec,
    results: &mut [Val],
) -> Result<(), Failure> {
    codec.each_returned(results, |resource, value| {
        if let Val::Resource(returned) = value {
            *value = Val::String(seat.give(resource, *returned)?.to_string());
        }
        Ok(())
    })
}

/// What the host does for every resource: its destructor runs, under the call's deadline like any function.
async fn drop_all(
    live: &mut Live,
    codec: &FunctionCodec,
    resources: &[ResourceAny],
    output_max_bytes: usize,
) -> Result<Output, CallError> {
    for resource in resources {
        resource.resource_drop_async(&mut live.store).await?;
    }
    Ok(codec.encode(&[], output_max_bytes)?)
}
