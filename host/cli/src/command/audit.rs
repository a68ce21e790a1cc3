//! `aop audit show|verify`: reads the log in a data directory, whether or not its host runs.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use aop_access::audit::{self, AuditLine, ChainPlace, Verdict};
use aop_core::audit::Action;
use aop_core::settings::keys::nearest;
use aop_core::settings::parse_time;
use clap::{Args, Subcommand};

use crate::audit::kept_end;
use crate::config::{Config, File, Flags};
use crate::exit::{CommandError, CommandResult, misuse};
use crate::output;

/// The most lines that are shown: they are held in memory, at 2 KiB each.
const SHOWN_MAX: u64 = 100_000;

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Show who did what: the newest lines last
    #[command(after_help = "\
Examples:
  aop audit show
  aop audit show --action policy --agent textkit --since 24h
  aop audit show --outcome refused --last 1000 --json | jq .detail")]
    Show(ShowArgs),
    /// Check that no line was changed, left out, added or taken from the end
    ///
    /// Whoever may write the log's files may also write a whole new log. Keep the checkpoint that this
    /// prints somewhere else, and name it the next time: then that is found, too.
    ///
    /// Exits with 0 when the log is intact, with 1 when it is damaged, and with 3 when nothing is wrong with what is there and
    /// nothing says where it should end.
    #[command(after_help = "\
Examples:
  aop audit verify
  aop audit verify --data /var/lib/aop --json
  aop audit verify --checkpoint 1207:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08")]
    Verify(VerifyArgs),
}

/// An action, or what several actions are done to.
fn parse_action(text: &str) -> Result<String, String> {
    let known = || Action::ALL.iter().map(|action| action.as_str());
    let kind = |action: &'static str| action.split('.').next().unwrap_or(action);
    if known().any(|action| action == text || kind(action) == text) {
        return Ok(text.to_owned());
    }
    let mut all: Vec<_> = known().collect();
    all.sort_unstable();
    let meant = nearest(text, all.iter().copied().chain(all.iter().map(|action| kind(action))));
    let meant = meant.map(|meant| format!("did you mean `{meant}`? ")).unwrap_or_default();
    Err(format!("no action is called so: {meant}There are {}", all.join(", ")))
}

/// Where the log is.
#[derive(Debug, Args)]
pub(crate) struct LogArgs {
    /// The host's data directory [default: the configured one, else the platform's]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The configuration file [default: aop.toml, if there is one]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// Only this action, such as `agent.load`, or all of `agent`
    #[arg(long, value_name = "ACTION", value_parser = parse_action)]
    action: Option<String>,
    /// Only what concerns this agent
    #[arg(long, value_name = "NAME")]
    agent: Option<String>,
    /// Only what concerns this tenant
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// Only what ended like this: `done`, `refused` or `failed`
    #[arg(long, value_name = "OUTCOME", value_parser = ["done", "refused", "failed"])]
    outcome: Option<String>,
    /// Only what was done by whoever is called this, or by a part of it
    #[arg(long, value_name = "TEXT")]
    who: Option<String>,
    /// Only what is not older than this
    #[arg(long, value_name = "DURATION", value_parser = parse_time)]
    since: Option<Duration>,
    /// At most this many lines, the newest
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=SHOWN_MAX))]
    last: u64,
    #[command(flatten)]
    log: LogArgs,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// A line that must be there with this hash, as printed earlier
    #[arg(long, value_name = "LINE:HASH")]
    checkpoint: Option<ChainPlace>,
    #[command(flatten)]
    log: LogArgs,
}

pub(crate) fn run(command: &AuditCommand) -> CommandResult {
    match command {
        AuditCommand::Show(args) => show(args),
        AuditCommand::Verify(args) => verify(args),
    }
}

impl LogArgs {
    fn data(&self) -> Result<PathBuf, CommandError> {
        if let Some(data) = &self.data {
            return Ok(data.clone());
        }
        let file = File::find(self.config.as_deref())?;
        Ok(Config::load(file.as_ref(), &Flags::default())?.data_directory()?)
    }
}

/// The log's directory in a data directory.
fn log_in(data: &Path) -> Result<PathBuf, CommandError> {
    let directory = audit::audit_directory(data);
    if directory.is_dir() {
        return Ok(directory);
    }
    Err(misuse(format!(
        "there is no audit log in {}: name the data directory of a host with --data",
        data.display()
    )))
}

fn show(args: &ShowArgs) -> CommandResult {
    let directory = log_in(&args.log.data()?)?;
    let since = args.since.and_then(|age| SystemTime::now().checked_sub(age));
    // Written in one form and in UTC, so that times compare as text.
    let since = since.map(audit::timestamp);
    let last_max = usize::try_from(args.last).unwrap_or(usize::MAX);
    let mut lines = VecDeque::new();
    audit::read(&directory, |line| {
        if args.admits(&line, since.as_deref()) {
            if lines.len() == last_max {
                lines.pop_front();
            }
            lines.push_back(line);
        }
    })
    .with_context(|| format!("cannot read the audit log in {}", directory.display()))?;
    if args.log.json {
        return lines.iter().try_for_each(output::json);
    }
    output::line(table(lines))?;
    Ok(())
}

impl ShowArgs {
    fn admits(&self, line: &AuditLine, since: Option<&str>) -> bool {
        let is = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| found == Some(wanted))
        };
        let is_action = self.action.as_deref().is_none_or(|wanted| {
            line.action == wanted || line.action.split('.').next() == Some(wanted)
        });
        is_action
            && is(&self.agent, line.agent.as_deref())
            && is(&self.tenant, line.tenant.as_deref())
            && is(&self.outcome, Some(&line.outcome))
            && self.who.as_deref().is_none_or(|wanted| line.who.contains(wanted))
            && since.is_none_or(|since| line.time.as_str() >= since)
    }
}

fn table(lines: impl IntoIterator<Item = AuditLine>) -> String {
    let dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let rows = lines.into_iter().map(|line| {
        let what = [line.subject, line.detail].join(" ").trim().to_owned();
        let count = if line.count > 1 { format!("{} times: ", line.count) } else { String::new() };
        [
            line.time,
            line.who,
            line.action,
            line.outcome,
            dash(line.tenant),
            dash(line.agent),
            format!("{count}{what}"),
        ]
        .map(|cell| one_line(&cell))
    });
    output::table(["TIME", "WHO", "ACTION", "OUTCOME", "TENANT", "AGENT", "WHAT"], rows)
}

/// Text of clients and issuers as a cell of one line.
fn one_line(text: &str) -> String {
    output::printable(&text.replace(['\n', '\t'], " ")).into_owned()
}

fn verify(args: &VerifyArgs) -> CommandResult {
    let data = args.log.data()?;
    // Before the lines are read, so that a host which writes meanwhile is not ahead of it.
    let (kept, is_known) = match kept_end(&data) {
        Ok(kept) => (kept, true),
        Err(error) => {
            output::note(format!(
                "where the host's store says that the log ends is not known: {error}"
            ));
            (None, false)
        }
    };
    // A log that the store knows of may be gone, which is what this is for.
    let directory = match kept {
        Some(_) => audit::audit_directory(&data),
        None => log_in(&data)?,
    };
    let mut verdict = audit::verify(&directory, args.checkpoint.as_ref(), kept.as_ref())
        .with_context(|| format!("cannot read the audit log in {}", directory.display()))?;
    // Whoever spoils one of the two places must not pass with the other alone.
    verdict.end_is_checked &= is_known || args.checkpoint.is_some();
    if args.log.json {
        output::json(&verdict)?;
    } else {
        output::line(facts(&verdict))?;
        for finding in &verdict.findings {
            output::note(output::printable(&finding.to_string()));
        }
    }
    match (verdict.intact, verdict.end_is_checked) {
        (true, true) => Ok(()),
        (true, false) => Err(CommandError::Unchecked),
        (false, _) => Err(CommandError::Reported),
    }
}

fn facts(verdict: &Verdict) -> String {
    let mut text = format!(
        "log         {}\nlines       {} in {} files",
        if verdict.intact { "intact" } else { "DAMAGED" },
        verdict.lines,
        verdict.files
    );
    if let Some(first) = verdict.first.filter(|first| *first > 1) {
        text.push_str(&format!("\nfirst       line {first}: older files were removed"));
    }
    if let Some(last) = &verdict.last {
        text.push_str(&format!("\ncheckpoint  {last}"));
    }
    if !verdict.end_is_checked {
        text.push_str(
            "\nend         UNCHECKED: neither the file `head` beside the log nor the host's store says where it is, so that lines which were taken from the end are not missed. Name a checkpoint of the last line with --checkpoint",
        );
    }
    if verdict.unfinished_bytes > 0 {
        text.push_str(&format!(
            "\nunfinished  {} bytes: the host stopped while it wrote a line, or writes it now",
            verdict.unfinished_bytes
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_is_one_line_that_reads_as_it_is() {
        let said = one_line("a\nb\u{202e}c\u{1b}[2Jd\u{2066}é");
        assert_eq!(said, "a b\u{fffd}c\u{fffd}[2Jd\u{fffd}é");
    }

    #[test]
    fn an_action_is_one_of_the_log_or_what_several_are_done_to() {
        assert_eq!(parse_action("agent.load").unwrap(), "agent.load");
        assert_eq!(parse_action("key").unwrap(), "key");
        let refused = parse_action("agent.lod").unwrap_err();
        assert!(refused.contains("`agent.load`") && refused.contains("key.revoke"), "{refused}");
        assert!(parse_action("").is_err() && parse_action("load").is_err());
    }
}
