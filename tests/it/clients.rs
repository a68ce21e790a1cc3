//! Clients that we did not write, through the script that CI runs. They need Node and Python and a
//! network to install them, which `cargo test` must not: without them the test says so and passes.

use std::io::Write as _;
use std::process::Command;

use aop_tests::{AgentsDirectory, aop_binary, repository, target_directory};

#[test]
fn other_peoples_clients_work() {
    let installed = ["node", "npm", "python", "oidc", "litellm"]
        .iter()
        .all(|part| target_directory().join("clients").join(part).join(".installed").is_file());
    if !installed {
        // Not with `eprintln!`: the test harness shows what that prints only when a test fails.
        let notice = "skipped: tests/clients/install has not installed MCP Inspector, the Python clients, the conformance suite, oidc-provider and LiteLLM\n";
        std::io::stderr().write_all(notice.as_bytes()).expect("standard error is open");
        return;
    }
    let agents = AgentsDirectory::new().with("standard");
    let output = Command::new(repository().join("tests/clients/run"))
        .arg(aop_binary())
        .arg(agents.path())
        .env("CARGO_TARGET_DIR", target_directory())
        .output()
        .expect("bash starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
}
