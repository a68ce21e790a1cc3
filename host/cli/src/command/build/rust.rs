//! Rust: cargo makes the component.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Deserialize;

use super::project::Project;
use super::toolchain::Toolchain;
use crate::environment;
use crate::exit::{CommandError, failure};

const TARGET: &str = "wasm32-wasip2";

pub(super) async fn build(
    project: &Project,
    toolchain: &Toolchain<'_>,
) -> Result<Vec<u8>, CommandError> {
    let cargo = environment::cargo();
    if cargo.components().count() == 1 && toolchain.look_for("cargo").is_none() {
        return Err(toolchain.missing("cargo", "curl -sSf https://sh.rustup.rs | sh"));
    }
    check_target(toolchain).await?;
    let mut command = toolchain.command(&cargo);
    command
        .args(["build", "--release", "--target", TARGET])
        .arg("--message-format=json-render-diagnostics")
        // Flags for the machine's own programs mean nothing to a guest.
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTFLAGS");
    let output = toolchain.run(&mut command).await?;
    let manifest = project.directory.join("Cargo.toml");
    let component = output.stdout.iter().find_map(|line| component_of(line, &manifest));
    let component = component.ok_or_else(|| {
        failure("cargo built no component: Cargo.toml needs `[lib] crate-type = [\"cdylib\"]`")
    })?;
    let bytes = std::fs::read(&component)
        .with_context(|| format!("cannot read {}", component.display()))?;
    Ok(bytes)
}

/// What cargo says about a missing target is long, and does not end with what to do.
async fn check_target(toolchain: &Toolchain<'_>) -> Result<(), CommandError> {
    let Some(rustc) = toolchain.look_for("rustc") else { return Ok(()) };
    let mut command = toolchain.command(&rustc);
    command.args(["--print", "target-libdir", "--target", TARGET]);
    let output = toolchain.run(&mut command).await?;
    match output.said.back() {
        Some(directory) if !Path::new(directory).is_dir() => Err(toolchain.missing(
            &format!("the standard library for {TARGET}"),
            &format!("rustup target add {TARGET}"),
        )),
        _ => Ok(()),
    }
}

/// The component in cargo's account of an artifact of this very package.
fn component_of(line: &str, manifest: &Path) -> Option<PathBuf> {
    #[derive(Deserialize)]
    struct Message {
        reason: String,
        #[serde(default)]
        manifest_path: PathBuf,
        #[serde(default)]
        filenames: Vec<PathBuf>,
    }
    let message: Message = serde_json::from_str(line).ok()?;
    if message.reason != "compiler-artifact" || message.manifest_path != manifest {
        return None;
    }
    let is_component =
        |path: &PathBuf| path.extension().is_some_and(|extension| extension == "wasm");
    message.filenames.into_iter().find(is_component)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_component_is_that_of_the_package_itself() {
        let line = |manifest: &str, file: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","manifest_path":"{manifest}","filenames":["{file}"]}}"#
            )
        };
        let manifest = Path::new("/a/Cargo.toml");
        let found = |line: &str| component_of(line, manifest);
        assert_eq!(found(&line("/a/Cargo.toml", "/t/a.wasm")), Some(PathBuf::from("/t/a.wasm")));
        assert_eq!(found(&line("/b/Cargo.toml", "/t/b.wasm")), None);
        assert_eq!(found(&line("/a/Cargo.toml", "/t/liba.rlib")), None);
        assert_eq!(found(r#"{"reason":"build-finished","success":true}"#), None);
    }
}
