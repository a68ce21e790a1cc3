//! Logs: to stderr, human on a terminal and JSON otherwise, at a level that SIGHUP can change.

mod level;
mod span_fields;

use std::io::{self, IsTerminal as _};

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Layered, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry, fmt};

use crate::config::LogFormat;
use crate::output;
use level::Level;
use span_fields::SpanFields;

/// Crates that are silent unless the level names them: rmcp logs at WARN and ERROR whatever a client gets
/// wrong, so any client could flood the log.
const QUIET: [(&str, &str); 1] = [("rmcp", "off")];

/// Changes the level of a running process.
pub(crate) struct LogLevel(Level);

/// What lies below whatever writes the lines.
pub(crate) type Filtered = Layered<Level, Registry>;

/// Starts logging.
pub(crate) fn start(level: &str, format: LogFormat) -> anyhow::Result<LogLevel> {
    let is_json = match format {
        LogFormat::Json => true,
        LogFormat::Human => false,
        LogFormat::Auto => !io::stderr().is_terminal(),
    };
    let lines = fmt::layer().with_writer(io::stderr);
    let lines = if is_json {
        let lines = lines.json().flatten_event(true).with_current_span(true).with_span_list(false);
        lines.fmt_fields(SpanFields).boxed()
    } else {
        lines.with_ansi(output::is_coloured(&io::stderr())).boxed()
    };
    start_with(level, lines)
}

/// Starts logging with lines of another kind.
pub(crate) fn start_with(
    level: &str,
    lines: impl Layer<Filtered> + Send + Sync,
) -> anyhow::Result<LogLevel> {
    let level = Level::new(filter(level).map_err(anyhow::Error::msg)?);
    tracing_subscriber::registry().with(level.clone()).with(lines).try_init()?;
    Ok(LogLevel(level))
}

impl LogLevel {
    /// Logs at another level from now on.
    pub(crate) fn set(&self, level: &str) -> anyhow::Result<()> {
        self.0.set(filter(level).map_err(anyhow::Error::msg)?);
        Ok(())
    }
}

/// Whether a level is one. A bare word that is no level would silently mean a crate of that name.
pub(crate) fn check_level(level: &str) -> Result<(), String> {
    filter(level).map(|_| ())
}

fn filter(level: &str) -> Result<Targets, String> {
    let mut directives: Vec<_> = level.split(',').map(str::trim).collect();
    for directive in &directives {
        let is_word = !directive.contains('=');
        if is_word && (directive.is_empty() || directive.parse::<LevelFilter>().is_err()) {
            return Err(format!(
                "`{directive}` is not a level: write `error`, `warn`, `info`, `debug`, `trace` or `off`, or `crate=level`"
            ));
        }
    }
    let quiet: Vec<_> = QUIET
        .iter()
        .filter(|(name, _)| !level.contains(name))
        .map(|(name, level)| format!("{name}={level}"))
        .collect();
    directives.extend(quiet.iter().map(String::as_str));
    directives.join(",").parse().map_err(|error| format!("`{level}` is not a log level: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_in_either_case_and_directives_are_taken() {
        for level in ["info", "INFO", "off", "warn,aop_mcp=trace", "debug, rmcp=debug"] {
            assert_eq!(check_level(level), Ok(()), "{level}");
        }
    }

    #[test]
    fn a_misspelt_level_is_not_taken_for_a_crate() {
        for level in ["inof", "", "info,", "verbose", "aop=loud", "aop_web[{id=3}]=info"] {
            assert!(check_level(level).is_err(), "{level}");
        }
    }

    #[test]
    fn rmcp_is_quiet_unless_it_is_named() {
        assert!(filter("info").unwrap().to_string().contains("rmcp=off"));
        assert!(!filter("info,rmcp=trace").unwrap().to_string().contains("rmcp=off"));
    }
}
