//! JavaScript and TypeScript: jco bundles the modules and makes the component, with QuickJS in it.
//! TypeScript is checked first, against types that are made from the WIT.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::project::Project;
use super::toolchain::Toolchain;
use crate::args::Language;
use crate::exit::{CommandError, misuse};

/// Where programs begin when package.json does not say.
const ENTRIES: [&str; 4] = ["app.ts", "app.js", "index.ts", "index.js"];
/// The directory of the types, below the one for builds.
const TYPES: &str = "types";

pub(super) async fn build(
    project: &Project,
    toolchain: &Toolchain<'_>,
) -> Result<Vec<u8>, CommandError> {
    let jco = jco(project, toolchain)?;
    let entry = project
        .entry
        .as_deref()
        .or_else(|| ENTRIES.into_iter().find(|entry| project.directory.join(entry).is_file()));
    let entry = entry.ok_or_else(|| {
        misuse(format!("package.json has no `main`, and there is no {}", ENTRIES.join(", ")))
    })?;
    if project.language == Language::Ts {
        check_types(project, toolchain, &jco).await?;
    }
    let output = toolchain.work()?.join("component.wasm");
    let mut command = toolchain.command(&jco);
    command.args(["componentize", entry, "--bundle", "--backend", "quickjs", "--wit"]);
    command.arg(&project.wit.directory);
    command.args(["--world-name", project.wit.world_name(), "--out"]).arg(&output);
    toolchain.run(&mut command).await?;
    let bytes =
        std::fs::read(&output).with_context(|| format!("cannot read {}", output.display()))?;
    Ok(bytes)
}

fn jco(project: &Project, toolchain: &Toolchain<'_>) -> Result<PathBuf, CommandError> {
    if toolchain.look_for("node").is_none() {
        return Err(misuse(
            "node is missing: install Node.js 20 or newer with npm, from https://nodejs.org",
        ));
    }
    let manifest = std::fs::read_to_string(project.directory.join("package.json"));
    let is_declared = manifest.is_ok_and(|text| text.contains("\"@bytecodealliance/jco\""));
    let install = if is_declared {
        "npm install"
    } else {
        "npm install --save-dev @bytecodealliance/jco@1.35.0"
    };
    toolchain.find("jco", install)
}

async fn check_types(
    project: &Project,
    toolchain: &Toolchain<'_>,
    jco: &Path,
) -> Result<(), CommandError> {
    let types = toolchain.work()?.join(TYPES);
    // Of interfaces that are gone, no types may stay.
    if types.exists() {
        std::fs::remove_dir_all(&types)
            .with_context(|| format!("cannot empty {}", types.display()))?;
    }
    let mut command = toolchain.command(jco);
    command.args(["guest-types", "--quiet", "--world-name", project.wit.world_name(), "--out-dir"]);
    command.arg(&types).arg(&project.wit.directory);
    toolchain.run(&mut command).await?;
    if project.directory.join("tsconfig.json").is_file() {
        let compiler = toolchain.find("tsc", "npm install --save-dev typescript")?;
        let mut command = toolchain.command(&compiler);
        command.args(["--noEmit", "--project", "."]);
        toolchain.run(&mut command).await?;
    }
    Ok(())
}
