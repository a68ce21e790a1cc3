//! What is in the agents directories, and reading an agent from there.
//!
//! Only regular files named `NAME.wasm` count, symbolic links to such included; hidden ones are left
//! to those who write them before they rename them. Everything here blocks on the file system.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use aop_core::settings::Lines;
use aop_core::supply::BUNDLE_MAX_BYTES;
use aop_core::{AgentName, Digest, Settings};

use crate::RegistryError;

/// What tells a changed file from an unchanged one without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileStamp {
    bytes: u64,
    pub(crate) modified: Option<SystemTime>,
    // Device, inode and change time: a file that was swapped for one of the same size and age.
    identity: Option<(u64, u64, i64, i64)>,
}

impl FileStamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            bytes: metadata.len(),
            modified: metadata.modified().ok(),
            identity: identity(metadata),
        }
    }

    #[cfg(test)]
    pub(crate) const fn for_test(bytes: u64, modified: SystemTime) -> Self {
        Self { bytes, modified: Some(modified), identity: None }
    }
}

#[cfg(unix)]
fn identity(metadata: &Metadata) -> Option<(u64, u64, i64, i64)> {
    use std::os::unix::fs::MetadataExt as _;
    Some((metadata.dev(), metadata.ino(), metadata.ctime(), metadata.ctime_nsec()))
}

#[cfg(not(unix))]
fn identity(_metadata: &Metadata) -> Option<(u64, u64, i64, i64)> {
    None
}

/// An agent in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// The component.
    pub(crate) path: PathBuf,
    /// Its file.
    pub(crate) component: FileStamp,
    /// The settings beside it.
    pub(crate) settings: Option<FileStamp>,
    /// The bundle of its signature beside it.
    pub(crate) bundle: Option<FileStamp>,
}

impl Found {
    /// The youngest of the files.
    pub(crate) fn modified(&self) -> Option<SystemTime> {
        let beside = [self.settings, self.bundle];
        let beside = beside.into_iter().flatten().filter_map(|stamp| stamp.modified);
        self.component.modified.into_iter().chain(beside).max()
    }

    fn at(path: PathBuf) -> io::Result<Self> {
        let component = regular_file(&path)?.ok_or(io::ErrorKind::NotFound)?;
        let settings = regular_file(&settings_path(&path))?;
        let bundle = regular_file(&bundle_path(&path))?;
        Ok(Self { path, component, settings, bundle })
    }
}

/// The settings that belong to a component.
pub(crate) fn settings_path(component: &Path) -> PathBuf {
    component.with_extension("toml")
}

/// The bundle of the signature of a component.
pub(crate) fn bundle_path(component: &Path) -> PathBuf {
    component.with_added_extension("sigstore.json")
}

fn regular_file(path: &Path) -> io::Result<Option<FileStamp>> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => Ok(Some(FileStamp::of(&metadata))),
        Ok(_) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A file that cannot become an agent, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unusable {
    /// The name it would have, if it has one.
    pub(crate) name: Option<AgentName>,
    pub(crate) path: PathBuf,
    pub(crate) reason: String,
}

/// How reading a directory went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Directory {
    Read,
    Missing,
    Unreadable(String),
}

/// All directories at one moment.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub(crate) agents: BTreeMap<AgentName, Found>,
    pub(crate) unusable: Vec<Unusable>,
    pub(crate) directories: BTreeMap<PathBuf, Directory>,
}

/// Lists the directories. Where not every file can have its name or a place, those of `known` come first, so that no file
/// that is added takes them from an agent that serves; then the order is that of the directories and of paths.
pub(crate) fn list(
    directories: &[PathBuf],
    agents_max: usize,
    known: &BTreeSet<PathBuf>,
) -> Listing {
    let mut listing = Listing::default();
    let mut found = Vec::new();
    for directory in directories {
        let outcome = match components_in(directory) {
            Ok(paths) => {
                found.extend(paths);
                Directory::Read
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Directory::Missing,
            Err(error) => Directory::Unreadable(error.to_string()),
        };
        listing.directories.insert(directory.clone(), outcome);
    }
    found.sort_by_key(|path| !known.contains(path));
    for path in found {
        listing.add(path, agents_max);
    }
    listing
}

fn components_in(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if !hidden && path.extension().is_some_and(|extension| extension == "wasm") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

impl Listing {
    fn add(&mut self, path: PathBuf, agents_max: usize) {
        // A file that went meanwhile, or cannot be looked at, is not there.
        let Ok(found) = Found::at(path) else { return };
        let Some(stem) = found.path.file_stem().and_then(|stem| stem.to_str()) else {
            return self.refuse(
                None,
                found.path,
                "its name is not valid UTF-8: rename it".to_owned(),
            );
        };
        let name = match AgentName::from_file_stem(stem) {
            Ok(name) => name,
            Err(error) => return self.refuse(None, found.path, error.to_string()),
        };
        if let Some(first) = self.agents.get(&name) {
            let reason = format!(
                "agent `{name}` already comes from {}: rename or remove one of the two files",
                first.path.display()
            );
            return self.refuse(Some(name), found.path, reason);
        }
        if self.agents.len() >= agents_max {
            let reason = format!(
                "the host holds at most {agents_max} agents: remove some, or raise the limit"
            );
            return self.refuse(Some(name), found.path, reason);
        }
        self.agents.insert(name, found);
    }

    fn refuse(&mut self, name: Option<AgentName>, path: PathBuf, reason: String) {
        self.unusable.push(Unusable { name, path, reason });
    }

    /// Whether the directory of a file could be read, so that its absence means something.
    pub(crate) fn directory_of(&self, path: &Path) -> Option<&Directory> {
        self.directories.get(path.parent()?)
    }
}

/// A component and its settings, as they were at one moment.
pub(crate) struct Source {
    pub(crate) bytes: Vec<u8>,
    pub(crate) digest: Digest,
    pub(crate) settings: Result<Settings, String>,
    /// Where in their file the settings are.
    pub(crate) written: Option<Written>,
}

/// Where settings are written.
pub(crate) struct Written {
    file: String,
    lines: Lines,
}

impl Written {
    /// The place of a setting: its own line, else that of the table it is in.
    pub(crate) fn place(&self, setting: &str) -> Option<String> {
        let line = self.lines.of(setting)?;
        Some(format!("{}:{line}: ", self.file))
    }
}

/// Reads an agent. The files must still be those that were found once they are read.
///
/// # Errors
/// [`RegistryError::Changed`] when they are not.
pub(crate) fn read(
    found: &Found,
    component_max_bytes: u64,
    settings_max_bytes: u64,
) -> Result<Source, RegistryError> {
    let bytes = read_bounded(&found.path, component_max_bytes, "component")?;
    let (settings, written) = if found.settings.is_some() {
        let path = settings_path(&found.path);
        let bytes = read_bounded(&path, settings_max_bytes, "settings file")?;
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let lines = Lines::in_text(&String::from_utf8_lossy(&bytes));
        let settings = parse_settings(&path, &bytes);
        // Asked only of what has mistakes: the status of an agent is for more people than may read any file that the host may.
        let settings =
            settings.map_err(|said| if leads_out(&path) { unshown(&path) } else { said });
        (settings, Some(Written { file, lines }))
    } else {
        (Ok(Settings::default()), None)
    };
    let settings = match found.bundle {
        Some(_) => settings.and_then(|settings| with_bundle(settings, &found.path)),
        None => settings,
    };
    if Found::at(found.path.clone()).ok().as_ref() != Some(found) {
        return Err(RegistryError::Changed(found.path.clone()));
    }
    let digest = Digest::of(&bytes);
    Ok(Source { bytes, digest, settings, written })
}

/// The settings with the bundle beside the component, unless they have one of their own.
fn with_bundle(mut settings: Settings, component: &Path) -> Result<Settings, String> {
    if settings.signature.is_some() {
        return Ok(settings);
    }
    let path = bundle_path(component);
    if leads_out(&path) {
        // What is wrong with it would be told with pieces of it.
        return Err(format!(
            "{} is a link to a file elsewhere: put the bundle itself there",
            path.display()
        ));
    }
    let bytes = read_bounded(&path, BUNDLE_MAX_BYTES as u64, "bundle of the signature")
        .map_err(|error| error.to_string())?;
    let bundle = String::from_utf8(bytes)
        .map_err(|error| format!("{} is not UTF-8: {error}", path.display()))?;
    settings.signature = Some(bundle.into());
    Ok(settings)
}

fn read_bounded(path: &Path, max_bytes: u64, what: &str) -> Result<Vec<u8>, RegistryError> {
    let read = || {
        let file = File::open(path)?;
        let expected = file.metadata()?.len().min(max_bytes);
        let mut bytes = Vec::with_capacity(usize::try_from(expected).unwrap_or(0) + 1);
        // One byte more tells a file that grew beyond the limit.
        file.take(max_bytes.saturating_add(1)).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => RegistryError::Changed(path.to_owned()),
        _ => RegistryError::Io { path: path.to_owned(), reason: error.to_string() },
    })?;
    if bytes.len() as u64 > max_bytes {
        return Err(too_large(what, max_bytes));
    }
    Ok(bytes)
}

/// What a component or settings file over its limit is told.
pub(crate) fn too_large(what: &str, max_bytes: u64) -> RegistryError {
    RegistryError::Rejected(format!(
        "the {what} is larger than the {max_bytes} bytes that this host accepts: make it smaller (`wasm-tools strip` removes debug information), or raise the host's limit"
    ))
}

/// Whether a file is a link to what is not in its directory.
fn leads_out(path: &Path) -> bool {
    let stays = || -> io::Result<bool> {
        let directory = fs::canonicalize(path.parent().unwrap_or_else(|| Path::new(".")))?;
        Ok(fs::canonicalize(path)?.starts_with(directory))
    };
    !stays().unwrap_or(false)
}

fn unshown(path: &Path) -> String {
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    format!(
        "{file} is a link to a file elsewhere that has mistakes, which are not shown here: `aop config check` shows them, or put the file itself there"
    )
}

fn parse_settings(path: &Path, bytes: &[u8]) -> Result<Settings, String> {
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let text =
        std::str::from_utf8(bytes).map_err(|error| format!("{file} is not UTF-8: {error}"))?;
    Settings::from_toml(text).map_err(|mistakes| {
        let lines: Vec<_> = mistakes.iter().map(|mistake| format!("{file}: {mistake}")).collect();
        lines.join("\n")
    })
}
