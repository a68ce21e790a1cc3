//! `aop dev`: an agent that is built and served again whenever its source changes.
//!
//! The host is the one of `aop serve`, with the configuration that is given, on a temporary directory of
//! agents and a temporary data directory; a build that succeeds replaces the component there, and the host's
//! own hot reload does the rest. So what is seen here is what happens elsewhere, and a build that fails
//! changes nothing.

mod live;
mod sources;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tempfile::TempDir;
use tokio::sync::oneshot;

use self::live::Live;
use self::sources::{Snapshot, Sources};
use crate::args::{DevArgs, SourceArgs};
use crate::command::build::{self, Built, Progress, Project};
use crate::command::inspect::{self, Inspection};
use crate::command::serve::{self, Reload};
use crate::config::{
    AccessSettings, Config, File, Flags, ServicesConfig, StateDatabase, SupplySettings, ZoneConfig,
};
use crate::exit::{CommandError, CommandResult};
use crate::{log, output};

/// What [`Live`] shows: calls, what the guest says, new revisions, and what goes wrong; not that a directory of the source
/// went, which the watcher warns of.
const LOG_LEVEL: &str = "warn,notify=error,aop::guest=trace,aop_dispatch=debug,aop_registry=info";
/// Who stops a host that only they use does not want to wait.
const DRAIN_GRACE: Duration = Duration::from_secs(2);

pub(crate) async fn run(args: &DevArgs) -> CommandResult {
    // What is no agent is said at once, and not after each change.
    let project = Project::find(&args.source)?;
    let place = TempDir::with_prefix("aop-dev-").context("cannot make a temporary directory")?;
    let agents = place.path().join("agents");
    std::fs::create_dir(&agents).with_context(|| format!("cannot make {}", agents.display()))?;
    let file = File::find_in(&project.directory, args.config.as_deref())?;
    if let Some(file) = &file {
        output::note(format_args!("configured by {}", file.path.display()));
    }
    let given = Config::load(file.as_ref(), &Flags::default())?;
    let config = private(given, args, &agents, place.path().join("data"));
    let level = log::start_with(&config.log_level, Live)?;
    let (announce, announced) = oneshot::channel();
    let data = place.path().join("data");
    // Absolute, because the directory that this command stands in may be made anew.
    let source = SourceArgs { directory: project.directory.clone(), lang: args.source.lang };
    let workshop = Workshop { source, agents, data, has_built: false };
    let reload = Reload::without_file(config.clone(), level);
    let serving = serve::serve(&config, &reload, |address| {
        // Fails only when the one who waits for it is gone, and then the host ends, too.
        let _ = announce.send(address);
        Ok(())
    });
    tokio::select! {
        ended = serving => ended,
        // A host that ends before it listens says why; this then waits for it.
        ended = workshop.follow(&project.directory, announced) => ended,
    }
}

/// The configuration of a host that only its author uses: what it has of its own (state, zone, callers) is not what the
/// given one has, because this host begins with nothing each time and must not disturb the one that is meant.
fn private(given: Config, args: &DevArgs, built: &Path, data: PathBuf) -> Config {
    let others = if args.agents.is_empty() { given.agents } else { args.agents.clone() };
    Config {
        listen: args.listen,
        agents: std::iter::once(built.to_owned()).chain(others).collect(),
        data: Some(data),
        log_level: LOG_LEVEL.to_owned(),
        drain_grace: DRAIN_GRACE,
        // Keys of callers are in the data directory, which is empty.
        access: AccessSettings {
            secrets_key_file: given.access.secrets_key_file,
            ..AccessSettings::default()
        },
        cluster: given.cluster.alone(),
        zone: ZoneConfig::default(),
        services: ServicesConfig { state_database: StateDatabase::default(), ..given.services },
        // Nobody signs what was built a second ago.
        supply: SupplySettings { require_signature: false, ..given.supply },
        ..given
    }
    .consistent()
}

/// What is said when a build failed.
fn outlook(has_built: bool, address: SocketAddr) -> String {
    if has_built {
        return "the agent that was built before keeps serving".to_owned();
    }
    format!(
        "waiting for a change of the source. Once it builds, the agent is at http://{address}/mcp. Ctrl-C stops this"
    )
}

/// Where an agent is built again and again.
struct Workshop {
    source: SourceArgs,
    agents: PathBuf,
    data: PathBuf,
    has_built: bool,
}

impl Workshop {
    /// Builds whenever the source is another than it was at the build before. Runs until it is dropped.
    async fn follow(
        mut self,
        directory: &Path,
        announced: oneshot::Receiver<SocketAddr>,
    ) -> CommandResult {
        let Ok(address) = announced.await else { return std::future::pending().await };
        let mut sources = Sources::new(directory);
        let mut built_from: Option<Snapshot> = None;
        loop {
            let now = sources.look().await?;
            match &built_from {
                None => self.build(address).await,
                Some(before) => {
                    if let Some(path) = now.first_difference(before) {
                        output::line(format_args!("\n{} changed", path.display()))?;
                        self.build(address).await;
                    }
                }
            }
            built_from = Some(now);
            sources.changed().await;
        }
    }

    async fn build(&mut self, address: SocketAddr) {
        let started = Instant::now();
        let built = self.try_build().await;
        let shown = match built {
            Ok(built) => self.tell(&built, started.elapsed(), address),
            Err(error) => {
                let (message, _) = error.conclusion();
                output::error(message.unwrap_or_else(|| "the build failed".to_owned()));
                output::note(outlook(self.has_built, address));
                Ok(())
            }
        };
        if let Err(error) = shown {
            output::error(error);
        }
    }

    async fn try_build(&self) -> Result<Built, CommandError> {
        let project = Project::find(&self.source)?;
        let title = format!("building {} ({})", project.name, project.language);
        let progress = Progress::start(&title);
        let built = build::build(&project, &self.agents, Some(&self.data), &progress).await?;
        forget_others(&self.agents, &project.name)?;
        Ok(built)
    }

    fn tell(
        &mut self,
        built: &Built,
        duration: Duration,
        address: SocketAddr,
    ) -> anyhow::Result<()> {
        let inspection = Inspection::of(&built.local);
        output::line(format_args!(
            "built {} in {:.1} s",
            built.local.name,
            duration.as_secs_f64()
        ))?;
        if !self.has_built {
            output::line(format_args!("\n{}\n", inspect::tools_table(&inspection)))?;
            output::line(format_args!(
                "MCP      http://{address}/mcp\nCtrl-C stops it. Calls and logs:"
            ))?;
        }
        inspect::warn(&built.local);
        self.has_built = true;
        Ok(())
    }
}

/// Removes an agent that the source had another name for.
fn forget_others(agents: &Path, name: &str) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(agents)? {
        let path = entry?.path();
        if path.file_stem().is_some_and(|stem| stem != name) {
            std::fs::remove_file(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
