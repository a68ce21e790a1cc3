//! `aop policy learn`: runs calls of an agent and proposes the least policy under which they work.
//!
//! Nothing is granted because it is watched. An agent has what its settings say, and what the operator adds with `--allow`
//! for this run; everything else is refused as ever and written down. An agent stops where it is refused, so what
//! it would ask for next shows up when the proposal is pasted or allowed, and the call is watched again. What is
//! added is held against the ceilings of the host's configuration.

mod proposal;
mod recorder;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aop_core::policy::{HttpGrant, HttpRule};
use aop_core::settings::keys::nearest;
use aop_core::settings::{parse_size, parse_time};
use aop_core::{Failure, Settings};
use clap::Args;
use serde::Serialize;

use self::proposal::Proposal;
use self::recorder::Recorder;
use crate::args::LocalArgs;
use crate::command::run::wanted_log_level;
use crate::config::{Config, File, Flags, LogFormat};
use crate::exit::{CommandError, CommandResult, misuse};
use crate::stage::Stage;
use crate::{arguments, log, output};

/// What is logged when nobody says. What is refused is in the proposal.
const LOG_LEVEL: &str = "error";
/// Calls of one run: what a person writes on a line, or a script.
const CALLS_MAX: usize = 256;
/// What `--allow` can add.
const KEYS: [&str; 7] =
    ["http", "private_networks", "directories", "environment", "tools", "shared_state", "model"];

#[derive(Debug, Args)]
pub(crate) struct LearnArgs {
    /// The component
    #[arg(value_name = "FILE.wasm")]
    file: PathBuf,
    /// The calls: tools or functions by name, each followed by its arguments as a JSON object, `@FILE` or `-` for stdin;
    /// several for several calls, none for `{}`
    #[arg(value_name = "TOOL [JSON]…", required = true)]
    words: Vec<String>,
    /// What the agent may have besides its settings while it is watched, as under `[policy]`; may be given several times. In
    /// `http`, the host `*` is any
    #[arg(long, value_name = "KEY=GRANT")]
    allow: Vec<String>,
    /// How long each call may take
    #[arg(long, value_name = "DURATION", value_parser = parse_time)]
    timeout: Option<Duration>,
    /// How much memory the agent may have
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    memory: Option<u64>,
    /// The configuration file, for its ceilings [default: aop.toml, if there is one]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    local: LocalArgs,
}

/// One call that is watched.
#[derive(Debug, PartialEq, Eq)]
struct Planned {
    tool: String,
    arguments: String,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Learned {
    agent: String,
    /// How each call ended, in their order.
    calls: Vec<Ended>,
    #[serde(flatten)]
    proposal: Proposal,
    /// The proposal as settings have it.
    toml: String,
}

#[derive(Serialize)]
struct Ended {
    tool: String,
    /// None when it worked.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

pub(super) async fn run(args: &LearnArgs) -> CommandResult {
    let wanted = wanted_log_level()?;
    log::start(wanted.as_deref().unwrap_or(LOG_LEVEL), LogFormat::Auto)?;
    let planned = plan(&args.words)?;
    let allowed = allowed(&args.allow)?;
    let file = File::find(args.config.as_deref())?;
    let config = Config::load(file.as_ref(), &Flags::default())?;
    let recorder = Arc::new(Recorder::default());
    let stage = Stage::set(&config, &args.file, &args.local, Some(recorder.clone()), |settings| {
        widen(settings, allowed);
        let limits = &mut settings.limits;
        limits.timeout = args.timeout.unwrap_or(limits.timeout);
        limits.memory_max_bytes = args.memory.unwrap_or(limits.memory_max_bytes);
    })
    .await?;
    // All of them, before the first runs.
    let tools = planned.iter().map(|call| stage.find(&call.tool)).collect::<Result<Vec<_>, _>>()?;
    let mut calls = Vec::new();
    for (index, (call, tool)) in planned.iter().zip(tools).enumerate() {
        recorder.begin(index + 1);
        let result = stage.call(&tool, &call.arguments).await.result;
        let ended = Ended::of(tool.name.to_string(), result.err());
        if !args.json {
            output::note(format_args!("call {}  {}", index + 1, ended.show()));
        }
        calls.push(ended);
    }
    let proposal = Proposal::of(&recorder.seen(), &stage.local.settings);
    let toml = proposal.toml();
    if args.json {
        let agent = stage.local.name.to_string();
        return output::json(&Learned { agent, calls, proposal, toml });
    }
    output::line(toml.trim_end())?;
    if !proposal.is_complete {
        output::note(
            "it was refused something, so it may need more: allow what it may have, with --allow or in its settings, and watch it again",
        );
    }
    Ok(())
}

impl Ended {
    fn of(tool: String, failure: Option<Failure>) -> Self {
        let (code, message) =
            failure.map(|failure| (failure.code.as_str(), failure.message)).unzip();
        Self { tool, code, message }
    }

    fn show(&self) -> String {
        match (&self.code, &self.message) {
            (Some(code), Some(message)) => {
                format!("{}: {code}: {}", self.tool, output::printable(message))
            }
            _ => format!("{}: it worked", self.tool),
        }
    }
}

/// The calls that are meant: no tool's name looks like JSON, a file or stdin.
fn plan(words: &[String]) -> Result<Vec<Planned>, CommandError> {
    let is_json = |word: &str| word == "-" || word.starts_with(['{', '@']);
    let mut planned: Vec<Planned> = Vec::new();
    let mut waiting: Option<&str> = None;
    for word in words {
        if !is_json(word) {
            planned.extend(waiting.take().map(Planned::without_arguments));
            waiting = Some(word);
            continue;
        }
        let last = planned.last().map(|call| call.tool.clone());
        let Some(tool) = waiting.take().map(ToOwned::to_owned).or(last) else {
            return Err(misuse(format!("`{word}` is for no tool: name the tool before it")));
        };
        planned.push(Planned { tool, arguments: arguments::read_json(word)? });
    }
    planned.extend(waiting.map(Planned::without_arguments));
    if planned.len() > CALLS_MAX {
        return Err(misuse(format!("at most {CALLS_MAX} calls are watched at once")));
    }
    Ok(planned)
}

impl Planned {
    fn without_arguments(tool: &str) -> Self {
        Self { tool: tool.to_owned(), arguments: "{}".to_owned() }
    }
}

/// What the operator adds.
fn allowed(grants: &[String]) -> Result<Settings, CommandError> {
    let mut settings = Settings::default();
    let mut wrong = Vec::new();
    for grant in grants {
        if let Err(message) = allow(&mut settings, grant) {
            wrong.push(format!("--allow '{grant}': {message}"));
        }
    }
    if wrong.is_empty() { Ok(settings) } else { Err(misuse(wrong.join("\n  "))) }
}

fn allow(settings: &mut Settings, grant: &str) -> Result<(), String> {
    let policy = &mut settings.policy;
    let (key, value) = grant
        .split_once('=')
        .ok_or("write `KEY=GRANT`, like `http=GET https://api.example.com/*`")?;
    let (key, value) = (key.trim(), value.trim());
    match key {
        "http" => policy.http.push(HttpGrant::of(HttpRule::parse_ceiling(value)?)),
        "private_networks" => policy.private_networks.push(value.parse().map_err(|error| {
            format!("{error}: write networks like `10.1.0.0/16` or `fd00::/8`")
        })?),
        "directories" => policy.directories.push(value.parse()?),
        "environment" if value.is_empty() => return Err("name a variable".to_owned()),
        "environment" => policy.environment.push(value.to_owned()),
        "tools" => policy.tools.push(value.parse()?),
        "shared_state" if value == "true" => policy.shared_state = true,
        "shared_state" => return Err("write `shared_state=true`".to_owned()),
        "model" => {
            let (provider, name) = value
                .split_once('/')
                .filter(|(provider, name)| !provider.is_empty() && !name.is_empty())
                .ok_or("write `model=PROVIDER/NAME`")?;
            let (provider, name) = (toml_text(provider)?, toml_text(name)?);
            let text = format!("[model]\nprovider = {provider}\nname = {name}\n");
            let read = Settings::from_toml(&text).map_err(|mistakes| {
                mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
            })?;
            settings.model = read.model;
        }
        _ => {
            let meant = nearest(key, KEYS.into_iter());
            let meant = meant.map(|meant| format!("did you mean `{meant}`? ")).unwrap_or_default();
            return Err(format!("`{key}` is no key: {meant}there are {}", KEYS.join(", ")));
        }
    }
    Ok(())
}

/// A name for TOML.
fn toml_text(text: &str) -> Result<String, String> {
    if text.contains(['"', '\\']) || text.contains(char::is_control) {
        return Err("names have no quotes, backslashes or control characters".to_owned());
    }
    Ok(format!("\"{text}\""))
}

/// Adds it behind what the settings say: a request is decided over by the first rule that permits it.
fn widen(settings: &mut Settings, allowed: Settings) {
    let (policy, more) = (&mut settings.policy, allowed.policy);
    policy.http.extend(more.http);
    policy.private_networks.extend(more.private_networks);
    policy.directories.extend(more.directories);
    policy.environment.extend(more.environment);
    policy.tools.extend(more.tools);
    policy.shared_state |= more.shared_state;
    if let Some(model) = allowed.model {
        settings.model = Some(model);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(words: &[&str]) -> Result<Vec<(String, String)>, CommandError> {
        let words: Vec<_> = words.iter().map(ToString::to_string).collect();
        Ok(plan(&words)?.into_iter().map(|call| (call.tool, call.arguments)).collect())
    }

    #[test]
    fn words_are_calls_of_the_tool_before_them() {
        let call = |tool: &str, json: &str| (tool.to_owned(), json.to_owned());
        assert_eq!(
            planned(&["a", "{\"n\":1}", "{\"n\":2}", "b", "c", "{}"]).unwrap(),
            [call("a", "{\"n\":1}"), call("a", "{\"n\":2}"), call("b", "{}"), call("c", "{}")]
        );
        assert_eq!(planned(&["a"]).unwrap(), [call("a", "{}")]);
        let message = |words: &[&str]| planned(words).unwrap_err().conclusion().0.unwrap();
        assert!(message(&["{}", "a"]).contains("is for no tool"));
        assert!(message(&["a", "{"]).contains("not valid JSON"));
        assert!(message(&["a"; 257]).contains("at most 256"));
    }

    #[test]
    fn what_is_allowed_is_read_as_settings_are() {
        let allow =
            |grants: &[&str]| allowed(&grants.iter().map(ToString::to_string).collect::<Vec<_>>());
        let settings = allow(&[
            "http=GET https://*/v1/*",
            "directories=write /srv/a as /a",
            "environment=TZ",
            "tools=textkit_*",
            "private_networks=10.0.0.0/8",
            "shared_state=true",
            "model=openai/some=thing/odd",
        ])
        .unwrap();
        assert_eq!(settings.policy.http.len(), 1);
        assert_eq!(settings.policy.environment, ["TZ"]);
        assert_eq!(settings.model.unwrap().name, "some=thing/odd");
        let wrong = allow(&["htp=x", "http=nonsense", "tools=a b", "shared_state=yes", "clock"]);
        let message = wrong.unwrap_err().conclusion().0.unwrap();
        for expected in
            ["did you mean `http`?", "`nonsense`", "`a b`", "shared_state=true", "KEY=GRANT"]
        {
            assert!(message.contains(expected), "{expected}\n{message}");
        }
    }
}
