//! A component on this machine, prepared without a server: what `inspect` and `run` share.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use aop_core::quota::Payer;
use aop_core::schema::ToolSet;
use aop_core::settings::Mistake;
use aop_core::{AgentName, Artifact, Digest, Prepare as _, PrepareError, Prepared, Settings};
use aop_runtime::{CompileLimits, Runtime, RuntimeConfig};
use aop_services::GuestLogs;
use tempfile::{NamedTempFile, TempDir};

use crate::args::LocalArgs;
use crate::config::{Config, File, Flags};
use crate::exit::{CommandError, misuse, usage};
use crate::services::KnownProviders;
use crate::{arguments, config, output, wire};

/// One call at a time needs few instances; mapping thousands would take longer than the call.
const INSTANCES_MAX: u32 = 16;

/// A component with its settings, ready to be called.
pub(crate) struct Local {
    pub(crate) name: AgentName,
    pub(crate) digest: Digest,
    pub(crate) size_bytes: u64,
    pub(crate) settings: Arc<Settings>,
    /// Of the configuration that was found.
    pub(crate) providers: KnownProviders,
    pub(crate) prepared: Prepared,
    pub(crate) tools: ToolSet,
    _place: Place,
}

impl Local {
    /// Reads, compiles and derives.
    pub(crate) async fn prepare(file: &Path, args: &LocalArgs) -> Result<Self, CommandError> {
        let config = Config::load(File::find(None)?.as_ref(), &Flags::default())?;
        Self::prepare_to_run(file, args, (&config, Arc::default()), |_| ()).await
    }

    /// The same for a call, in which the agent may see `environment` as far as its policy says. `change` has the
    /// last word on the settings.
    pub(crate) async fn prepare_to_run(
        file: &Path,
        args: &LocalArgs,
        (config, environment): (&Config, Arc<BTreeMap<String, String>>),
        change: impl FnOnce(&mut Settings),
    ) -> Result<Self, CommandError> {
        let name = agent_name(file)?;
        let bytes = read_component(file, config.compile.component_max_bytes)?;
        let mut settings = match settings_text(file, args.settings.as_deref())? {
            Some((path, text)) => {
                Settings::from_toml(&text).map_err(|mistakes| mistaken(&path, &mistakes))?
            }
            None => Settings::default(),
        };
        change(&mut settings);
        let settings = Arc::new(settings);

        let place = Place::open(args.data.as_deref())?;
        let digest = Digest::of(&bytes);
        let ground = (config.compile, environment);
        let prepared = place.prepare(&bytes, digest, Arc::clone(&settings), ground).await?;
        let tools =
            ToolSet::new(&prepared.interface, &name, &settings, &BTreeMap::new()).map_err(usage)?;
        Ok(Self {
            name,
            digest,
            size_bytes: bytes.len() as u64,
            settings,
            providers: KnownProviders::of(&config.services),
            prepared,
            tools,
            _place: place,
        })
    }
}

/// Where compiled code is kept: the data directory, or one that goes away with the process.
struct Place {
    directory: PathBuf,
    _temporary: Option<TempDir>,
}

impl Place {
    fn open(data: Option<&Path>) -> anyhow::Result<Self> {
        let data = data.map_or_else(config::platform_data_directory, |path| Ok(path.to_owned()));
        if let Ok(directory) = data.map(|data| wire::compiled_directory(&data))
            && std::fs::create_dir_all(&directory).is_ok()
            && tempfile::tempfile_in(&directory).is_ok()
        {
            return Ok(Self { directory, _temporary: None });
        }
        // A machine without a home, or a read-only one, can still run an agent.
        let temporary = tempfile::tempdir().context("cannot make a temporary directory")?;
        Ok(Self { directory: temporary.path().to_owned(), _temporary: Some(temporary) })
    }

    async fn prepare(
        &self,
        bytes: &[u8],
        digest: Digest,
        settings: Arc<Settings>,
        (compile_limits, environment): (CompileLimits, Arc<BTreeMap<String, String>>),
    ) -> Result<Prepared, CommandError> {
        let config = RuntimeConfig {
            compile_limits,
            instances_max: INSTANCES_MAX,
            environment,
            ..RuntimeConfig::new(self.directory.clone(), wire::compile_worker()?)
        };
        let runtime = Runtime::new(config, Arc::new(GuestLogs::default()))?;
        // A copy, because the author's build may replace the file while it is compiled.
        let mut copy = NamedTempFile::with_prefix_in("preparing-", &self.directory)?;
        // Locked, so that no process which shares the cache takes it for left over.
        copy.as_file().lock()?;
        copy.write_all(bytes)?;
        let spinner = output::spinner("preparing the component");
        let artifact = Artifact { path: copy.path(), digest };
        let prepared = runtime.prepare(artifact, settings, &Payer::nobody()).await;
        spinner.finish_and_clear();
        prepared.map_err(|error| match error {
            PrepareError::Internal(_) => CommandError::Failure(error.into()),
            rejected => usage(rejected),
        })
    }
}

fn read_component(file: &Path, size_max: u64) -> Result<Vec<u8>, CommandError> {
    let read = || -> anyhow::Result<Vec<u8>> {
        let size = std::fs::metadata(file)?.len();
        anyhow::ensure!(
            size <= size_max,
            "it has {size} bytes, and `component` under `[compile]` permits {size_max}: make it smaller (`wasm-tools strip`), or raise that"
        );
        Ok(std::fs::read(file)?)
    };
    read().with_context(|| format!("cannot read {}", file.display())).map_err(usage)
}

/// The name an agents directory would give the component.
pub(crate) fn agent_name(file: &Path) -> Result<AgentName, CommandError> {
    let stem = file.file_stem().and_then(|stem| stem.to_str());
    let stem =
        stem.ok_or_else(|| misuse(format!("{} has no name to call the agent by", file.display())))?;
    AgentName::from_file_stem(stem).map_err(usage)
}

/// The settings that were named, else those beside the component.
pub(crate) fn settings_text(
    component: &Path,
    named: Option<&Path>,
) -> Result<Option<(PathBuf, String)>, CommandError> {
    let beside = component.with_extension("toml");
    let path = match named {
        Some(path) => path.to_owned(),
        None if beside.is_file() => beside,
        None => return Ok(None),
    };
    let text = arguments::read_file(&path)?;
    Ok(Some((path, text)))
}

/// Mistakes in settings as one error.
pub(crate) fn mistaken(path: &Path, mistakes: &[Mistake]) -> CommandError {
    let lines: Vec<_> =
        mistakes.iter().map(|mistake| format!("\n  {}: {mistake}", path.display())).collect();
    misuse(format!("the settings have mistakes:{}", lines.concat()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_that_is_too_large_is_not_read() {
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(&[0; 2 << 20]).unwrap();
        assert_eq!(read_component(file.path(), 2 << 20).unwrap().len(), 2 << 20);
        let error = read_component(file.path(), 1 << 20).unwrap_err();
        let said = error.conclusion().0.unwrap();
        assert!(said.contains("`component` under `[compile]` permits 1048576"), "{said}");
    }

    #[test]
    fn settings_are_found_beside_the_component_unless_others_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        assert!(settings_text(&path("a.wasm"), None).unwrap().is_none());
        std::fs::write(path("a.toml"), "beside").unwrap();
        std::fs::write(path("b.toml"), "named").unwrap();
        let text = |named: Option<&Path>| settings_text(&path("a.wasm"), named).unwrap().unwrap().1;
        assert_eq!(text(None), "beside");
        assert_eq!(text(Some(&path("b.toml"))), "named");
        assert!(settings_text(&path("a.wasm"), Some(&path("c.toml"))).is_err());
    }
}
