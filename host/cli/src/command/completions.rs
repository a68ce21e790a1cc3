//! `aop completions`

use clap::CommandFactory as _;

use crate::args::{Arguments, CompletionsArgs};
use crate::exit::CommandResult;
use crate::output;

pub(crate) fn run(args: &CompletionsArgs) -> CommandResult {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Arguments::command(), "aop", &mut script);
    output::line(String::from_utf8_lossy(&script).trim_end())?;
    Ok(())
}
