//! What the tests run: the `aop` binary, the fixture guests and components written as text, each
//! built once per run of the test binary.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The root of the repository.
#[must_use]
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ has a parent")
}

/// The target directory in which this test was built.
///
/// # Panics
/// When the test was not started from where Cargo put it.
#[must_use]
pub fn target_directory() -> PathBuf {
    // <target>/<profile>/deps/<test>
    let test = std::env::current_exe().expect("the test knows where it is");
    test.ancestors().nth(3).expect("the test is in a target directory").to_owned()
}

/// The `aop` binary, built with the profile of the test.
///
/// # Panics
/// When it does not build.
pub fn aop_binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let mut cargo = cargo(repository(), &target_directory());
        // There are no examples to build, but asking for them makes Cargo choose the features of
        // dependencies as it does for `cargo test`. Without it every dependency is built twice.
        cargo.args([
            "build",
            "--bin",
            "aop",
            "--examples",
            "--message-format",
            "json-render-diagnostics",
        ]);
        if !cfg!(debug_assertions) {
            cargo.arg("--release");
        }
        let messages = run(cargo);
        let artifacts = messages
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let executables = artifacts.filter(|artifact| artifact["target"]["name"] == "aop");
        let paths: Vec<_> = executables
            .filter_map(|artifact| artifact["executable"].as_str().map(PathBuf::from))
            .collect();
        paths.into_iter().next().expect("cargo names the binary it built")
    })
}

/// A fixture guest of `tests/guests/examples`.
///
/// # Panics
/// When the guests do not build or there is none of that name.
#[must_use]
pub fn guest(name: &str) -> PathBuf {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    let directory = DIRECTORY.get_or_init(|| {
        let target = target_directory().join("guests");
        let mut cargo = cargo(&repository().join("tests/guests"), &target);
        cargo.args(["build", "--release", "--examples", "--target", "wasm32-wasip2", "--locked"]);
        run(cargo);
        target.join("wasm32-wasip2/release/examples")
    });
    let path = directory.join(format!("{name}.wasm"));
    assert!(path.is_file(), "there is no fixture guest {name}");
    path
}

/// A component written as WebAssembly text.
///
/// # Panics
/// When the text is wrong.
#[must_use]
pub fn component(text: &str) -> Vec<u8> {
    match wat::parse_str(text) {
        Ok(bytes) => bytes,
        Err(error) => panic!("{error}"),
    }
}

fn cargo(directory: &Path, target: &Path) -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .current_dir(directory)
        .env("CARGO_TARGET_DIR", target)
        // Flags of whoever runs the tests (coverage, sanitizers) are not for guests and would
        // rebuild everything else.
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("CARGO_BUILD_TARGET")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // What Cargo says of the package whose test this is. Build scripts that read such variables, as
    // ring's does, would run again, and everything above them be built again, at every turn.
    for (name, _) in std::env::vars_os() {
        let of_package = ["CARGO_MANIFEST_", "CARGO_PKG_", "CARGO_BIN_", "CARGO_CRATE_"];
        if of_package.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            cargo.env_remove(&name);
        }
    }
    cargo
}

fn run(mut command: Command) -> String {
    let output = command.output().expect("cargo starts");
    assert!(
        output.status.success(),
        "{command:?} failed:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}
