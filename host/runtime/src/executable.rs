//! The functions of one linked component under one agent's settings: validate, then run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use aop_core::fair::Parts;
use aop_core::interface::{Feature, TypeKind};
use aop_core::quota::CodeHeld;
use aop_core::settings::Lifetime;
use aop_core::{
    Arguments, BoxFuture, CallContext, ErrorCode, Executable, Failure, GuestLog, Output, Settings,
    TenantName, Violation,
};
use wasmtime::component::Val;
use wasmtime::{PoolConcurrencyLimitError, Store};

use crate::aside::aside;
use crate::capability::files::Rooms;
use crate::codec::{self, FunctionCodec, StreamEncoder};
use crate::component::Linked;
use crate::deadline::Deadline;
use crate::engine::ON_DEMAND_INSTANCES_MAX;
use crate::failure;
use crate::guest::Grants;
use crate::handles::{HandlePool, Handles, Seat};
use crate::lane::{Lane, Turn};
use crate::state::State;
use crate::stream::{self, CallError};
use crate::ticker::Ticker;
use crate::warm::{Live, Shelf, WarmPool};

mod held;

/// Data handed from guest to host in one go, as a multiple of the output limit: a list costs the
/// host 40 bytes per element while it is lifted, a base64 text 1.3 bytes per byte.
const TRANSFER_PER_OUTPUT_BYTE: u64 = 8;
/// Component-model handles that one instance may hold.
const HANDLES_MAX: usize = 4096;

/// What every executable of a host shares.
pub(crate) struct Shared {
    pub(crate) lane: Lane,
    pub(crate) ticker: Ticker,
    pub(crate) log: Arc<dyn GuestLog>,
    /// Instances that live now.
    pub(crate) live: Arc<AtomicUsize>,
    /// Those of them that wait for a call.
    pub(crate) shelf: Arc<Shelf>,
    /// Instances that live on for handles.
    pub(crate) handles: Arc<Handles>,
    /// The host's environment, of which an agent sees what its policy names.
    pub(crate) environment: Arc<BTreeMap<String, String>>,
    /// The directories in which agents write.
    pub(crate) rooms: Rooms,
    /// Instances that have no slot of the pool, of which each tenant's callers may have a part.
    pub(crate) on_demand: Parts<TenantName>,
}

/// An agent's revision, ready to be called.
pub(crate) struct Agent {
    linked: Arc<Linked>,
    codecs: Vec<FunctionCodec>,
    settings: Arc<Settings>,
    grants: Arc<Grants>,
    shared: Arc<Shared>,
    warm: Option<Arc<WarmPool>>,
    /// None for an agent that knows no handles.
    held: Option<HandlePool>,
    _code: CodeHeld,
}

/// What came over time, and is not yet one answer.
enum Came {
    Items(StreamEncoder),
    Value(Val),
}

/// Arguments that a codec decoded.
struct Decoded {
    function: usize,
    arguments: codec::Decoded,
}

impl Agent {
    pub(crate) fn new(
        linked: Arc<Linked>,
        settings: Arc<Settings>,
        shared: Arc<Shared>,
        code: CodeHeld,
    ) -> Self {
        let codecs = FunctionCodec::all(&linked.interface);
        let grants = Grants::new(Arc::clone(&settings), &shared.environment, &shared.rooms);
        let grants = Arc::new(grants);
        let warm = match settings.lifetime {
            Lifetime::Call => None,
            Lifetime::Warm { calls_max, idle_max } => Some(shared.shelf.pool(calls_max, idle_max)),
        };
        let has_handles = codecs.iter().any(FunctionCodec::has_handles);
        let held = has_handles.then(|| shared.handles.pool(&settings.limits));
        Self { linked, codecs, settings, grants, shared, warm, held, _code: code }
    }

    async fn run(&self, call: &Decoded, context: &Arc<CallContext>) -> Result<Output, Failure> {
        let _ticking = self.shared.ticker.running();
        let tenant = &context.payer.tenant;
        let _executing = tenant.execute();
        let turn = self.shared.lane.turn(&context.payer);
        let guest = async {
            let is_alone = || self.shared.ticker.count() <= tenant.executions() as usize;
            if tenant.must_take_turns(Instant::now()) && !is_alone() {
                Arc::clone(&turn).next_slice().await;
            }
            self.run_guest(call, context, &turn).await
        };
        Deadline::new(guest, Arc::clone(&turn), context)
            .await
            .unwrap_or_else(|| Err(failure::deadline(&self.settings.limits, turn.was_paused())))
    }

    async fn run_guest(
        &self,
        call: &Decoded,
        context: &Arc<CallContext>,
        turn: &Arc<Turn>,
    ) -> Result<Output, Failure> {
        let codec = &self.codecs[call.function];
        if let Some(pool) = self.held.as_ref().filter(|_| codec.has_handles()) {
            return self.run_held(pool, call, context, turn).await;
        }
        let feature = self.linked.interface.functions[call.function].feature();
        let mut live = match self.warm.as_ref().and_then(|pool| pool.take()) {
            Some(mut live) => {
                live.store.data_mut().begin(context, feature);
                live
            }
            None => self.instantiate((context, feature), turn).await?,
        };
        arm(&mut live.store, turn);
        let values = &call.arguments.values;
        let called = self.call(&mut live, (call.function, values), (context, turn), None).await;
        let result = match called {
            Err(CallError::Wasmtime(error)) => {
                return Err(self.explain(&error, &live.store, context));
            }
            Err(CallError::Failure(failure)) => Err(failure),
            Ok(output) => Ok(output),
        };
        // What idles leaves half of the places without a slot to what runs.
        let has_room = !self.linked.is_on_demand
            || self.shared.on_demand.whole().held() as usize <= ON_DEMAND_INSTANCES_MAX / 2;
        let may_wait = answered(&result)
            && has_room
            && live.store.data().guest.is_empty_handed()
            && context.payer.may_idle();
        if let Some(pool) = self.warm.as_ref().filter(|_| may_wait) {
            live.store.data_mut().guest.end();
            pool.keep(live);
        }
        result
    }

    async fn instantiate(
        &self,
        (context, feature): (&Arc<CallContext>, Option<Feature>),
        turn: &Arc<Turn>,
    ) -> Result<Live, Failure> {
        let place = match self.linked.is_on_demand {
            true => Some(self.shared.on_demand.try_place(&context.caller.tenant)),
            false => None,
        };
        let place = place.map(|place| place.ok_or_else(failure::on_demand_full)).transpose()?;
        loop {
            let mut store = self.store((context, feature), turn)?;
            let error = match self.linked.pre.instantiate_async(&mut store).await {
                Ok(instance) => return Ok(Live { store, instance, calls: 0, _place: place }),
                Err(error) => error,
            };
            // What waits for a call must not keep one from running.
            let is_full = error.is::<PoolConcurrencyLimitError>();
            if !(is_full && self.shared.shelf.evict()) {
                return Err(self.explain(&error, &store, context));
            }
        }
    }

    fn store(
        &self,
        (context, feature): (&Arc<CallContext>, Option<Feature>),
        turn: &Arc<Turn>,
    ) -> Result<Store<State>, Failure> {
        let state = State::new(
            &self.grants,
            Arc::clone(&self.shared.log),
            Arc::clone(&self.shared.live),
            (context, feature),
        )?;
        let mut store = Store::new(self.linked.pre.engine(), state);
        store.limiter(|state| &mut state.limiter);
        store.set_max_component_handles(HANDLES_MAX);
        let transfer_max =
            self.settings.limits.output_max_bytes.saturating_mul(TRANSFER_PER_OUTPUT_BYTE);
        store.set_hostcall_fuel(usize::try_from(transfer_max).unwrap_or(usize::MAX));
        arm(&mut store, turn);
        Ok(store)
    }

    /// Calls a function. `seat` takes the handles that it returns, if it can return any.
    async fn call(
        &self,
        live: &mut Live,
        (index, arguments): (usize, &[Val]),
        (context, turn): (&CallContext, &Arc<Turn>),
        seat: Option<&mut Seat>,
    ) -> Result<Output, CallError> {
        let export = self.linked.exports[index].as_ref();
        let function = export.and_then(|export| live.instance.get_func(&mut live.store, export));
        let Some(function) = function else {
            return Err(CallError::Wasmtime(wasmtime::format_err!("the function is gone")));
        };
        let interface = &self.linked.interface;
        let codec = &self.codecs[index];
        let result = interface.functions[index].result;
        let mut values = vec![Val::Bool(false); usize::from(result.is_some())];
        let payload = match result.map(|id| &interface.get(id).kind) {
            Some(TypeKind::Stream(item) | TypeKind::Future(Some(item))) => {
                &interface.get(*item).kind
            }
            _ => {
                function.call_async(&mut live.store, arguments, &mut values).await?;
                if let Some(seat) = seat {
                    held::give_all(seat, codec, &mut values)?;
                }
                return self.encode(codec, values, turn).await;
            }
        };
        let came = live
            .store
            .run_concurrent(async |accessor| -> Result<Came, CallError> {
                function.call_concurrent(accessor, arguments, &mut values).await?;
                match (values.pop(), codec.stream(self.output_max_bytes())) {
                    (Some(Val::Stream(stream)), Some(mut encoder)) => {
                        let progress = context.progress.as_ref();
                        stream::collect_stream(accessor, stream, payload, &mut encoder, progress)
                            .await?;
                        Ok(Came::Items(encoder))
                    }
                    (Some(Val::Future(future)), None) => {
                        stream::await_future(accessor, future, payload).await.map(Came::Value)
                    }
                    _ => Err(CallError::Wasmtime(wasmtime::format_err!(
                        "the function's result is not of the type it declares"
                    ))),
                }
            })
            .await??;
        match came {
            Came::Value(value) => self.encode(codec, vec![value], turn).await,
            Came::Items(items) if items.is_large() => {
                Arc::clone(turn).next_slice().await;
                Ok(aside(move || items.finish())?)
            }
            Came::Items(items) => Ok(items.finish()?),
        }
    }

    /// Encodes what a function returned. What is large waits for its turn like a guest that computes for long.
    async fn encode(
        &self,
        codec: &FunctionCodec,
        values: Vec<Val>,
        turn: &Arc<Turn>,
    ) -> Result<Output, CallError> {
        let limit_bytes = self.output_max_bytes();
        if let Some(encoded) = codec.encode_at_once(&values, limit_bytes) {
            return Ok(encoded?);
        }
        Arc::clone(turn).next_slice().await;
        // They are given back there, too: a list has an allocation for each string in it.
        Ok(aside(move || codec.encode(&values, limit_bytes))?)
    }

    fn output_max_bytes(&self) -> usize {
        usize::try_from(self.settings.limits.output_max_bytes).unwrap_or(usize::MAX)
    }

    fn explain(
        &self,
        error: &wasmtime::Error,
        store: &Store<State>,
        context: &CallContext,
    ) -> Failure {
        failure::from_wasmtime(error, store.data().limiter.refused(), &self.settings, context)
    }
}

/// Whether the guest said all it had to say. One that answered an error is as good as one that answered a value.
fn answered(result: &Result<Output, Failure>) -> bool {
    result.as_ref().err().is_none_or(|failure| failure.code == ErrorCode::GuestError)
}

/// Makes the guest queue for its turn after every slice (one epoch tick).
fn arm(store: &mut Store<State>, turn: &Arc<Turn>) {
    let turn = Arc::clone(turn);
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(move |_| {
        Ok(wasmtime::UpdateDeadline::YieldCustom(1, Arc::clone(&turn).next_slice()))
    });
}

impl Executable for Agent {
    fn validate(&self, function: usize, arguments: &str) -> Result<Arguments, Vec<Violation>> {
        let arguments = self.codecs[function].decode(arguments)?;
        Ok(Arguments(Box::new(Decoded { function, arguments })))
    }

    fn execute<'a>(
        &'a self,
        function: usize,
        arguments: &'a Arguments,
        context: &'a Arc<CallContext>,
    ) -> BoxFuture<'a, Result<Output, Failure>> {
        Box::pin(async move {
            match arguments.0.downcast_ref::<Decoded>() {
                Some(call) if call.function == function => self.run(call, context).await,
                _ => Err(Failure::before_execution(
                    ErrorCode::Internal,
                    "the arguments were validated for another function",
                )),
            }
        })
    }
}
