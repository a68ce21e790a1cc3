//! What capabilities know of the guest they serve: what its operator granted it, and which call it
//! works on. They translate; what they translate to is in the call's
//! [`Services`](aop_core::Services).

use std::collections::BTreeMap;
use std::sync::Arc;

use aop_core::bucket::SessionId;
use aop_core::interface::Feature;
use aop_core::{CallContext, ErrorCode, Failure, GuestLevel, Lineage, Policy, Services, Settings};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime_wasi_config::WasiConfigVariables;

use crate::capability::files::{Desk, Opened, Room, Rooms};
use crate::capability::logging::clip;
use crate::state::Voice;

/// Random bytes of a session id: not to be guessed.
const SESSION_ID_BYTES: usize = 16;
/// What is logged of a rule, which may repeat what a guest asked for.
const RULE_MAX_BYTES: usize = 512;

/// What an agent may do, made ready once for all of its instances.
pub(crate) struct Grants {
    pub(crate) settings: Arc<Settings>,
    /// The settings' own, for whoever needs it for longer than a call.
    pub(crate) policy: Arc<Policy>,
    pub(crate) config: WasiConfigVariables,
    /// The variables that it sees.
    pub(crate) environment: Vec<(String, String)>,
    /// What it may add to each of its directories; none for those that it only reads.
    pub(crate) rooms: Vec<Option<Arc<Room>>>,
    /// Where it works on files.
    pub(crate) desk: Arc<Desk>,
}

impl Grants {
    /// `environment` is the host's, of which the agent sees what its policy names.
    pub(crate) fn new(
        settings: Arc<Settings>,
        environment: &BTreeMap<String, String>,
        rooms: &Rooms,
    ) -> Self {
        let visible = settings.policy.environment.iter();
        let environment = visible.filter_map(|name| {
            let (name, value) = environment.get_key_value(name)?;
            Some((name.clone(), value.clone()))
        });
        Self {
            policy: Arc::new(settings.policy.clone()),
            config: settings.config.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
            environment: environment.collect(),
            rooms: settings.policy.directories.iter().map(|grant| rooms.of(grant)).collect(),
            desk: rooms.desk(),
            settings,
        }
    }
}

/// The guest of one instance.
pub(crate) struct Guest {
    pub(crate) grants: Arc<Grants>,
    pub(crate) voice: Arc<Voice>,
    /// None between the calls of a warm instance, so that nothing of a caller waits with it.
    serving: Option<Serving>,
    /// Made when they are first needed: most agents need none.
    places: [Option<Arc<Semaphore>>; Bounded::COUNT],
    pub(crate) opened: Opened,
}

/// What a guest holds in the host outside its own memory, and so may hold few of.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bounded {
    /// HTTP requests, from their sending to the end of both bodies.
    Requests,
    /// Completions of a model that are read while they are written.
    Completions,
    /// Attempts to change a value in a bucket.
    Attempts,
    /// Files and directories that it has open, beside those that it was granted, and listings.
    Files,
    /// Directories that it lists.
    Listings,
    /// Streams into files.
    FileStreams,
    /// Work on files that is under way.
    FileWork,
}

/// The call that a guest works on, and what it has used of what one call may.
pub(crate) struct Serving {
    pub(crate) context: Arc<CallContext>,
    lineage: Option<Arc<Lineage>>,
    /// The newest report of progress.
    pub(crate) progress: f64,
    /// Changes that it told.
    pub(crate) changes: u32,
    /// What the call asks for when it runs no tool.
    pub(crate) feature: Option<Feature>,
}

impl Guest {
    pub(crate) const fn new(grants: Arc<Grants>, voice: Arc<Voice>) -> Self {
        let places = [const { None }; Bounded::COUNT];
        Self { grants, voice, serving: None, places, opened: Opened::new() }
    }

    /// Begins a call of a tool, or of a feature.
    pub(crate) fn begin(&mut self, context: &Arc<CallContext>, feature: Option<Feature>) {
        self.serving = Some(Serving {
            context: Arc::clone(context),
            lineage: None,
            progress: f64::NEG_INFINITY,
            changes: 0,
            feature,
        });
    }

    /// Ends the call.
    pub(crate) fn end(&mut self) {
        self.serving = None;
    }

    /// The call. A guest without one computes for nobody, and is stopped.
    pub(crate) fn serving(&mut self) -> wasmtime::Result<&mut Serving> {
        self.serving.as_mut().ok_or_else(|| wasmtime::format_err!("the agent works on no call"))
    }

    /// What the call travels with.
    pub(crate) fn context(&mut self) -> wasmtime::Result<Arc<CallContext>> {
        Ok(Arc::clone(&self.serving()?.context))
    }

    /// The call's, without stopping a guest that has none.
    pub(crate) fn peek(&self) -> Option<&Arc<CallContext>> {
        self.serving.as_ref().map(|serving| &serving.context)
    }

    /// Whether it holds nothing in the host. A guest that does must not wait for another call: it would keep from
    /// others what no deadline takes away from it.
    pub(crate) fn is_empty_handed(&self) -> bool {
        let holds_none = |of: Bounded| {
            let places = self.places[of as usize].as_ref();
            places.is_none_or(|places| places.available_permits() == of.max())
        };
        // A place of a file comes back some time after the file was closed.
        let mut kinds = Bounded::ALL.into_iter().filter(|of| !matches!(of, Bounded::Files));
        self.opened.is_empty() && kinds.all(holds_none)
    }

    /// A place for one more of something that the guest holds in the host, until it is dropped.
    ///
    /// # Errors
    /// The rule, when all places are taken.
    pub(crate) fn place(&mut self, of: Bounded) -> Result<OwnedSemaphorePermit, String> {
        let places =
            self.places[of as usize].get_or_insert_with(|| Arc::new(Semaphore::new(of.max())));
        Arc::clone(places).try_acquire_owned().map_err(|_| {
            format!("an agent has at most {} {}: finish or drop one", of.max(), of.name())
        })
    }
}

impl Bounded {
    const ALL: [Self; 7] = [
        Self::Requests,
        Self::Completions,
        Self::Attempts,
        Self::Files,
        Self::Listings,
        Self::FileStreams,
        Self::FileWork,
    ];
    const COUNT: usize = Self::ALL.len();

    const fn max(self) -> usize {
        match self {
            // As many as a browser opens at once, several times over.
            Self::Requests => 16,
            // Each holds a connection to the provider.
            Self::Completions => 4,
            // Each holds the value that it read, up to a mebibyte.
            Self::Attempts => 8,
            // As many as a build or a database needs, and few of what a process may have.
            Self::Files => 64,
            // One for each level of a tree that is walked.
            Self::Listings => 16,
            // One for each file; each holds 64 KiB that wait to be written.
            Self::FileStreams => 64,
            // Each holds two paths, of 8 KiB together.
            Self::FileWork => 256,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests on their way",
            Self::Completions => "completions that are being read",
            Self::Attempts => "attempts to change a value",
            Self::Files => "files and directories open",
            Self::Listings => "directories that are being listed",
            Self::FileStreams => "streams into files",
            Self::FileWork => "operations on files under way",
        }
    }
}

impl Serving {
    /// The lineage of the calls that the guest makes: one for all of them, since they share a budget.
    pub(crate) fn lineage(&mut self) -> Arc<Lineage> {
        let context = &self.context;
        let lineage = self.lineage.get_or_insert_with(|| {
            Lineage::of(context.agent_id, context.agent.clone(), context.lineage.clone())
        });
        Arc::clone(lineage)
    }
}

impl Voice {
    /// Tells the operator what was refused, and which setting would grant it; the first of several is the one
    /// that refusals are counted by.
    pub(crate) fn refuse(&self, rule: &str, settings: &[&'static str]) {
        let rule = clip(rule, RULE_MAX_BYTES);
        let text = format!("refused: {rule} (the setting is {})", written(settings));
        self.say("policy", GuestLevel::Warn, &text);
        self.note_refusal(settings.first().unwrap_or(&"policy"), rule);
    }
}

/// Settings of one table as an operator finds them: `policy.http` is `http` under `[policy]`.
fn written(settings: &[&str]) -> String {
    let (mut keys, mut table) = (Vec::new(), "");
    for setting in settings {
        match setting.split_once('.') {
            Some((found, key)) => {
                keys.push(format!("`{key}`"));
                table = found;
            }
            None => table = setting,
        }
    }
    if keys.is_empty() {
        format!("`[{table}]`")
    } else {
        format!("{} under `[{table}]`", keys.join(" or "))
    }
}

/// The conversation of a call; one begins when there is none.
///
/// # Errors
/// What the host lacks for it.
pub(crate) fn conversation(context: &CallContext) -> Result<SessionId, String> {
    if let Some(session) = context.session.get() {
        return Ok(session.clone());
    }
    let mut random = [0; SESSION_ID_BYTES];
    getrandom::fill(&mut random).map_err(|error| format!("the host has no randomness: {error}"))?;
    let text = format!("{:032x}", u128::from_be_bytes(random));
    let minted = SessionId::new(&text).ok_or("the host cannot begin a conversation")?;
    Ok(context.session.get_or_init(|| minted).clone())
}

/// The host around a call.
pub(crate) fn services(context: &CallContext) -> Result<Arc<Services>, Failure> {
    context.services.clone().ok_or_else(|| {
        Failure::before_execution(
            ErrorCode::Unavailable,
            "no host is around this call that could do it",
        )
    })
}

#[cfg(test)]
mod tests;
