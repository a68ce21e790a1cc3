//! `aop serve`: the life of a host, from its configuration to its last answer.

mod signals;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use aop_core::audit::{Action, Outcome};
use aop_core::{Audit as _, AuditEvent};
use aop_registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::watch;

use self::signals::{Signal, Signals};
use crate::args::ServeArgs;
use crate::config::{Config, File, Flags};
use crate::exit::{CommandError, CommandResult, failure, usage};
use crate::log::{self, LogLevel};
use crate::wire::{Host, State};
use crate::{cluster, output};

/// How long the address is held back for agents that only have to be found in the cache, so that
/// who reads it finds them. Agents that must be compiled do not hold back the host.
const FIRST_LOAD_PATIENCE: Duration = Duration::from_secs(2);
/// The same over stdio, where clients list the tools once and many do not listen for changes: long
/// enough to compile a few agents, shorter than any client waits for its first answer.
const STDIO_LOAD_PATIENCE: Duration = Duration::from_secs(15);

pub(crate) async fn run(args: &ServeArgs) -> CommandResult {
    let flags = Flags::new(args);
    let file = File::find(args.config.as_deref())?;
    let config = Config::load(file.as_ref(), &flags)?;
    let level = log::start(&config.log_level, config.log_format)?;
    if let Some(file) = &file {
        tracing::info!(file = %file.path.display(), "read the configuration");
    }
    let reload =
        Reload { named: args.config.clone(), flags, level, config: Mutex::new(config.clone()) };
    if args.stdio {
        serve_stdio(&config, &reload).await
    } else {
        serve(&config, &reload, |address| Ok(output::line(address)?)).await
    }
}

/// Serves HTTP until a signal. `announce` tells the world where, once agents that are compiled
/// already serve.
pub(crate) async fn serve(
    config: &Config,
    reload: &Reload,
    announce: impl FnOnce(SocketAddr) -> anyhow::Result<()>,
) -> CommandResult {
    raise_open_files_limit();
    let state = State::open(config)?;
    let authenticates = state.authenticates(config).await?;
    aop_access::check_bind(config.listen, authenticates, config.allow_unauthenticated)
        .map_err(usage)?;
    let listener = bind(config.listen).await?;
    let address = listener.local_addr().context("cannot read the address it listens on")?;
    let host = Arc::new(Host::open(config, state, Some(address)).await?);
    if config.cluster.is_wanted() || host.zone.has_zone() {
        host.zone.start().await.map_err(cluster::refusal)?;
    }
    let app = host.app(config, address)?;
    let mut signals = Signals::listen()?;

    let (stop, mut stopping) = watch::channel(false);
    let server = host.server.clone();
    let grace = config.drain_grace;
    let serving = tokio::spawn(async move {
        // The sender lives until the end of this function: waiting cannot fail before that.
        let shutdown = async move { drop(stopping.wait_for(|stop| *stop).await) };
        server.serve(listener, app, shutdown, grace).await
    });
    let mut serving = pin!(serving);
    let loading = tokio::spawn({
        let host = Arc::clone(&host);
        async move { host.load().await }
    });
    let mut loading = pin!(loading);

    let first = tokio::time::timeout(FIRST_LOAD_PATIENCE, &mut loading).await;
    let is_loaded = first.is_ok();
    if let Ok(ended) = first {
        ended.context("loading the agents broke")??;
    }
    tracing::info!(%address, server_name = config.server_name, "listening");
    announce(address)?;

    let drained = async {
        if !is_loaded {
            tokio::select! {
                ended = &mut loading => ended.context("loading the agents broke")??,
                () = until_stopped(&mut signals, reload, &host) => return anyhow::Ok(()),
            }
        }
        until_stopped(&mut signals, reload, &host).await;
        Ok(())
    };
    tokio::select! {
        stopped = drained => stopped?,
        ended = &mut serving => ended.context("the server broke")??,
    }
    let grace = reload.grace();
    tracing::info!(?grace, "draining: running calls finish, a second signal stops them");
    stop.send_replace(true);
    let ending = async {
        host.drain(grace).await;
        (&mut serving).await
    };
    tokio::select! {
        ended = ending => ended.context("the server broke")??,
        () = signals.again() => return Err(failure("stopped by a second signal")),
    }
    tracing::info!("stopped");
    Ok(())
}

/// Serves one client on stdin and stdout until it closes them or a signal arrives.
async fn serve_stdio(config: &Config, reload: &Reload) -> CommandResult {
    let host = Arc::new(Host::open(config, State::open_for_stdio(config)?, None).await?);
    let mut signals = Signals::listen()?;
    let loading = tokio::spawn({
        let host = Arc::clone(&host);
        async move { host.load().await }
    });
    let mut loading = pin!(loading);
    // Clients ask for the tools at once and only once.
    if let Ok(ended) = tokio::time::timeout(STDIO_LOAD_PATIENCE, &mut loading).await {
        ended.context("loading the agents broke")??;
    }
    let (stop, mut stopping) = watch::channel(false);
    let shutdown = async move { drop(stopping.wait_for(|stop| *stop).await) };
    let stopped = async {
        until_stopped(&mut signals, reload, &host).await;
        stop.send_replace(true);
        let grace = reload.grace();
        tracing::info!(?grace, "draining: running calls finish, a second signal stops them");
        // `serve_stdio` ends by itself once they have.
        let _ = tokio::time::timeout(grace, signals.again()).await;
    };
    tokio::select! {
        served = host.mcp.serve_stdio(Host::local_caller(), shutdown) => served?,
        () = stopped => tracing::warn!("stopped calls that did not finish in time"),
    }
    host.drain(reload.grace()).await;
    Ok(())
}

/// Binds, or says which flag helps.
async fn bind(address: SocketAddr) -> Result<TcpListener, CommandError> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => failure(format!(
            "{address} is taken by another program: stop it, or choose another address with --listen (127.0.0.1:0 picks a free port)"
        )),
        std::io::ErrorKind::PermissionDenied => failure(format!(
            "not allowed to listen on {address}: choose a port above 1023 with --listen"
        )),
        _ => failure(format!("cannot listen on {address}: {error}: choose another address with --listen")),
    })
}

/// Resolves at the first signal to stop; reloads meanwhile.
async fn until_stopped(signals: &mut Signals, reload: &Reload, host: &Host) {
    while signals.next().await == Signal::Reload {
        host.audit.note(AuditEvent {
            outcome: reload.run(&host.registry),
            ..AuditEvent::of_host(Action::HostReload, "")
        });
    }
}

/// What is needed to read the configuration again.
pub(crate) struct Reload {
    named: Option<PathBuf>,
    flags: Flags,
    level: LogLevel,
    /// The one in force.
    config: Mutex<Config>,
}

/// The keys that a running host can change, besides its ceilings.
const RELOADABLE: [&str; 2] = ["log_level", "drain_grace"];

impl Reload {
    /// For a host without a file.
    pub(crate) fn without_file(config: Config, level: LogLevel) -> Self {
        Self { named: None, flags: Flags::default(), level, config: Mutex::new(config) }
    }

    fn grace(&self) -> Duration {
        self.config.lock().unwrap_or_else(PoisonError::into_inner).drain_grace
    }

    /// Reads the configuration again and applies what can be, or says why not.
    fn run(&self, registry: &Registry) -> Outcome {
        let read = File::find(self.named.as_deref())
            .and_then(|file| Config::load(file.as_ref(), &self.flags));
        match read {
            Ok(new) => {
                self.apply(new, registry);
                Outcome::Done
            }
            Err(error) => {
                let reason = error.conclusion().0.unwrap_or_default();
                tracing::error!(
                    reason,
                    "the configuration was not reloaded: the old one stays in force"
                );
                Outcome::Failed
            }
        }
    }

    fn apply(&self, new: Config, registry: &Registry) {
        let mut config = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        let (now, later) = changes(&config, &new);
        if let Err(error) = self.level.set(&new.log_level) {
            tracing::error!(%error, "the log level was not changed");
        }
        config.log_level = new.log_level;
        config.drain_grace = new.drain_grace;
        let ceilings = new.registry.ceilings;
        let has_new_ceilings = config.registry.ceilings != ceilings;
        config.registry.ceilings.clone_from(&ceilings);
        drop(config);
        if has_new_ceilings {
            tracing::info!("settings are held against the new ceilings from now on");
            for (tenant, agent_name, over) in registry.set_ceilings(ceilings) {
                tracing::warn!(%tenant, %agent_name, over, "an agent serves with more than the new ceilings permit: unload it, or change its settings");
            }
        }
        tracing::info!(changed = now.join(", "), "reloaded the configuration");
        if !later.is_empty() {
            tracing::warn!(unchanged = later.join(", "), "these take effect at the next start");
        }
    }
}

/// What another configuration changes in words: at once, and at the next start. Values of keys are shown; of what is declared
/// by name (tenants, providers, servers) that it was added, changed or removed.
fn changes(old: &Config, new: &Config) -> (Vec<String>, Vec<String>) {
    let mut rewritten = old.rewritten(new);
    let (mut now, mut later) = (Vec::new(), Vec::new());
    for (key, value) in old.differences(new) {
        let removed = match rewritten.remove(&key) {
            Some("removed") => " (removed: the default again)",
            _ => "",
        };
        let into = if RELOADABLE.contains(&key.as_str()) { &mut now } else { &mut later };
        into.push(format!("{key} = {value}{removed}"));
    }
    for (key, done) in rewritten {
        // Those are announced by themselves; what is left of the others is as before, written otherwise.
        let is_ceiling = key.starts_with("ceiling.") || key.starts_with("ceilings.");
        if !is_ceiling && !old.has_key(&key) {
            later.push(format!("{key} ({done})"));
        }
    }
    (now, later)
}

/// Many systems start programs with 1,024 open files and let them ask for more; the connections alone
/// that the server accepts are four times that.
fn raise_open_files_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        tracing::warn!(%error, limit = ?current, "the limit of open files cannot be raised");
    }
}

/// For `demo`: a host that serves a configuration made by hand.
pub(crate) async fn serve_made(
    config: Config,
    announce: impl FnOnce(SocketAddr) -> anyhow::Result<()>,
) -> CommandResult {
    let level = log::start(&config.log_level, config.log_format)?;
    let reload = Reload::without_file(config.clone(), level);
    serve(&config, &reload, announce).await
}
