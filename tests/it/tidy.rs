//! The house rules that a machine can check: sizes, directions between crates, and absences, which
//! cannot be read from code.

mod source;
mod threats;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use aop_tests::repository;

use self::source::{Source, bare};

/// A file longer than this wants to be two. Tests are not counted.
const FILE_LINES_MAX: usize = 500;
/// A function longer than this cannot be seen at once.
const FUNCTION_LINES_MAX: usize = 70;
/// A text file above this is data, and a component among the sources is a fixture that rots.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What is not ours or not source.
const SKIPPED: [&str; 4] = ["target", ".git", "node_modules", "shared"];

/// Every file of the repository.
fn files() -> Vec<PathBuf> {
    fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(directory).expect("a directory can be read") {
            let path = entry.expect("a directory can be read").path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if path.is_dir() && !SKIPPED.contains(&name) {
                walk(&path, found);
            } else if path.is_file() {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(repository(), &mut found);
    found.sort();
    found
}

/// A path as it is shown: within the repository.
fn shown(path: &Path) -> String {
    path.strip_prefix(repository()).unwrap_or(path).display().to_string()
}

/// The Rust sources below a directory of the repository.
fn rust(below: &str) -> Vec<(PathBuf, Source)> {
    let root = repository().join(below);
    let mut sources = Vec::new();
    for path in files() {
        if path.starts_with(&root) && path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).expect("sources are UTF-8");
            sources.push((path, Source::new(&text)));
        }
    }
    assert!(!sources.is_empty(), "there are sources below {below}");
    sources
}

/// Whether a whole file is tests: beside the code as `tests.rs` or in a folder of that name.
fn is_tests(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "tests.rs")
        && !path.starts_with(repository().join("tests"))
}

#[track_caller]
fn none(what: &str, offences: &[String]) {
    assert!(offences.is_empty(), "{what}:\n  {}", offences.join("\n  "));
}

#[test]
fn files_are_short() {
    let mut long = Vec::new();
    for (path, source) in ["host", "guest-sdk", "tests/src"].into_iter().flat_map(rust) {
        let lines = source.lines_without_tests();
        if lines > FILE_LINES_MAX && !is_tests(&path) {
            long.push(format!("{} has {lines} lines", shown(&path)));
        }
    }
    none(&format!("files of more than {FILE_LINES_MAX} lines, tests not counted"), &long);
}

#[test]
fn functions_are_short() {
    let mut long = Vec::new();
    for (path, source) in ["host", "guest-sdk", "tests"].into_iter().flat_map(rust) {
        for function in source.functions() {
            if function.lines > FUNCTION_LINES_MAX {
                let place = format!("{}:{}", shown(&path), function.line);
                long.push(format!("{place} `{}` has {} lines", function.name, function.lines));
            }
        }
    }
    none(&format!("functions of more than {FUNCTION_LINES_MAX} lines"), &long);
}

/// What a package needs, and what its tests need beyond that.
const TABLES: [&str; 3] = ["dependencies", "build-dependencies", "dev-dependencies"];

/// The packages below `host`, with the names of everything in some tables of their manifests.
fn packages(tables: &[&str]) -> Vec<(String, BTreeSet<String>)> {
    let mut packages = Vec::new();
    for path in files().into_iter().filter(|path| path.ends_with("Cargo.toml")) {
        if !path.starts_with(repository().join("host")) {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("manifests are UTF-8");
        let manifest: toml::Table = text.parse().expect("manifests are TOML");
        let name = manifest["package"]["name"].as_str().expect("packages have names").to_owned();
        let tables = tables.iter().filter_map(|table| manifest.get(*table)?.as_table());
        packages.push((name, tables.flat_map(|table| table.keys().cloned()).collect()));
    }
    packages
}

#[test]
fn middle_crates_know_only_the_core() {
    let mut offences = Vec::new();
    // A test may stand on a neighbour instead of a fake; the code may not.
    for (name, dependencies) in packages(&TABLES[..2]) {
        let ours = dependencies.iter().filter(|dependency| dependency.starts_with("aop"));
        let allowed: &[&str] = match name.as_str() {
            "aop" => continue,
            "aop-core" => &[],
            _ => &["aop-core"],
        };
        offences.extend(
            ours.filter(|dependency| !allowed.contains(&dependency.as_str()))
                .map(|dependency| format!("{name} depends on {dependency}")),
        );
    }
    none("cli → the others → core, and nothing else", &offences);
}

#[test]
fn heavy_crates_stay_where_they_belong() {
    let rules = [("wasmtime", "aop-runtime"), ("rmcp", "aop-mcp"), ("rusqlite", "aop-store")];
    let mut offences = Vec::new();
    for (name, dependencies) in packages(&TABLES) {
        for (dependency, home) in rules {
            if name != home && dependencies.iter().any(|known| known.starts_with(dependency)) {
                offences.push(format!("{name} knows {dependency}, which only {home} may"));
            }
        }
    }
    none("one crate knows each heavy dependency", &offences);
}

/// Every use of one of `words` in code, tests excluded.
fn uses(below: &str, words: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for (path, source) in rust(below) {
        if is_tests(&path) {
            continue;
        }
        for (number, line) in source.code_lines() {
            found.extend(
                words
                    .iter()
                    .filter(|word| line.contains(*word))
                    .map(|word| format!("{}:{number} uses {word}", shown(&path))),
            );
        }
    }
    found
}

#[test]
fn only_the_binary_reads_the_environment() {
    let words = [
        "env::var",
        "env::args",
        "env::temp_dir",
        "env::home_dir",
        "env::set_var",
        "env::current_dir",
    ];
    let outside: Vec<_> = uses("host", &words)
        .into_iter()
        .filter(|offence| !offence.starts_with("host/cli/"))
        .collect();
    none("only `cli` reads the environment", &outside);
}

#[test]
fn the_core_has_no_io_and_no_clock() {
    let words = [
        "std::fs",
        "std::net",
        "std::io",
        "std::thread",
        "std::process",
        "Instant::now",
        "SystemTime",
        "now_v7",
        "tokio",
        "async fn",
    ];
    none("`core` is pure", &uses("host/core/src", &words));
}

#[test]
fn nothing_is_left_to_do() {
    // Put together, so that this file does not accuse itself.
    let words = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
        concat!("unimplemented", "!("),
    ];
    let mut found = Vec::new();
    for path in files() {
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        for (number, line) in text.lines().enumerate() {
            if words.iter().any(|word| line.contains(word)) {
                found.push(format!("{}:{}", shown(&path), number + 1));
            }
        }
    }
    none("notes of work that was not done", &found);
}

#[test]
fn no_file_is_binary_or_large() {
    let mut found = Vec::new();
    for path in files() {
        let bytes = std::fs::metadata(&path).expect("files can be read").len();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if bytes > FILE_BYTES_MAX || matches!(extension, Some("wasm" | "cwasm" | "so" | "a")) {
            found.push(format!("{} ({bytes} bytes)", shown(&path)));
        }
    }
    none("fixtures are built, not kept", &found);
}

#[test]
fn modules_say_what_they_are_for() {
    let mut silent = Vec::new();
    for (path, _) in ["host", "guest-sdk", "tests"].into_iter().flat_map(rust) {
        let text = std::fs::read_to_string(&path).expect("sources are UTF-8");
        if !text
            .lines()
            .find(|line| !line.trim().is_empty())
            .is_some_and(|line| line.starts_with("//!"))
            && !is_tests(&path)
        {
            silent.push(shown(&path));
        }
    }
    none("modules without documentation", &silent);
}

#[test]
fn every_fixture_guest_is_used() {
    let tests: String = rust("tests/it").into_iter().map(|(path, _)| bare_text(&path)).collect();
    let guests = repository().join("tests/guests/examples");
    for entry in std::fs::read_dir(guests).expect("there are guests") {
        let path = entry.expect("there are guests").path();
        let name = path.file_stem().and_then(|name| name.to_str()).expect("guests have names");
        assert!(tests.contains(&format!("\"{name}\"")), "no test uses the guest {name}");
    }
}

fn bare_text(path: &Path) -> String {
    std::fs::read_to_string(path).expect("sources are UTF-8")
}

#[test]
fn the_scanner_sees_through_text_and_comments() {
    let text = r##"
// fn comment() {
/* { /* { */ } */
const A: &str = "fn string() { \" {";
const B: char = '{';
const C: &str = r#"{ " {"#;
fn short<'a>(x: &'a str) -> &'a str {
    x
}
trait T { fn declared(&self); }
fn long() {

    let _f: fn() = || {};
}
#[cfg(test)]
mod tests {
    fn hidden() {}
}
"##;
    let functions: Vec<_> = Source::new(text)
        .functions()
        .into_iter()
        .map(|function| (function.name, function.lines))
        .collect();
    assert_eq!(
        functions,
        [("short".to_owned(), 3), ("long".to_owned(), 4), ("hidden".to_owned(), 1)]
    );
    assert_eq!(Source::new(text).lines_without_tests(), 14);
    assert!(!bare(text).contains("comment"));
}
