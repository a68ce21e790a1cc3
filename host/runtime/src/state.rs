//! What a store holds for one instance: its WASI view, its limits, and the call it serves.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use aop_core::audit::{Action, Actor, Outcome};
use aop_core::interface::Feature;
use aop_core::{
    AgentName, Asked, Audit, AuditEvent, CallContext, CallId, Failure, GuestLevel, GuestLine,
    GuestLog, Settings, TenantName, Witness,
};
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::WasiHttpCtx;

use crate::capability::files::Descriptors;
use crate::capability::stdio::{GuestOutput, Stream};
use crate::capability::surroundings;
use crate::guest::{Grants, Guest};
use crate::limiter::InstanceLimiter;

/// Random bytes that a guest may ask for at once. More is an attack on the host's memory.
const RANDOM_MAX_BYTES: u64 = 1 << 20;
/// WASI resources (streams, pollables, HTTP fields and bodies, …) that one instance may hold. Each may
/// buffer on the host, outside the instance's own memory.
const RESOURCES_MAX: usize = 512;

/// One set of HTTP headers that a guest builds.
const HTTP_FIELDS_MAX_BYTES: usize = 8 << 10;

/// The data of a store.
pub(crate) struct State {
    /// Made when it is first needed, unless it has directories to open: many agents need none, and it costs an eighth of
    /// what a call of such a one takes.
    wasi: Option<Wasi>,
    pub(crate) table: ResourceTable,
    pub(crate) http: WasiHttpCtx,
    pub(crate) limiter: InstanceLimiter,
    pub(crate) guest: Guest,
    pub(crate) descriptors: Descriptors,
    _counted: Counted,
}

/// What WASI shows of the machine.
struct Wasi {
    context: WasiCtx,
    /// Standard output and error, for the line that each has not ended.
    outputs: [GuestOutput; 2],
}

/// Where an instance's lines go, and under whose name.
pub(crate) struct Voice {
    log: Arc<dyn GuestLog>,
    /// None around a call without a host.
    audit: Option<Arc<dyn Audit>>,
    witness: Option<Arc<dyn Witness>>,
    agent: AgentName,
    /// The call that is served now and whose agent it is; a warm instance serves many, one after another.
    call: Mutex<(CallId, TenantName)>,
    lines_per_second: u32,
}

impl Voice {
    pub(crate) fn new(
        log: Arc<dyn GuestLog>,
        settings: &Settings,
        context: &CallContext,
    ) -> Arc<Self> {
        Arc::new(Self {
            log,
            audit: context.services.as_ref().map(|services| Arc::clone(&services.audit)),
            witness: context.services.as_ref().and_then(|services| services.witness.clone()),
            agent: context.agent.clone(),
            call: Mutex::new((context.id, context.owner.clone())),
            lines_per_second: settings.limits.log_lines_per_second,
        })
    }

    pub(crate) fn say(&self, context: &str, level: GuestLevel, text: &str) {
        let (call, tenant) = self.call.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.log.line(GuestLine {
            tenant: &tenant,
            agent: &self.agent,
            call,
            context,
            level,
            text,
            lines_per_second: self.lines_per_second,
        });
    }

    /// Whether anybody wants to know what the guest asks for.
    pub(crate) const fn is_witnessed(&self) -> bool {
        self.witness.is_some()
    }

    /// Tells the witness, if there is one.
    pub(crate) fn saw(&self, asked: Asked<'_>, granted: bool) {
        if let Some(witness) = &self.witness {
            witness.saw(asked, granted);
        }
    }

    /// Writes down that a setting refused something.
    pub(crate) fn note_refusal(&self, setting: &str, rule: &str) {
        let Some(audit) = &self.audit else { return };
        let tenant = self.call.lock().unwrap_or_else(PoisonError::into_inner).1.clone();
        audit.note(AuditEvent {
            who: Actor::Agent(&self.agent),
            action: Action::PolicyRefuse,
            outcome: Outcome::Refused,
            tenant: Some(&tenant),
            agent: Some(&self.agent),
            subject: setting,
            detail: rule,
        });
    }

    fn begin(&self, context: &CallContext) {
        let mut call = self.call.lock().unwrap_or_else(PoisonError::into_inner);
        call.0 = context.id;
        if call.1 != context.owner {
            call.1 = context.owner.clone();
        }
    }
}

impl State {
    /// The state of a new instance that serves a call.
    ///
    /// # Errors
    /// `internal` when a directory that the operator granted cannot be opened.
    pub(crate) fn new(
        grants: &Arc<Grants>,
        log: Arc<dyn GuestLog>,
        live: Arc<AtomicUsize>,
        (context, feature): (&Arc<CallContext>, Option<Feature>),
    ) -> Result<Self, Failure> {
        let settings = &grants.settings;
        let voice = Voice::new(log, settings, context);
        let has_directories = !grants.policy.directories.is_empty();
        let wasi = has_directories.then(|| Wasi::with_directories(grants, &voice)).transpose()?;
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(HTTP_FIELDS_MAX_BYTES);
        let mut table = ResourceTable::new();
        table.set_max_capacity(RESOURCES_MAX);
        let mut guest = Guest::new(Arc::clone(grants), voice);
        guest.begin(context, feature);
        Ok(Self {
            wasi,
            table,
            http,
            limiter: InstanceLimiter::new(&settings.limits, context),
            guest,
            descriptors: Descriptors::default(),
            _counted: Counted::new(live),
        })
    }

    /// Makes a warm instance serve another call.
    pub(crate) fn begin(&mut self, context: &Arc<CallContext>, feature: Option<Feature>) {
        self.limiter.begin(context);
        self.guest.voice.begin(context);
        self.guest.begin(context, feature);
    }

    /// Ends a call of a warm instance: what it wrote is its own, also without an end of line.
    pub(crate) fn end(&self) {
        let outputs = self.wasi.iter().flat_map(|wasi| &wasi.outputs);
        outputs.for_each(GuestOutput::end_line);
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let guest = &self.guest;
        let wasi = self.wasi.get_or_insert_with(|| Wasi::new(&guest.grants, &guest.voice));
        WasiCtxView { ctx: &mut wasi.context, table: &mut self.table }
    }
}

impl Wasi {
    fn new(grants: &Grants, voice: &Arc<Voice>) -> Self {
        let (mut builder, outputs) = Self::begin(grants, voice);
        Self { context: builder.build(), outputs }
    }

    /// # Errors
    /// `internal` when a directory that the operator granted cannot be opened.
    fn with_directories(grants: &Grants, voice: &Arc<Voice>) -> Result<Self, Failure> {
        let (mut builder, outputs) = Self::begin(grants, voice);
        surroundings::open_directories(&mut builder, grants, voice)?;
        Ok(Self { context: builder.build(), outputs })
    }

    fn begin(grants: &Grants, voice: &Arc<Voice>) -> (WasiCtxBuilder, [GuestOutput; 2]) {
        let outputs = [Stream::Stdout, Stream::Stderr]
            .map(|stream| GuestOutput::new(Arc::clone(voice), stream));
        let [stdout, stderr] = outputs.clone();
        let mut builder = WasiCtxBuilder::new();
        builder
            .stdout(stdout)
            .stderr(stderr)
            .max_random_size(RANDOM_MAX_BYTES)
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false);
        surroundings::grant(&mut builder, grants, voice);
        (builder, outputs)
    }
}

/// Counts a live instance for as long as its store lives.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(count: Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
