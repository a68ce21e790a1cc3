//! Which agent a directory holds the source of: its language, name and interface.
//!
//! Everything is found in the files that the language's own tools need anyway, so there is no
//! manifest of ours to be kept up to date.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use aop_core::AgentName;
use serde::{Deserialize, Serialize, Serializer};

use super::wit::Wit;
use crate::args::{Language, SourceArgs};
use crate::exit::{CommandError, misuse, usage};

/// The source of an agent.
pub(crate) struct Project {
    /// Absolute.
    pub(crate) directory: PathBuf,
    pub(crate) language: Language,
    pub(crate) name: AgentName,
    pub(super) version: Option<String>,
    pub(super) description: Option<String>,
    /// Where the program begins: a file for JavaScript, the module for Go.
    pub(super) entry: Option<String>,
    pub(super) wit: Wit,
}

/// TOML files beside a source that are no settings of an agent: the host's configuration may be there for `aop dev`.
const NOT_SETTINGS: [&str; 2] = ["aop", "pyproject"];

/// What a manifest says.
#[derive(Debug, Default, Deserialize)]
struct Manifest {
    name: Option<String>,
    version: Option<String>,
    description: Option<String>,
    #[serde(rename = "main")]
    entry: Option<String>,
}

impl Project {
    /// Looks a directory over.
    ///
    /// # Errors
    /// No agent could be built from it; says what is missing.
    pub(crate) fn find(args: &SourceArgs) -> Result<Self, CommandError> {
        let directory = args
            .directory
            .canonicalize()
            .with_context(|| format!("cannot read {}", args.directory.display()))
            .map_err(usage)?;
        let language = match args.lang {
            Some(language) => language,
            None => language_of(&directory)?,
        };
        let manifest = Manifest::read(&directory, language).map_err(usage)?;
        let name = match &manifest.name {
            // Of `@scope/name` and `example.com/path/name` the last part.
            Some(name) => name.rsplit('/').next().unwrap_or(name).to_owned(),
            None => name_without_manifest(&directory),
        };
        let name = AgentName::from_file_stem(&name).map_err(usage)?;
        let wit = Wit::read(&directory, &name).map_err(usage)?;
        let Manifest { version, description, entry, .. } = manifest;
        Ok(Self { directory, language, name, version, description, entry, wit })
    }

    /// The settings of the agent, if there are any.
    pub(super) fn settings(&self) -> Option<PathBuf> {
        let path = self.directory.join(format!("{}.toml", self.name));
        path.is_file().then_some(path)
    }
}

/// Told by the files that each language's tools need.
fn language_of(directory: &Path) -> Result<Language, CommandError> {
    let has = |name: &str| directory.join(name).is_file();
    let package = if has("tsconfig.json") { Language::Ts } else { Language::Js };
    let signs = [
        ("Cargo.toml", Language::Rust),
        ("go.mod", Language::Go),
        ("package.json", package),
        ("pyproject.toml", Language::Python),
        ("app.py", Language::Python),
    ];
    let mut found: Vec<_> = signs.into_iter().filter(|(name, _)| has(name)).collect();
    found.dedup_by_key(|(_, language)| *language);
    match found.as_slice() {
        [(_, language)] => Ok(*language),
        [] if !files_with(directory, "c").is_empty() => Ok(Language::C),
        [] => Err(misuse(format!(
            "no agent's source in {}: there is no Cargo.toml, go.mod, package.json, pyproject.toml, app.py or C file. `aop new NAME --lang LANGUAGE` makes one",
            directory.display()
        ))),
        several => {
            let names: Vec<_> = several.iter().map(|(name, _)| *name).collect();
            Err(misuse(format!(
                "{} has {}: say with --lang which language the agent is written in",
                directory.display(),
                names.join(" and ")
            )))
        }
    }
}

/// The files of a directory with an extension, sorted.
pub(super) fn files_with(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten();
    let mut files: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|found| found == extension) && path.is_file())
        .collect();
    files.sort();
    files
}

/// An agent's settings are named after it, and else its directory is.
fn name_without_manifest(directory: &Path) -> String {
    let stem = |path: &Path| path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let settings: Vec<_> = files_with(directory, "toml")
        .iter()
        .filter_map(|path| stem(path))
        .filter(|stem| !NOT_SETTINGS.contains(&stem.as_str()) && AgentName::new(stem).is_ok())
        .collect();
    match settings.as_slice() {
        [name] => name.clone(),
        _ => directory.file_name().unwrap_or_default().to_string_lossy().into_owned(),
    }
}

impl Manifest {
    fn read(directory: &Path, language: Language) -> anyhow::Result<Self> {
        match language {
            Language::Rust => Self::of_toml(&directory.join("Cargo.toml"), "package"),
            Language::Python => {
                let path = directory.join("pyproject.toml");
                if path.is_file() { Self::of_toml(&path, "project") } else { Ok(Self::default()) }
            }
            Language::Js | Language::Ts => {
                let path = directory.join("package.json");
                let parse = |text: &str| Ok(serde_json::from_str(text)?);
                read_to(&path, parse)
            }
            Language::Go => read_to(&directory.join("go.mod"), Self::of_go),
            Language::C => Ok(Self::default()),
        }
    }

    /// A table of a TOML file. What is inherited from a workspace is no text and left out.
    fn of_toml(path: &Path, table: &str) -> anyhow::Result<Self> {
        read_to(path, |text| {
            let document: toml::Table = text.parse()?;
            let text = |key: &str| {
                let value = document.get(table)?.get(key)?;
                value.as_str().map(str::to_owned)
            };
            Ok(Self {
                name: text("name"),
                version: text("version"),
                description: text("description"),
                entry: None,
            })
        })
    }

    fn of_go(text: &str) -> anyhow::Result<Self> {
        let module = text.lines().find_map(|line| line.trim().strip_prefix("module "));
        let module = module.context("it has no `module` line")?.trim().trim_matches('"');
        // `example.com/name/v2` is the second version of `name`.
        let name = match module.rsplit_once('/') {
            Some((path, version)) if is_major_version(version) => path,
            _ => module,
        };
        Ok(Self { name: Some(name.to_owned()), entry: Some(module.to_owned()), ..Self::default() })
    }
}

fn is_major_version(part: &str) -> bool {
    part.strip_prefix('v').is_some_and(|digits| {
        !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit())
    })
}

fn read_to<T>(path: &Path, parse: impl FnOnce(&str) -> anyhow::Result<T>) -> anyhow::Result<T> {
    let read = || parse(&std::fs::read_to_string(path)?);
    read().with_context(|| format!("cannot read {}", path.display()))
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rust => "Rust",
            Self::Python => "Python",
            Self::Js => "JavaScript",
            Self::Ts => "TypeScript",
            Self::Go => "Go",
            Self::C => "C",
        })
    }
}

/// As it is written for `--lang`.
impl Serialize for Language {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use clap::ValueEnum as _;
        let value = self.to_possible_value();
        serializer.serialize_str(value.as_ref().map_or("", clap::builder::PossibleValue::get_name))
    }
}
