//! Python: componentize-py makes the component, with an interpreter in it.

use anyhow::Context as _;

use super::project::Project;
use super::toolchain::Toolchain;
use crate::exit::{CommandError, misuse};

/// The module that has the component's exports.
const MODULE: &str = "app";
const INSTALL: &str =
    "python3 -m venv .venv && .venv/bin/python -m pip install componentize-py==0.25.1";

pub(super) async fn build(
    project: &Project,
    toolchain: &Toolchain<'_>,
) -> Result<Vec<u8>, CommandError> {
    if !project.directory.join(format!("{MODULE}.py")).is_file() {
        return Err(misuse(format!(
            "{} has no {MODULE}.py, the module with the component's exports",
            project.directory.display()
        )));
    }
    let tool = toolchain.find("componentize-py", INSTALL)?;
    let output = toolchain.work()?.join("component.wasm");
    let mut command = toolchain.command(&tool);
    command.arg("-d").arg(&project.wit.directory).args(["-w", project.wit.world_name()]);
    command.args(["componentize", "-p", ".", MODULE, "-o"]).arg(&output);
    // So that packages which the project installed for itself are found.
    let environment = project.directory.join(".venv");
    if environment.is_dir() {
        command.env("VIRTUAL_ENV", environment);
    }
    toolchain.run(&mut command).await?;
    let bytes =
        std::fs::read(&output).with_context(|| format!("cannot read {}", output.display()))?;
    Ok(bytes)
}
