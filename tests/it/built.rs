//! Components of other packages than `tests/guests`, each package built once per run.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use aop_tests::{repository, target_directory};

/// An agent of `examples`, built as `aop demo` builds it.
pub(crate) fn example(name: &str) -> Vec<u8> {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    read(DIRECTORY.get_or_init(|| build("examples", "examples", &[])), name)
}

/// An agent of `tests/guests/conformance`.
pub(crate) fn conformance_guest(name: &str) -> Vec<u8> {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    let build = || build("tests/guests/conformance", "guests", &["--examples"]).join("examples");
    read(DIRECTORY.get_or_init(build), name)
}

fn build(package: &str, target: &str, arguments: &[&str]) -> PathBuf {
    let target = target_directory().join(target);
    let status = Command::new(env!("CARGO"))
        .current_dir(repository().join(package))
        .args(["build", "--quiet", "--release", "--target", "wasm32-wasip2", "--locked"])
        .args(arguments)
        .env("CARGO_TARGET_DIR", &target)
        // Flags of whoever runs the tests are not for guests.
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .stdin(Stdio::null())
        .status()
        .expect("cargo starts");
    assert!(status.success(), "{package} builds");
    target.join("wasm32-wasip2/release")
}

fn read(directory: &Path, name: &str) -> Vec<u8> {
    std::fs::read(directory.join(format!("{name}.wasm"))).expect("the component was built")
}
