//! `aop policy explain`: what an agent can reach, in words, and which line of which file says so; [`learn`] proposes what it
//! should.

pub(crate) mod learn;

use std::path::{Path, PathBuf};

use aop_core::policy::ceiling::Excess;
use aop_core::settings::Lines;
use aop_core::{AgentName, Settings, TenantName};
use aop_store::SqliteStore;
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::allowed::{self, Said};
use crate::config::{Config, File, Flags};
use crate::exit::{CommandError, CommandResult, misuse};
use crate::services::KnownProviders;
use crate::{arguments, local, output};

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Say what an agent can reach, and which line says so
    ///
    /// Reads the settings of the agent and the ceilings of the host's configuration; no host need run, and one that does is
    /// not asked. Of an agent that was loaded through the API, the settings are in the host's data directory. Exit code 1
    /// when the settings are over a ceiling, so that a host would refuse them.
    #[command(after_help = "\
Examples:
  aop policy explain textkit
  aop policy explain agents/textkit.toml --config /etc/aop/aop.toml
  aop policy explain textkit --json | jq '.may[] | select(.allowed)'")]
    Explain(ExplainArgs),
    /// Run calls of an agent and propose the least policy under which they work
    ///
    /// The agent has what its settings say and what --allow adds for this run, within the ceilings of aop.toml; all else is
    /// refused, as ever, and written down. Requests and changes that are allowed are really made. There are no other
    /// agents and no secrets, as with `aop run`. The proposal goes to stdout, how the calls ended to stderr. An agent that
    /// was refused something may ask for more: paste the proposal, or allow what it may have, and run it again.
    #[command(after_help = "\
Examples:
  aop policy learn fetcher.wasm fetch '{\"url\": \"https://example.com/\"}'
  aop policy learn fetcher.wasm fetch @a.json @b.json list --allow 'http=GET https://*' > policy.toml
  aop policy learn notes.wasm add '{\"text\": \"…\"}' --allow 'directories=write /srv/notes as /notes'
  aop policy learn fetcher.wasm fetch @a.json --json | jq '.grants[] | select(.refused)'")]
    Learn(learn::LearnArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// An agent in the tenant's directories or loaded through the API, or the file of its component or settings
    #[arg(value_name = "AGENT | FILE")]
    agent: String,
    /// The configuration file, for its directories and ceilings [default: aop.toml, if there is one]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A directory of agents to look in; may be given several times [default: those that are configured for the tenant]
    #[arg(long, value_name = "DIR")]
    agents: Vec<PathBuf>,
    /// The data directory of the host that the agent was loaded into [default: the configured one, else the platform's]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The tenant that the agent belongs to
    #[arg(long, value_name = "NAME", default_value = "default")]
    tenant: TenantName,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Explanation {
    agent: AgentName,
    tenant: TenantName,
    /// None when the agent has no settings, which is the least that it can have.
    settings: Option<PathBuf>,
    /// Whether that is the host's store, which knows no lines.
    #[serde(skip)]
    is_stored: bool,
    may: Vec<Sentence>,
    ceilings: Vec<String>,
    excesses: Vec<Over>,
}

/// One thing that the agent may do or not.
#[derive(Serialize)]
struct Sentence {
    capability: &'static str,
    allowed: bool,
    words: String,
    /// The setting, and none for what holds for every agent.
    setting: Option<String>,
    /// Its line in the settings; none for a default.
    line: Option<usize>,
}

/// A setting over a ceiling.
#[derive(Serialize)]
struct Over {
    setting: String,
    line: Option<usize>,
    said: String,
    ceiling: String,
}

pub(crate) async fn run(command: &PolicyCommand) -> CommandResult {
    match command {
        PolicyCommand::Explain(args) => explain(args),
        PolicyCommand::Learn(args) => learn::run(args).await,
    }
}

fn explain(args: &ExplainArgs) -> CommandResult {
    let explanation = args.explain()?;
    if args.json {
        output::json(&explanation)?;
    } else {
        output::line(explanation.show())?;
    }
    if explanation.excesses.is_empty() { Ok(()) } else { Err(CommandError::Reported) }
}

impl ExplainArgs {
    fn explain(&self) -> Result<Explanation, CommandError> {
        let file = File::find(self.config.as_deref())?;
        let config = Config::load(file.as_ref(), &Flags::default())?;
        // A name is one agent's in its tenant only.
        let of_tenant = config.registry.agent_dirs.get(&self.tenant).map_or(&[][..], Vec::as_slice);
        let directories = if self.agents.is_empty() { of_tenant } else { &self.agents };
        let Meant { agent, path, text, settings, is_stored } = match find(&self.agent, directories)
        {
            Ok((agent, path)) => of_file(agent, path)?,
            Err(error) => self.of_store(&config)?.ok_or(error)?,
        };
        let lines = Lines::in_text(&text);
        let excesses = config.registry.ceilings.excesses(&self.tenant, &settings);
        let over = |Excess { setting, said, ceiling }| {
            let line = lines.of(&setting);
            Over { setting, line, said, ceiling }
        };
        Ok(Explanation {
            agent,
            may: sentences(&settings, &KnownProviders::of(&config.services), &lines),
            ceilings: config
                .registry
                .ceilings
                .over(&self.tenant)
                .map(|ceiling| ceiling.place())
                .collect(),
            excesses: excesses.into_iter().map(over).collect(),
            tenant: self.tenant.clone(),
            settings: path,
            is_stored,
        })
    }

    /// An agent that was loaded through the API.
    fn of_store(&self, config: &Config) -> Result<Option<Meant>, CommandError> {
        let Ok(agent) = AgentName::new(&self.agent) else { return Ok(None) };
        let data = match &self.data {
            Some(data) => data.clone(),
            None => config.data_directory()?,
        };
        let settings = SqliteStore::settings_in(&data, &self.tenant, &agent)?;
        Ok(settings.map(|settings| Meant {
            agent,
            path: Some(data),
            text: String::new(),
            settings,
            is_stored: true,
        }))
    }
}

/// An agent, and what is said of it where.
struct Meant {
    agent: AgentName,
    path: Option<PathBuf>,
    text: String,
    settings: Settings,
    is_stored: bool,
}

fn of_file(agent: AgentName, path: Option<PathBuf>) -> Result<Meant, CommandError> {
    let text = match &path {
        Some(path) => arguments::read_file(path)?,
        None => String::new(),
    };
    let settings = Settings::from_toml(&text)
        .map_err(|mistakes| local::mistaken(path.as_deref().unwrap_or(Path::new("")), &mistakes))?;
    Ok(Meant { agent, path, text, settings, is_stored: false })
}

/// The agent that is meant, and its settings if it has any.
fn find(
    meant: &str,
    directories: &[PathBuf],
) -> Result<(AgentName, Option<PathBuf>), CommandError> {
    let path = Path::new(meant);
    let extension = path.extension().and_then(|extension| extension.to_str());
    if matches!(extension, Some("wasm" | "toml")) {
        if !path.is_file() {
            return Err(misuse(format!("there is no file {meant}")));
        }
        let settings = path.with_extension("toml");
        return Ok((local::agent_name(path)?, settings.is_file().then_some(settings)));
    }
    for directory in directories {
        let Ok(entries) = directory.read_dir() else { continue };
        for component in entries.flatten().map(|entry| entry.path()) {
            let is_component = component.extension().is_some_and(|extension| extension == "wasm");
            if is_component
                && local::agent_name(&component).is_ok_and(|name| name.as_str() == meant)
            {
                let settings = component.with_extension("toml");
                return Ok((
                    local::agent_name(&component)?,
                    settings.is_file().then_some(settings),
                ));
            }
        }
    }
    let looked: Vec<_> = directories.iter().map(|path| path.display().to_string()).collect();
    Err(misuse(if looked.is_empty() {
        format!(
            "no directory of agents is configured to look for `{meant}` in: name one with --agents, the data directory of the host that it was loaded into with --data, or a file"
        )
    } else {
        format!(
            "there is no agent `{meant}` in {}: name another directory with --agents, the data directory of the host that it was loaded into with --data, or a file",
            looked.join(", ")
        )
    }))
}

fn sentences(settings: &Settings, providers: &KnownProviders, lines: &Lines) -> Vec<Sentence> {
    let mut sentences = Vec::new();
    for Said { capability, allowed, words, grants } in allowed::say(settings, providers) {
        if grants.is_empty() || !allowed {
            let (setting, line) = (None, None);
            sentences.push(Sentence { capability, allowed, words, setting, line });
            continue;
        }
        for (setting, words) in grants {
            let line = lines.of(&setting);
            sentences.push(Sentence { capability, allowed, words, setting: Some(setting), line });
        }
    }
    sentences
}

impl Explanation {
    fn show(&self) -> String {
        let file = self.settings.as_deref().map(|path| path.display().to_string());
        let mut text = format!(
            "agent     {}\nsettings  {}\n\n",
            self.agent,
            file.as_deref().unwrap_or("none: it computes, and nothing else")
        );
        let file = file.unwrap_or_default();
        let place = |setting: Option<&String>, line: Option<usize>| match (setting, line) {
            (Some(setting), Some(line)) => format!("{file}:{line} {setting}"),
            (Some(setting), None) if self.is_stored => format!("as it was loaded: {setting}"),
            (Some(setting), None) => format!("by default {setting}"),
            (None, _) => "-".to_owned(),
        };
        let rows = self.may.iter().map(|said| {
            [
                said.capability.to_owned(),
                if said.allowed { "yes" } else { "no" }.to_owned(),
                said.words.clone(),
                place(said.setting.as_ref(), said.line),
            ]
        });
        text.push_str(&output::table(["IT MAY USE", "ALLOWED", "WHICH", "WHERE IT SAYS SO"], rows));
        if self.ceilings.is_empty() {
            text.push_str("\n\nno ceiling is over it");
        }
        for ceiling in &self.ceilings {
            text.push_str(&format!("\n\nceiling   {ceiling}"));
        }
        for over in &self.excesses {
            let place = place(Some(&over.setting), over.line);
            text.push_str(&format!(
                "\nREFUSED   {place}: {} is more than {} permits",
                over.said, over.ceiling
            ));
        }
        if self.excesses.is_empty() && !self.ceilings.is_empty() {
            text.push_str("\nnothing of it is over a ceiling");
        }
        text
    }
}
