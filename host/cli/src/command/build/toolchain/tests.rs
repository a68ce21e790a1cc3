use super::*;
use crate::args::SourceArgs;

/// A project with nothing but an interface.
fn project() -> (tempfile::TempDir, Project) {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("wit")).unwrap();
    let wit = "package a:b;\nworld w {}\n";
    std::fs::write(directory.path().join("wit/w.wit"), wit).unwrap();
    std::fs::write(directory.path().join("app.py"), "").unwrap();
    let args = SourceArgs { directory: directory.path().to_owned(), lang: None };
    let project = Project::find(&args).unwrap();
    (directory, project)
}

async fn run(script: &str) -> Result<Output, String> {
    let (_directory, project) = project();
    let progress = Progress(ProgressBar::hidden());
    let toolchain = Toolchain::new(&project, &progress);
    let mut command = toolchain.command(Path::new("/bin/sh"));
    let result = toolchain.run(command.args(["-c", script])).await;
    result.map_err(|error| error.conclusion().0.unwrap())
}

#[tokio::test]
async fn what_a_tool_says_is_kept_and_json_is_told_apart() {
    let output = run("echo one; echo '{\"a\": 1}'; echo two >&2").await.unwrap();
    assert_eq!(output.stdout, ["{\"a\": 1}"]);
    let mut said: Vec<_> = output.said.into();
    said.sort();
    assert_eq!(said, ["one", "two"]);
}

#[tokio::test]
async fn of_many_lines_the_last_are_kept() {
    let lines = COMPLAINT_LINES_MAX + 10;
    let output = run(&format!("seq {lines}")).await.unwrap();
    assert_eq!(output.said.len(), COMPLAINT_LINES_MAX);
    assert_eq!(output.said.front().unwrap(), "11");
    assert_eq!(output.said.back().unwrap(), &lines.to_string());
}

#[tokio::test]
async fn a_line_without_end_is_cut() {
    let bytes = usize::try_from(LINE_MAX_BYTES).unwrap();
    let output = run(&format!("head -c {} /dev/zero | tr '\\0' x", bytes + 5)).await.unwrap();
    assert_eq!(output.said.iter().map(String::len).collect::<Vec<_>>(), [bytes, 5]);
}

#[tokio::test]
async fn a_failure_names_the_command() {
    let message = run("exit 3").await.err().unwrap();
    assert_eq!(message, "`sh -c exit 3` failed (exit status: 3)");
}

#[test]
fn tools_of_the_project_come_first() {
    let (directory, project) = project();
    let progress = Progress(ProgressBar::hidden());
    let toolchain = Toolchain::new(&project, &progress);
    let ours = directory.path().canonicalize().unwrap().join(".venv/bin/sh");
    std::fs::create_dir_all(ours.parent().unwrap()).unwrap();
    std::fs::write(&ours, "").unwrap();
    assert_ne!(toolchain.look_for("sh"), Some(ours.clone()), "it is no program yet");
    std::fs::set_permissions(&ours, std::fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(toolchain.look_for("sh"), Some(ours));
    assert_eq!(toolchain.look_for("no-such-program"), None);
}
