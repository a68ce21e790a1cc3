//! The way of a Rust author, with the machine's own toolchain.

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use aop_tests::{aop_binary, target_directory, within};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

/// Fetching and building the bindings for the first time takes minutes on a small machine.
const BUILD_PATIENCE: Duration = Duration::from_secs(600);

async fn run(program: &Path, directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    command
        .current_dir(directory)
        .args(arguments)
        // Kept between runs, shared with `tests/authoring/run`.
        .env("CARGO_TARGET_DIR", target_directory().join("authoring/cargo"))
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .kill_on_drop(true);
    let output = within(BUILD_PATIENCE, "the command", command.output()).await;
    let output = output.expect("the command starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{arguments:?}\n{}\n{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    output
}

#[tokio::test]
async fn a_new_agent_builds_outside_of_the_repository_and_works() {
    let place = TempDir::new().expect("a directory can be made");
    let aop = aop_binary();
    run(aop, place.path(), &["new", "bill-splitter", "--lang", "rust"]).await;
    let agent = place.path().join("bill-splitter");
    run(Path::new(env!("CARGO")), &agent, &["test", "--quiet"]).await;
    let report = run(aop, &agent, &["build", "--json"]).await;
    let report: Value = serde_json::from_slice(&report.stdout).expect("it is JSON");
    assert_eq!(report["tools"][0]["name"], "bill-splitter_split");
    let description = report["tools"][0]["description"].as_str().expect("a description");
    assert!(description.starts_with("Split an amount of money"), "{description}");

    let arguments = json!({ "total_cents": 100, "payers": [
        { "name": "Ada", "weight": 1 },
        { "name": "Bob", "weight": 2 },
    ] });
    let arguments = ["run", "bill-splitter.wasm", "split", &arguments.to_string(), "--json"];
    let envelope = run(aop, &agent, &arguments).await;
    let envelope: Value = serde_json::from_slice(&envelope.stdout).expect("it is JSON");
    let expected = json!([{ "name": "Ada", "cents": 33 }, { "name": "Bob", "cents": 67 }]);
    assert_eq!(envelope["result"], expected);
}
