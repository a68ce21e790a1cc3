//! How a command ends, and what its exit code tells a script.
//!
//! 0: it worked. 1: it was tried and failed, as a call whose tool failed does. 2: it could not be
//! tried, because of how it was asked for: usage, unreadable files, unparsable JSON, unknown tools,
//! mistakes in the configuration. 3, of `aop audit verify` alone: nothing is wrong, and not all could be checked.

use std::io;
use std::process::ExitCode;

/// Exit code of a failure.
const FAILURE: u8 = 1;
/// Exit code of a usage error; clap's own.
const USAGE: u8 = 2;
/// Exit code of a check that found nothing, and could not check all.
const UNCHECKED: u8 = 3;

/// For `--help`.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  it worked
  1  it was tried and failed (a call whose tool failed, a host that refused)
  2  it could not be tried (usage, unreadable file, unparsable JSON, unknown tool, bad configuration)";

/// Why a command did not work.
#[derive(Debug)]
pub(crate) enum CommandError {
    /// It was asked for wrongly.
    Usage(anyhow::Error),
    /// It was tried and failed.
    Failure(anyhow::Error),
    /// It failed, and has already said so.
    Reported,
    /// Nothing is wrong as far as could be checked, and it has said what could not be.
    Unchecked,
}

/// How a command ends.
pub(crate) type CommandResult = Result<(), CommandError>;

impl<E: Into<anyhow::Error>> From<E> for CommandError {
    fn from(error: E) -> Self {
        Self::Failure(error.into())
    }
}

/// Marks an error as one of usage.
pub(crate) fn usage(error: impl Into<anyhow::Error>) -> CommandError {
    CommandError::Usage(error.into())
}

/// An error of usage from text.
pub(crate) fn misuse(message: impl Into<String>) -> CommandError {
    CommandError::Usage(anyhow::Error::msg(message.into()))
}

/// A failure from text.
pub(crate) fn failure(message: impl Into<String>) -> CommandError {
    CommandError::Failure(anyhow::Error::msg(message.into()))
}

impl CommandError {
    /// What to tell the person, and the exit code.
    pub(crate) fn conclusion(&self) -> (Option<String>, ExitCode) {
        match self {
            Self::Usage(error) => (Some(format!("{error:#}")), ExitCode::from(USAGE)),
            // Whoever reads our output has had enough of it, as `head` does.
            Self::Failure(error) if is_broken_pipe(error) => (None, ExitCode::SUCCESS),
            Self::Failure(error) => (Some(format!("{error:#}")), ExitCode::from(FAILURE)),
            Self::Reported => (None, ExitCode::from(FAILURE)),
            Self::Unchecked => (None, ExitCode::from(UNCHECKED)),
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
