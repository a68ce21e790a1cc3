//! `aop new`: the source of an agent that works, with its interface, a test and a README.
//!
//! All languages implement the same interface, which is in `guest-sdk/templates` with the rest and
//! part of this binary. The directory appears at once and whole, or not at all; an empty one that is there already is
//! filled and stays the same directory, since somebody may stand in it.

mod template;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use aop_core::{AgentName, ToolName};
use tempfile::TempDir;

use crate::args::{Language, NewArgs};
use crate::exit::{CommandResult, misuse, usage};
use crate::output;

pub(crate) fn run(args: &NewArgs) -> CommandResult {
    check(&args.name)?;
    let directory = match &args.dir {
        Some(directory) => directory.clone(),
        None => PathBuf::from(args.name.as_str()),
    };
    if !is_free(&directory) {
        return Err(misuse(format!(
            "{} exists already: nothing is overwritten, choose another directory with --dir",
            directory.display()
        )));
    }
    create(&args.name, args.lang, &directory)
        .with_context(|| format!("cannot make {}", directory.display()))
        .map_err(usage)?;
    output::note(format_args!(
        "made {}, an agent in {}. What comes next is in its README.md:\n",
        directory.display(),
        args.lang
    ));
    output::line(format_args!("cd {}", output::shell_word(&directory.to_string_lossy())))?;
    output::line(template::commands(&args.name, args.lang))?;
    Ok(())
}

/// A name whose agent no host would load is refused before anything is made.
fn check(name: &AgentName) -> CommandResult {
    let tool = format!("{name}_{}", template::FUNCTION);
    if ToolName::new(&tool).is_ok() {
        return Ok(());
    }
    Err(misuse(format!(
        "the tool of the new agent would be `{tool}`, and its {} characters are more than the {} that model APIs accept: give the agent a name of at most {}",
        tool.len(),
        ToolName::LENGTH_MAX,
        ToolName::LENGTH_MAX - (tool.len() - name.len())
    )))
}

/// An empty directory may be filled.
fn is_free(directory: &Path) -> bool {
    match std::fs::read_dir(directory) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

fn create(name: &AgentName, language: Language, directory: &Path) -> anyhow::Result<()> {
    let is_there = directory.is_dir();
    let parent = match directory.parent() {
        _ if is_there => directory,
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(parent)?;
    let place = TempDir::with_prefix_in(".new-", parent)?;
    // Not the temporary directory itself, which only its owner may read.
    let made = place.path().join(name.as_str());
    for (path, text) in template::files(name, language) {
        let path = made.join(path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(path, text)?;
    }
    if is_there {
        fill(directory, &made)?
    } else {
        std::fs::rename(&made, directory)?
    }
    Ok(())
}

/// Moves what is in one directory into another, all of it or nothing.
fn fill(directory: &Path, made: &Path) -> std::io::Result<()> {
    let mut moved = Vec::new();
    for entry in std::fs::read_dir(made)? {
        let from = entry?.path();
        let to = directory.join(from.file_name().unwrap_or_default());
        if let Err(error) = std::fs::rename(&from, &to) {
            // Back to what goes away with the temporary directory; nobody can be told when that fails, too.
            for (from, to) in &moved {
                let _ = std::fs::rename(to, from);
            }
            return Err(error);
        }
        moved.push((from, to));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
