//! `aop wit`: the WIT of what agents can import and export, for authors who have nothing but this binary.
//!
//! The files are those of `wit/` in this repository, a directory for each package and version, as `wit/deps` of an agent
//! wants them. They are written beside what is there, and never over it: an author may have changed it.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;
use wit_parser::Resolve;

use crate::args::WitArgs;
use crate::exit::{CommandError, CommandResult, failure, misuse, usage};
use crate::output;

/// Where toolchains look for it, in the directory of an agent.
const DIRECTORY: &str = "wit/deps";

/// One version of a package.
struct Package {
    /// Without the version.
    name: &'static str,
    version: &'static str,
    /// What its directory is called.
    directory: &'static str,
    /// Their names and texts.
    files: &'static [(&'static str, &'static str)],
    /// The directories of the packages that it uses.
    needs: &'static [&'static str],
}

macro_rules! files {
    ($directory:literal: $($file:literal),*) => {
        &[$(($file, include_str!(concat!("../../../../wit/", $directory, "/", $file)))),*]
    };
}

/// Of versions of the same package, the one that is meant without a version comes first.
const PACKAGES: [Package; 8] = [
    Package {
        name: "aop:agent",
        version: "0.1.0",
        directory: "agent-0.1.0",
        files: files!("agent-0.1.0": "capabilities.wit", "content.wit", "features.wit", "task.wit"),
        needs: &[],
    },
    Package {
        name: "wasi:keyvalue",
        version: "0.2.0-draft",
        directory: "keyvalue",
        files: files!("deps/keyvalue": "keyvalue.wit"),
        needs: &[],
    },
    Package {
        name: "wasi:keyvalue",
        version: "0.2.0-draft2",
        directory: "keyvalue-draft2",
        files: files!("deps/keyvalue-draft2": "keyvalue.wit"),
        needs: &[],
    },
    Package {
        name: "wasi:config",
        version: "0.2.0-rc.1",
        directory: "config",
        files: files!("deps/config": "store.wit"),
        needs: &[],
    },
    Package {
        name: "wasi:logging",
        version: "0.1.0-draft",
        directory: "logging",
        files: files!("deps/logging": "logging.wit"),
        needs: &[],
    },
    Package {
        name: "wasi:http",
        version: "0.3.0",
        directory: "http",
        files: files!("deps/http": "http.wit"),
        needs: &["clocks"],
    },
    Package {
        name: "wasi:filesystem",
        version: "0.3.0",
        directory: "filesystem",
        files: files!("deps/filesystem": "filesystem.wit"),
        needs: &[],
    },
    Package {
        name: "wasi:clocks",
        version: "0.3.0",
        directory: "clocks",
        files: files!("deps/clocks": "clocks.wit"),
        needs: &[],
    },
];

/// A package for people and programs.
#[derive(Serialize)]
struct Entry {
    package: String,
    interfaces: Vec<String>,
}

/// What was written.
#[derive(Serialize)]
struct Report<'a> {
    directory: &'a Path,
    packages: Vec<Entry>,
}

pub(crate) fn run(args: &WitArgs) -> CommandResult {
    if args.packages.is_empty() {
        return list(args.json);
    }
    let packages = wanted(&args.packages)?;
    let directory = match &args.out {
        Some(directory) => directory.clone(),
        None => of_agent_here()?,
    };
    write(&packages, &directory)?;
    let entries: Vec<_> =
        packages.iter().map(|package| entry(package)).collect::<Result<_, _>>()?;
    if args.json {
        return output::json(&Report { directory: &directory, packages: entries });
    }
    output::note(format_args!("in {}. A world can import or export now:\n", directory.display()));
    for Entry { package, interfaces } in entries {
        let (name, version) = package.split_once('@').unwrap_or((&package, ""));
        for interface in interfaces {
            output::line(format_args!("{name}/{interface}@{version}"))?;
        }
    }
    Ok(())
}

fn list(as_json: bool) -> CommandResult {
    let entries: Vec<_> = PACKAGES.iter().map(entry).collect::<Result<_, _>>()?;
    if as_json {
        return output::json(&entries);
    }
    let rows = entries.into_iter().map(|entry| [entry.package, entry.interfaces.join(", ")]);
    output::line(output::table(["PACKAGE", "INTERFACES"], rows))?;
    Ok(())
}

/// A package with its interfaces, in the order of its text.
fn entry(package: &Package) -> Result<Entry, CommandError> {
    let (resolve, id) = package.resolved().map_err(|error| failure(format!("{error:#}")))?;
    let interfaces = resolve.packages[id].interfaces.keys().cloned().collect();
    Ok(Entry { package: package.full_name(), interfaces })
}

impl Package {
    fn full_name(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }

    fn needed(&self) -> impl Iterator<Item = &'static Package> {
        let needs = self.needs;
        PACKAGES.iter().filter(move |package| needs.contains(&package.directory))
    }

    fn resolved(&self) -> anyhow::Result<(Resolve, wit_parser::PackageId)> {
        let mut resolve = Resolve::new();
        for package in self.needed() {
            package.push(&mut resolve)?;
        }
        let id = self.push(&mut resolve)?;
        Ok((resolve, id))
    }

    fn push(&self, resolve: &mut Resolve) -> anyhow::Result<wit_parser::PackageId> {
        let mut sources = wit_parser::SourceMap::new();
        for (file, text) in self.files {
            sources.push_str(file, *text);
        }
        let parsed = sources.parse().map_err(|(_, error)| error)?;
        Ok(resolve.push_group(parsed)?)
    }
}

/// What to do about a package that an agent's WIT lacks.
pub(crate) fn advice(package: &str) -> String {
    if wanted(&[package.to_owned()]).is_ok() {
        format!("`aop wit {package}`, in the directory of the agent, puts it into {DIRECTORY}")
    } else {
        format!("put it into {DIRECTORY}; `aop wit` lists the packages that it can put there")
    }
}

/// The packages of some names, each with what it needs, none twice.
fn wanted(names: &[String]) -> Result<Vec<&'static Package>, CommandError> {
    let mut found: Vec<&Package> = Vec::new();
    for name in names {
        let named = PACKAGES
            .iter()
            .find(|package| package.name == name || package.full_name() == *name)
            .ok_or_else(|| {
                misuse(format!("no package `{name}` is known here: `aop wit` lists those that are"))
            })?;
        for package in std::iter::once(named).chain(named.needed()) {
            if !found.iter().any(|other| other.directory == package.directory) {
                found.push(package);
            }
        }
    }
    Ok(found)
}

/// Where an agent whose source is here wants them.
fn of_agent_here() -> Result<PathBuf, CommandError> {
    let directory = PathBuf::from(DIRECTORY);
    if directory.parent().is_some_and(Path::is_dir) {
        return Ok(directory);
    }
    Err(misuse(
        "there is no directory `wit` here: change to an agent's directory, or name one with --out",
    ))
}

/// Writes all files, or none when one would change what is there.
fn write(packages: &[&Package], directory: &Path) -> CommandResult {
    let files: Vec<_> = packages
        .iter()
        .flat_map(|package| {
            let to = directory.join(package.directory);
            package.files.iter().map(move |(file, text)| (to.join(file), *text))
        })
        .collect();
    let mut missing = Vec::new();
    for (path, text) in files {
        match std::fs::read(&path) {
            Ok(present) if present == text.as_bytes() => {}
            Ok(_) => {
                return Err(misuse(format!(
                    "{} is there already, with another text: nothing is overwritten, remove it or choose another directory with --out",
                    path.display()
                )));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                missing.push((path, text))
            }
            Err(error) => {
                return Err(usage(
                    anyhow::Error::new(error).context(format!("cannot read {}", path.display())),
                ));
            }
        }
    }
    for (path, text) in missing {
        let write = || {
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent)?;
            }
            std::fs::write(&path, text)
        };
        write().with_context(|| format!("cannot write {}", path.display())).map_err(usage)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
