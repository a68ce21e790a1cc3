use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use clap::ValueEnum as _;

use super::*;

fn args(name: &str, lang: Language, dir: &Path) -> NewArgs {
    NewArgs { name: AgentName::new(name).unwrap(), lang, dir: Some(dir.to_owned()) }
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

#[test]
fn every_language_gets_everything() {
    let parent = tempfile::tempdir().unwrap();
    for language in Language::value_variants() {
        let directory = parent.path().join(language.to_string());
        run(&args("my-agent", *language, &directory)).unwrap();
        for file in ["wit/agent.wit", "my-agent.toml", "README.md", ".gitignore"] {
            assert!(directory.join(file).is_file(), "{language} has {file}");
        }
        let files = files_below(&directory);
        let is_test = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().contains("test");
        assert!(
            *language == Language::Rust || files.iter().any(is_test),
            "{language} has a test: {files:?}"
        );
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap();
            assert!(!text.contains("{{"), "{} is filled in", file.display());
        }
        let commands = template::commands(&AgentName::new("my-agent").unwrap(), *language);
        assert_eq!(commands.lines().count(), 3, "{language}: {commands}");
        assert!(commands.contains("aop run my-agent.wasm split"), "{language}: {commands}");
    }
    assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 6, "nothing else is left");
}

#[test]
fn every_template_is_used() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../guest-sdk/templates");
    let source = include_str!("template.rs");
    for file in files_below(&root) {
        let path = file.strip_prefix(&root).unwrap().to_str().unwrap();
        assert!(source.contains(&format!("\"{path}\"")), "{path} is part of the binary");
    }
}

#[test]
fn a_name_that_leaves_no_room_for_a_tool_is_refused() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("agent");
    let error = run(&args(&"a".repeat(59), Language::C, &directory)).unwrap_err();
    let said = error.conclusion().0.unwrap();
    assert!(said.contains("_split`") && said.contains("at most 58"), "{said}");
    assert!(!directory.exists());
    run(&args(&"a".repeat(58), Language::C, &directory)).unwrap();
    let wit = include_str!("../../../../../guest-sdk/templates/shared/agent.wit");
    assert!(wit.contains(&format!("    {}: func(", template::FUNCTION)));
}

#[test]
fn nothing_is_overwritten() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("there");
    std::fs::create_dir(&directory).unwrap();
    std::fs::write(directory.join("mine"), "").unwrap();
    let error = run(&args("a", Language::C, &directory)).unwrap_err();
    assert!(error.conclusion().0.unwrap().contains("exists already"));
    assert_eq!(files_below(parent.path()), [directory.join("mine")]);
    // A file is in the way, too.
    let error = run(&args("a", Language::C, &directory.join("mine"))).unwrap_err();
    assert!(error.conclusion().0.unwrap().contains("exists already"));
}

#[test]
fn an_empty_directory_is_filled_and_missing_parents_are_made() {
    let parent = tempfile::tempdir().unwrap();
    let empty = parent.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let same = std::fs::File::open(&empty).unwrap();
    run(&args("a", Language::Go, &empty)).unwrap();
    assert!(empty.join("go.mod").is_file() && empty.join("bill/bill.go").is_file());
    let numbers = [same.metadata(), std::fs::metadata(&empty)].map(|found| found.unwrap().ino());
    assert_eq!(numbers[0], numbers[1], "a shell that stands in it still does");
    let names = std::fs::read_dir(&empty).unwrap().map(|entry| entry.unwrap().file_name());
    let names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
    assert!(!names.iter().any(|name| name.starts_with(".new-")), "{names:?}");
    // However it is called.
    let dotted = parent.path().join("dotted");
    std::fs::create_dir(&dotted).unwrap();
    run(&args("a", Language::C, &dotted.join("."))).unwrap();
    assert!(dotted.join("bill.c").is_file());
    let deep = parent.path().join("x/y/z");
    run(&args("a", Language::Go, &deep)).unwrap();
    assert!(deep.join("go.mod").is_file());
}

#[test]
fn what_cannot_be_moved_is_taken_back() {
    let parent = tempfile::tempdir().unwrap();
    let (made, directory) = (parent.path().join("made"), parent.path().join("there"));
    for file in ["made/a", "made/b", "made/c", "there/b/in the way"] {
        let path = parent.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "").unwrap();
    }
    fill(&directory, &made).unwrap_err();
    assert_eq!(files_below(&directory), [directory.join("b/in the way")]);
    assert_eq!(files_below(&made).len(), 3);
}

#[test]
fn what_fails_leaves_nothing() {
    let parent = tempfile::tempdir().unwrap();
    let file = parent.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert!(run(&args("a", Language::C, &file.join("below"))).is_err());
    assert_eq!(files_below(parent.path()), [file]);
}
