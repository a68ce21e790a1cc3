//! `aop build`: from the source of an agent to a component that a host accepts.
//!
//! Each language is built by its own tools (a file each in `build/`); what follows is the same for all.
//! The component gets the text of its interface and its metadata as custom sections, is compiled and
//! derived exactly as a host would, and only then takes the place of the one before. So a build that
//! fails leaves what worked, and a directory that a host watches never holds half a file.
//!
//! Nothing is installed here. A tool that is missing is an error with the command that installs it.

mod c;
mod component;
mod go;
mod javascript;
mod project;
mod python;
mod rust;
mod toolchain;
mod wit;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context as _;
use serde::Serialize;
use tempfile::{NamedTempFile, TempDir};

use crate::args::{BuildArgs, Language, LocalArgs};
use crate::command::inspect::{self, Inspection};
use crate::exit::{CommandError, CommandResult, failure};
use crate::local::Local;
use crate::output;

pub(crate) use project::Project;
pub(crate) use toolchain::Progress;

use toolchain::Toolchain;

/// What `--json` prints: what `aop inspect --json` does, and what was built from.
#[derive(Serialize)]
struct Report<'a> {
    agent: &'a str,
    language: Language,
    file: &'a Path,
    #[serde(flatten)]
    inspection: Inspection<'a>,
}

pub(crate) async fn run(args: &BuildArgs) -> CommandResult {
    let started = Instant::now();
    let project = Project::find(&args.source)?;
    let out = args.out.as_deref().unwrap_or(&args.source.directory);
    let progress = Progress::start(&format!("building {} ({})", project.name, project.language));
    let built = build(&project, out, None, &progress).await?;
    let inspection = Inspection::of(&built.local);
    if args.json {
        let report = Report {
            agent: &project.name,
            language: project.language,
            file: &built.file,
            inspection,
        };
        return output::json(&report);
    }
    output::note(format_args!(
        "built {} ({}) in {:.1} s\n",
        built.file.display(),
        output::rounded(built.local.size_bytes),
        started.elapsed().as_secs_f64()
    ));
    output::line(inspect::tools_table(&inspection))?;
    inspect::warn(&built.local);
    Ok(())
}

/// A component where it was asked for.
pub(crate) struct Built {
    pub(crate) file: PathBuf,
    /// The same, compiled and derived.
    pub(crate) local: Local,
}

/// Builds an agent, checks it, and puts it into `out`. Compiled code is kept below `data`, or the
/// platform's data directory.
pub(crate) async fn build(
    project: &Project,
    out: &Path,
    data: Option<&Path>,
    progress: &Progress,
) -> Result<Built, CommandError> {
    let toolchain = Toolchain::new(project, progress);
    project.wit.check(project.language)?;
    let held = toolchain.hold().await?;
    let component = match project.language {
        Language::Rust => rust::build(project, &toolchain).await?,
        Language::Python => python::build(project, &toolchain).await?,
        Language::Js | Language::Ts => javascript::build(project, &toolchain).await?,
        Language::Go => go::build(project, &toolchain).await?,
        Language::C => c::build(project, &toolchain).await?,
    };
    drop(held);
    progress.finish();
    let component = component::describe(&component, project)?;

    // Under its own name, because tools are named after it.
    let place = TempDir::with_prefix("aop-build-").context("cannot make a temporary directory")?;
    let file = place.path().join(format!("{}.wasm", project.name));
    std::fs::write(&file, &component)
        .with_context(|| format!("cannot write {}", file.display()))?;
    let args = LocalArgs { settings: project.settings(), data: data.map(Path::to_owned) };
    let local = Local::prepare(&file, &args).await?;
    check(project, &local)?;
    let file = publish(project, &component, out)?;
    Ok(Built { file, local })
}

/// An agent that offers nothing is a mistake, mostly a world without exports.
fn check(project: &Project, local: &Local) -> Result<(), CommandError> {
    if !local.tools.tools.is_empty() || !local.tools.features.is_empty() {
        return Ok(());
    }
    let mut message = format!(
        "{} exports no function that can be a tool: its world is `{}` in {}",
        project.name,
        project.wit.world_name(),
        project.wit.directory.display()
    );
    for refusal in &local.tools.refused {
        let line = format!("\n  {}: {}", refusal.function, refusal.reason);
        message.push_str(&output::printable(&line));
    }
    Err(failure(message))
}

/// Settings first, so that no host ever loads the agent without them.
fn publish(project: &Project, component: &[u8], out: &Path) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    if let Some(settings) = project.settings() {
        let text = std::fs::read(&settings)
            .with_context(|| format!("cannot read {}", settings.display()))?;
        put(&text, &out.join(format!("{}.toml", project.name)))?;
    }
    let file = out.join(format!("{}.wasm", project.name));
    put(component, &file)?;
    Ok(file)
}

/// Replaces a file in one step, and not at all when nothing changed: the directory may be watched.
fn put(bytes: &[u8], to: &Path) -> anyhow::Result<()> {
    let replace = || -> anyhow::Result<()> {
        if std::fs::read(to).is_ok_and(|present| present == bytes) {
            return Ok(());
        }
        let directory = to.parent().context("it has no directory")?;
        let mut file = NamedTempFile::with_prefix_in(".building-", directory)?;
        file.write_all(bytes)?;
        readable_by_all(file.as_file())?;
        file.persist(to)?;
        Ok(())
    };
    replace().with_context(|| format!("cannot write {}", to.display()))
}

/// Temporary files are their owner's alone; what a build makes is for whoever runs the host.
fn readable_by_all(file: &std::fs::File) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    file.set_permissions(std::fs::Permissions::from_mode(0o644))
}

#[cfg(test)]
mod tests;
