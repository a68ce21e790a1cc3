//! Running the tools of a language: found in the project first, shown while they work, quoted when they
//! fail.
//!
//! What is found is run, so it is looked for only where the owner of the project put it: in the environment that
//! its language has, in the project or at the root of its workspace, and in the path.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs::{File, TryLockError};
use std::io::{ErrorKind, IsTerminal as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use tempfile::TempDir;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};
use tokio::process::Command;

use super::project::Project;
use crate::args::Language;
use crate::exit::{CommandError, failure, misuse, usage};
use crate::{environment, output};

/// Below the project: what builds leave for the next one. It ignores itself in git.
const WORK_DIRECTORY: &str = ".aop";
/// Below that: locked by the build that runs.
const LOCK_FILE: &str = "lock";
/// How often a build that waits for another looks whether it has ended: soon for a person, seldom for a machine.
const LOCK_POLL: Duration = Duration::from_millis(200);
/// Lines of a tool's output that are kept to be shown when it fails, the last ones: compilers count
/// their errors there, and nobody reads more.
const COMPLAINT_LINES_MAX: usize = 400;
/// The longest line of a tool that is taken whole: cargo describes an artifact with all its files in one.
const LINE_MAX_BYTES: u64 = 1 << 20;

/// The tools that build one project.
pub(super) struct Toolchain<'a> {
    project: &'a Project,
    progress: &'a Progress,
    /// In the place of [`WORK_DIRECTORY`] where that cannot be made.
    elsewhere: OnceLock<TempDir>,
}

/// What a tool wrote.
#[derive(Default)]
pub(super) struct Output {
    pub(super) stdout: Vec<String>,
    /// The end of both streams.
    pub(super) said: VecDeque<String>,
}

impl<'a> Toolchain<'a> {
    pub(super) const fn new(project: &'a Project, progress: &'a Progress) -> Self {
        Self { project, progress, elsewhere: OnceLock::new() }
    }

    /// Where files of builds are kept, made when it is asked for. The source may be somebody else's, or read-only: then it
    /// is a temporary directory for this build, where the language's tools do not write beside the source themselves.
    pub(super) fn work(&self) -> anyhow::Result<PathBuf> {
        let work = self.project.directory.join(WORK_DIRECTORY);
        let make = || -> std::io::Result<()> {
            std::fs::create_dir_all(&work)?;
            std::fs::write(work.join(".gitignore"), "*\n")
        };
        let error = match self.elsewhere.get() {
            Some(elsewhere) => return Ok(elsewhere.path().to_owned()),
            None => match make() {
                Ok(()) => return Ok(work),
                Err(error) => anyhow::Error::new(error),
            },
        };
        let language = self.project.language;
        if !matches!(language, Language::Python | Language::C) {
            let advice = format!(
                "cannot make {}. The tools of {language} write beside the source: build a copy of it in a directory that you may write to",
                work.display()
            );
            return Err(error.context(advice));
        }
        let elsewhere = TempDir::with_prefix("aop-work-");
        let elsewhere = elsewhere.context("cannot make a temporary directory")?;
        Ok(self.elsewhere.get_or_init(|| elsewhere).path().to_owned())
    }

    /// Keeps other builds of the project away until it is dropped: they write the same files. Cargo does that by itself.
    /// The system's own lock of a file, which goes away with the process however that ends.
    pub(super) async fn hold(&self) -> Result<Option<File>, CommandError> {
        if self.project.language == Language::Rust {
            return Ok(None);
        }
        let path = self.work()?.join(LOCK_FILE);
        let failed = || format!("cannot lock {}", path.display());
        let mut options = File::options();
        let file = options.write(true).create(true).truncate(false).open(&path);
        let file = file.with_context(failed)?;
        let mut is_told = false;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Some(file)),
                // Some file systems of networks have no locks.
                Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => {
                    return Ok(None);
                }
                Err(TryLockError::Error(error)) => {
                    return Err(anyhow::Error::new(error).context(failed()).into());
                }
                Err(TryLockError::WouldBlock) => {}
            }
            if !is_told {
                output::note("another build of the same project runs: waiting until it has ended");
                is_told = true;
            }
            // Not a thread that waits for the lock: it would keep an interrupted command from ending.
            tokio::time::sleep(LOCK_POLL).await;
        }
    }

    /// Where the Python package index puts programs for the project. It has Go, Zig and Node.js, too.
    fn environment(&self) -> Option<PathBuf> {
        let has_one = self.project.language != Language::Rust;
        has_one.then(|| self.project.directory.join(".venv/bin"))
    }

    /// A program of the project's own environment, or in the path.
    pub(super) fn look_for(&self, name: &str) -> Option<PathBuf> {
        let project = &self.project.directory;
        let own = match self.project.language {
            Language::Js | Language::Ts => {
                // Workspaces keep the modules of their packages at their root.
                let directories = std::iter::once(project.as_path()).chain(workspace_of(project));
                directories.map(|directory| directory.join("node_modules/.bin")).collect()
            }
            _ => Vec::new(),
        };
        own.into_iter()
            .chain(self.environment())
            .chain(environment::search_path())
            .map(|directory| directory.join(name))
            .find(|path| is_program(path))
    }

    /// The same, or how to install it.
    pub(super) fn find(&self, name: &str, install: &str) -> Result<PathBuf, CommandError> {
        self.look_for(name).ok_or_else(|| self.missing(name, install))
    }

    /// Says how to install what is missing.
    pub(super) fn missing(&self, name: &str, install: &str) -> CommandError {
        misuse(format!(
            "{name} is missing, which agents in {} are built with. To install it:\n  cd {} && {install}",
            self.project.language,
            output::shell_word(&self.project.directory.to_string_lossy())
        ))
    }

    /// A command in the project's directory.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(&self.project.directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        // What a tool itself starts is to be found where the tool was.
        if let Some(environment) = self.environment().filter(|environment| environment.is_dir()) {
            let path = std::iter::once(environment).chain(environment::search_path());
            // Fails for a directory with a colon in its name, which no path can have.
            if let Ok(path) = std::env::join_paths(path) {
                command.env("PATH", path);
            }
        }
        command
    }

    /// Runs a command to its end. When it fails, people see what it wrote.
    pub(super) async fn run(&self, command: &mut Command) -> Result<Output, CommandError> {
        let (status, output) = self.attempt(command).await?;
        if status.success() { Ok(output) } else { Err(self.failed(command, status, &output)) }
    }

    /// Shows what a command that failed wrote, and says that it did.
    pub(super) fn failed(
        &self,
        command: &Command,
        status: ExitStatus,
        output: &Output,
    ) -> CommandError {
        self.progress.finish();
        for line in &output.said {
            output::note(line);
        }
        failure(format!("{} failed ({status})", shown(command)))
    }

    /// Runs a command to its end, for somebody who knows what its failure means.
    pub(super) async fn attempt(
        &self,
        command: &mut Command,
    ) -> Result<(ExitStatus, Output), CommandError> {
        let shown = shown(command);
        let mut child =
            command.spawn().with_context(|| format!("cannot start {shown}")).map_err(usage)?;
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(failure(format!("{shown} has no pipes")));
        };
        let mut output = Output::default();
        self.follow(stdout, stderr, &mut output)
            .await
            .with_context(|| format!("cannot read what {shown} writes"))?;
        let status = child.wait().await.with_context(|| format!("cannot wait for {shown}"))?;
        Ok((status, output))
    }

    async fn follow(
        &self,
        stdout: impl AsyncRead + Unpin,
        stderr: impl AsyncRead + Unpin,
        output: &mut Output,
    ) -> std::io::Result<()> {
        let (mut stdout, mut stderr) = (BufReader::new(stdout), BufReader::new(stderr));
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let (mut out_open, mut err_open) = (true, true);
        while out_open || err_open {
            tokio::select! {
                read = next_line(&mut stdout, &mut out), if out_open => match read? {
                    // JSON is for programs.
                    Some(line) if line.starts_with('{') => output.stdout.push(line),
                    Some(line) => self.hear(line, output),
                    None => out_open = false,
                },
                read = next_line(&mut stderr, &mut err), if err_open => match read? {
                    Some(line) => self.hear(line, output),
                    None => err_open = false,
                },
            }
        }
        Ok(())
    }

    fn hear(&self, line: String, output: &mut Output) {
        self.progress.show(&line);
        if output.said.len() == COMPLAINT_LINES_MAX {
            output.said.pop_front();
        }
        output.said.push_back(line);
    }
}

/// The next line, cut to [`LINE_MAX_BYTES`]. `line` keeps what arrived of it when this is cancelled.
async fn next_line(
    reader: &mut (impl AsyncBufRead + Unpin),
    line: &mut Vec<u8>,
) -> std::io::Result<Option<String>> {
    let room = LINE_MAX_BYTES.saturating_sub(line.len() as u64).max(1);
    if reader.take(room).read_until(b'\n', line).await? == 0 {
        let rest = std::mem::take(line);
        return Ok((!rest.is_empty()).then(|| String::from_utf8_lossy(&rest).into_owned()));
    }
    let text = String::from_utf8_lossy(&std::mem::take(line)).into_owned();
    Ok(Some(text.trim_end().to_owned()))
}

/// The nearest directory above a package that is the root of a workspace or of a repository. What lies in or above
/// a directory that everybody may write to, such as the one for temporary files, is no part of the project.
fn workspace_of(package: &Path) -> Option<&Path> {
    package.ancestors().skip(1).take_while(|directory| is_guarded(directory)).find(|directory| {
        directory.join(".git").exists() || is_workspace(&directory.join("package.json"))
    })
}

fn is_workspace(manifest: &Path) -> bool {
    let text = std::fs::read(manifest).unwrap_or_default();
    let manifest = serde_json::from_slice::<serde_json::Value>(&text).unwrap_or_default();
    manifest.get("workspaces").is_some()
}

fn is_guarded(directory: &Path) -> bool {
    const WRITABLE_BY_OTHERS: u32 = 0o002;
    std::fs::metadata(directory).is_ok_and(|found| found.mode() & WRITABLE_BY_OTHERS == 0)
}

fn is_program(path: &Path) -> bool {
    std::fs::metadata(path)
        .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// A command as a person would type it.
fn shown(command: &Command) -> String {
    let command = command.as_std();
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let words = std::iter::once(program).chain(command.get_args()).map(OsStr::to_string_lossy);
    let words: Vec<_> = words.map(|word| output::shell_word(&word).into_owned()).collect();
    format!("`{}`", words.join(" "))
}

/// Shows that something is being built: what the tools say on a terminal, one line elsewhere.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    pub(crate) fn start(title: &str) -> Self {
        let bar = output::spinner("");
        if bar.is_hidden() || !std::io::stderr().is_terminal() {
            output::note(format_args!("{title} …"));
        } else if let Ok(style) =
            ProgressStyle::with_template("{spinner} {prefix} ({elapsed}) {wide_msg:.dim}")
        {
            bar.set_style(style);
            bar.set_prefix(title.to_owned());
        }
        Self(bar)
    }

    fn show(&self, line: &str) {
        self.0.set_message(output::printable(line.trim()).into_owned());
    }

    /// What comes next shows itself.
    pub(crate) fn finish(&self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests;
