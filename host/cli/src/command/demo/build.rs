//! Building the example agents in Rust, with nothing but the toolchain that built this program.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::Command;

use crate::{environment, output};

const TARGET: &str = "wasm32-wasip2";
/// Lines of cargo's output that are shown when it fails.
const COMPLAINT_LINES_MAX: usize = 60;

/// Builds the examples and answers the directory with their components and settings. Those in other
/// languages are there too when `examples/build` was run.
pub(super) async fn examples(root: &Path) -> anyhow::Result<PathBuf> {
    let directory = root.join("target/agents");
    std::fs::create_dir_all(&directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    let artifacts = build(root).await?;
    anyhow::ensure!(
        !artifacts.is_empty(),
        "cargo built no component in {}",
        root.join("examples").display()
    );
    for Component { wasm, settings } in &artifacts {
        install(wasm, &directory)?;
        if settings.is_file() {
            install(settings, &directory)?;
        }
    }
    Ok(directory)
}

/// What cargo built.
struct Component {
    wasm: PathBuf,
    /// Where its settings would be.
    settings: PathBuf,
}

async fn build(root: &Path) -> anyhow::Result<Vec<Component>> {
    let progress = progress();
    let mut child = Command::new(environment::cargo())
        .args([
            "build",
            "--release",
            "--target",
            TARGET,
            "--message-format=json-render-diagnostics",
        ])
        .current_dir(root.join("examples"))
        .env("CARGO_TARGET_DIR", root.join("target/examples"))
        // Flags for the host's own build mean nothing to a guest.
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTFLAGS")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("cannot start cargo: install Rust from https://rustup.rs")?;
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        anyhow::bail!("cargo has no pipes");
    };
    let (components, complaint) =
        tokio::try_join!(read_artifacts(stdout), read_complaint(stderr, &progress))?;
    let status = child.wait().await.context("cannot wait for cargo")?;
    progress.finish_and_clear();
    if status.success() {
        return Ok(components);
    }
    output::note(complaint.iter().map(String::as_str).collect::<Vec<_>>().join("\n"));
    let lacks_target = complaint.iter().any(|line| line.contains("target may not be installed"));
    if lacks_target {
        anyhow::bail!(
            "the toolchain cannot build for {TARGET}: install it with `rustup target add {TARGET}`"
        );
    }
    anyhow::bail!("the example agents do not build ({status})")
}

/// Cargo's account of what it built, one JSON message per line.
async fn read_artifacts(stdout: impl AsyncRead + Unpin) -> anyhow::Result<Vec<Component>> {
    let mut lines = BufReader::new(stdout).lines();
    let mut components = Vec::new();
    while let Some(line) = lines.next_line().await? {
        components.extend(component_of(&line));
    }
    Ok(components)
}

fn component_of(line: &str) -> Option<Component> {
    #[derive(Deserialize)]
    struct Message {
        reason: String,
        #[serde(default)]
        manifest_path: PathBuf,
        #[serde(default)]
        filenames: Vec<PathBuf>,
    }
    let message: Message = serde_json::from_str(line)
        .ok()
        .filter(|message: &Message| message.reason == "compiler-artifact")?;
    let is_component =
        |path: &PathBuf| path.extension().is_some_and(|extension| extension == "wasm");
    let wasm = message.filenames.into_iter().find(is_component)?;
    let settings = message.manifest_path.with_file_name(wasm.with_extension("toml").file_name()?);
    Some(Component { wasm, settings })
}

/// Follows what cargo tells people, and keeps the end of it.
async fn read_complaint(
    stderr: impl AsyncRead + Unpin,
    progress: &ProgressBar,
) -> anyhow::Result<VecDeque<String>> {
    let mut lines = BufReader::new(stderr).lines();
    let mut last = VecDeque::new();
    while let Some(line) = lines.next_line().await? {
        progress.set_message(line.trim().to_owned());
        if last.len() == COMPLAINT_LINES_MAX {
            last.pop_front();
        }
        last.push_back(line);
    }
    Ok(last)
}

/// Copies a file so that whoever watches the directory never sees half of it, and not at all when
/// nothing changed.
fn install(from: &Path, directory: &Path) -> anyhow::Result<()> {
    let copy = || -> anyhow::Result<()> {
        let bytes = std::fs::read(from)?;
        let to = directory.join(from.file_name().context("it has no name")?);
        if std::fs::read(&to).is_ok_and(|present| present == bytes) {
            return Ok(());
        }
        let mut file = tempfile::NamedTempFile::with_prefix_in(".installing-", directory)?;
        std::io::Write::write_all(&mut file, &bytes)?;
        file.persist(&to)?;
        Ok(())
    };
    copy().with_context(|| format!("cannot copy {} to {}", from.display(), directory.display()))
}

/// A spinner on a terminal, a line elsewhere.
fn progress() -> ProgressBar {
    const MESSAGE: &str = "building the example agents";
    let bar = output::spinner("");
    if bar.is_hidden() {
        output::note(format_args!("{MESSAGE} …"));
    } else if let Ok(style) =
        ProgressStyle::with_template("{spinner} {prefix} ({elapsed}) {wide_msg:.dim}")
    {
        bar.set_style(style);
        bar.set_prefix(MESSAGE);
    }
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_are_told_from_other_artifacts() {
        let line = r#"{"reason":"compiler-artifact","manifest_path":"/r/examples/textkit/Cargo.toml","filenames":["/t/textkit.wasm"],"fresh":true}"#;
        let component = component_of(line).unwrap();
        assert_eq!(component.wasm, Path::new("/t/textkit.wasm"));
        assert_eq!(component.settings, Path::new("/r/examples/textkit/textkit.toml"));
        for other in [
            r#"{"reason":"compiler-artifact","manifest_path":"/r/Cargo.toml","filenames":["/t/libserde.rlib"]}"#,
            r#"{"reason":"build-finished","success":true}"#,
            "not JSON",
        ] {
            assert!(component_of(other).is_none(), "{other}");
        }
    }

    #[test]
    fn what_did_not_change_is_not_copied_again() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let file = from.path().join("a.wasm");
        std::fs::write(&file, "1").unwrap();
        install(&file, to.path()).unwrap();
        let modified = || std::fs::metadata(to.path().join("a.wasm")).unwrap().modified().unwrap();
        let before = modified();
        install(&file, to.path()).unwrap();
        assert_eq!(modified(), before);
        std::fs::write(&file, "2").unwrap();
        install(&file, to.path()).unwrap();
        assert_eq!(std::fs::read(to.path().join("a.wasm")).unwrap(), b"2");
    }
}
