use super::*;
use crate::args::SourceArgs;

/// A project with nothing but an interface.
fn project() -> (tempfile::TempDir, Project) {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("wit")).unwrap();
    let wit = "package a:b;\nworld w {}\n";
    std::fs::write(directory.path().join("wit/w.wit"), wit).unwrap();
    std::fs::write(directory.path().join("app.py"), "").unwrap();
    let project = found(directory.path());
    (directory, project)
}

fn found(directory: &Path) -> Project {
    let args = SourceArgs { directory: directory.to_owned(), lang: None };
    Project::find(&args).unwrap()
}

/// A program that a test looks for.
fn plant(path: &Path) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, "").unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
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
    assert_eq!(message, "`sh -c 'exit 3'` failed (exit status: 3)");
}

#[test]
fn a_source_that_cannot_be_written_to_is_built_elsewhere_where_its_tools_allow_it() {
    let (directory, project) = project();
    let progress = Progress(ProgressBar::hidden());
    // Also in the way of who may write everywhere.
    std::fs::write(directory.path().join(WORK_DIRECTORY), "").unwrap();
    let toolchain = Toolchain::new(&project, &progress);
    let work = toolchain.work().unwrap();
    assert!(work.is_dir() && !work.starts_with(&project.directory));
    assert_eq!(toolchain.work().unwrap(), work, "the same for the whole build");
    drop(toolchain);
    assert!(!work.exists());

    let project = Project { language: Language::Go, ..project };
    let error = Toolchain::new(&project, &progress).work().unwrap_err().to_string();
    assert!(error.contains("The tools of Go") && error.contains("build a copy"), "{error}");
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

#[tokio::test]
async fn every_language_but_rust_takes_tools_from_the_python_environment() {
    let (directory, project) = project();
    let directory = directory.path().canonicalize().unwrap();
    plant(&directory.join(".venv/bin/planted"));
    let progress = Progress(ProgressBar::hidden());
    drop(project);
    for (language, is_found) in [
        (Language::Rust, false),
        (Language::Python, true),
        (Language::Js, true),
        (Language::Ts, true),
        (Language::Go, true),
        (Language::C, true),
    ] {
        let project = Project { language, ..found(&directory) };
        let toolchain = Toolchain::new(&project, &progress);
        assert_eq!(toolchain.look_for("planted").is_some(), is_found, "{language}");
        // And so do the tools that a tool starts.
        let mut command = toolchain.command(Path::new("/bin/sh"));
        let output = toolchain.run(command.args(["-c", "command -v planted || true"])).await;
        assert_eq!(!output.ok().unwrap().said.is_empty(), is_found, "{language}");
    }
}

#[test]
fn only_javascript_takes_tools_from_node_modules() {
    let (directory, project) = project();
    let directory = directory.path().canonicalize().unwrap();
    plant(&directory.join("node_modules/.bin/planted"));
    let progress = Progress(ProgressBar::hidden());
    assert_eq!(Toolchain::new(&project, &progress).look_for("planted"), None);
    for (language, is_found) in
        [(Language::Rust, false), (Language::Go, false), (Language::C, false), (Language::Js, true)]
    {
        let project = Project { language, ..found(&directory) };
        let tool = Toolchain::new(&project, &progress).look_for("planted");
        assert_eq!(tool.is_some(), is_found, "{language}");
    }
}

#[test]
fn tools_of_javascript_come_from_the_package_and_the_root_of_its_workspace() {
    let outer = tempfile::tempdir().unwrap();
    let outer = outer.path().canonicalize().unwrap();
    let package = outer.join("root/packages/agent");
    std::fs::create_dir_all(package.join("wit")).unwrap();
    std::fs::write(package.join("wit/w.wit"), "package a:b;\nworld w {}\n").unwrap();
    std::fs::write(package.join("package.json"), r#"{"name": "agent"}"#).unwrap();
    let project = found(&package);
    let progress = Progress(ProgressBar::hidden());
    let toolchain = Toolchain::new(&project, &progress);
    for above in ["", "root", "root/packages"] {
        plant(&outer.join(above).join("node_modules/.bin/planted"));
    }
    std::fs::write(outer.join("root/package.json"), r#"{"name": "root"}"#).unwrap();
    assert_eq!(toolchain.look_for("planted"), None, "nothing says that they belong together");
    std::fs::write(outer.join("root/package.json"), r#"{"workspaces": ["packages/*"]}"#).unwrap();
    let root = outer.join("root/node_modules/.bin/planted");
    assert_eq!(toolchain.look_for("planted"), Some(root.clone()));
    std::fs::remove_file(outer.join("root/package.json")).unwrap();
    std::fs::create_dir(outer.join("root/.git")).unwrap();
    assert_eq!(toolchain.look_for("planted"), Some(root));
    std::fs::set_permissions(outer.join("root"), std::fs::Permissions::from_mode(0o1777)).unwrap();
    assert_eq!(toolchain.look_for("planted"), None, "anybody may have put it there");
    let own = package.join("node_modules/.bin/planted");
    plant(&own);
    assert_eq!(toolchain.look_for("planted"), Some(own));
}

#[tokio::test]
async fn two_builds_of_a_project_run_one_after_the_other() {
    let (_directory, project) = project();
    let progress = Progress(ProgressBar::hidden());
    let toolchain = Toolchain::new(&project, &progress);
    let first = toolchain.hold().await.ok().unwrap();
    assert!(first.is_some());
    let mut second = std::pin::pin!(toolchain.hold());
    assert!(futures::poll!(&mut second).is_pending());
    drop(first);
    assert!(second.await.ok().unwrap().is_some());
}

#[tokio::test]
async fn cargo_keeps_its_own_builds_apart() {
    let (directory, project) = project();
    let project = Project { language: Language::Rust, ..project };
    let progress = Progress(ProgressBar::hidden());
    assert!(Toolchain::new(&project, &progress).hold().await.ok().unwrap().is_none());
    assert!(!directory.path().join(WORK_DIRECTORY).exists());
}

#[test]
fn what_is_missing_is_installed_by_a_command_that_can_be_copied() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("my agents/one");
    std::fs::create_dir_all(directory.join("wit")).unwrap();
    std::fs::write(directory.join("wit/w.wit"), "package a:b;\nworld w {}\n").unwrap();
    std::fs::write(directory.join("app.py"), "").unwrap();
    let project = found(&directory);
    let progress = Progress(ProgressBar::hidden());
    let error = Toolchain::new(&project, &progress).missing("tool", "make tool");
    let message = error.conclusion().0.unwrap();
    let command = format!("cd '{}' && make tool", directory.canonicalize().unwrap().display());
    assert!(message.ends_with(&command), "{message}");
}
