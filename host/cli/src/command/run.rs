//! `aop run`: the path of a call without a server around it.

use aop_core::Envelope;

use crate::args::RunArgs;
use crate::config::{Config, File, Flags, LogFormat};
use crate::exit::{CommandError, CommandResult, misuse};
use crate::stage::Stage;
use crate::{arguments, environment, log, output};

/// What is logged when nobody says: what the agent itself writes, and what goes wrong.
const LOG_LEVEL: &str = "warn,aop::guest=info";
/// The same for an agent whose settings are `verbose`: its calls as well.
const VERBOSE_LOG_LEVEL: &str = "warn,aop::guest=info,aop_dispatch=info";

pub(crate) async fn run(args: &RunArgs) -> CommandResult {
    let wanted = wanted_log_level()?;
    let level = log::start(wanted.as_deref().unwrap_or(LOG_LEVEL), LogFormat::Auto)?;
    let arguments = arguments::read_json(&args.arguments)?;
    let config = Config::load(File::find(None)?.as_ref(), &Flags::default())?;
    let stage = Stage::set(&config, &args.file, &args.local, None, |settings| {
        let limits = &mut settings.limits;
        limits.timeout = args.timeout.unwrap_or(limits.timeout);
        limits.memory_max_bytes = args.memory.unwrap_or(limits.memory_max_bytes);
    })
    .await?;
    if wanted.is_none() && stage.local.settings.verbose {
        level.set(VERBOSE_LOG_LEVEL)?;
    }
    let tool = stage.find(&args.tool)?;
    let reply = stage.call(&tool, &arguments).await;
    let envelope = serde_json::to_string(&Envelope::new(&reply.result))?;
    output::envelope(&envelope, args.json)
}

/// What the environment says of the log.
pub(crate) fn wanted_log_level() -> Result<Option<String>, CommandError> {
    let found =
        environment::variables().into_iter().find(|(name, _)| name == environment::LOG_LEVEL);
    let Some((name, level)) = found else { return Ok(None) };
    log::check_level(&level).map_err(|reason| misuse(format!("{name}: {reason}")))?;
    Ok(Some(level))
}
