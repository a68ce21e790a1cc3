use std::path::Path;

use super::*;
use crate::args::SourceArgs;

const WIT: &str = "package a:b;\nworld w { export hello: func() -> string; }\n";

/// Files with their text.
type Files<'a> = [(&'a str, &'a str)];

/// A directory with some files, and WIT beside them.
fn source(files: &Files<'_>) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (file, text) in files.iter().chain(&[("wit/w.wit", WIT)]) {
        let path = directory.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    directory
}

fn find(directory: &Path, lang: Option<Language>) -> Result<Project, String> {
    Project::find(&SourceArgs { directory: directory.to_owned(), lang })
        .map_err(|error| error.conclusion().0.unwrap())
}

#[test]
fn the_language_and_the_name_are_found_where_its_tools_look() {
    let cases: [(&Files<'_>, Language, &str); 7] = [
        (&[("Cargo.toml", "[package]\nname = \"word_count\"\n")], Language::Rust, "word-count"),
        (&[("go.mod", "module example.com/path/tally/v2\n\ngo 1.27\n")], Language::Go, "tally"),
        (&[("package.json", "{\"name\": \"@scope/links\"}")], Language::Js, "links"),
        (
            &[("package.json", "{\"name\": \"links\"}"), ("tsconfig.json", "{}")],
            Language::Ts,
            "links",
        ),
        (
            &[("pyproject.toml", "[project]\nname = \"Sums\"\n"), ("app.py", "")],
            Language::Python,
            "sums",
        ),
        (&[("app.py", ""), ("sums.toml", ""), ("aop.toml", "")], Language::Python, "sums"),
        (&[("check.c", ""), ("digits.toml", "")], Language::C, "digits"),
    ];
    for (files, language, name) in cases {
        let directory = source(files);
        let project = find(directory.path(), None).unwrap();
        assert_eq!((project.language, project.name.as_str()), (language, name));
    }
}

#[test]
fn without_anything_else_an_agent_is_named_after_its_directory() {
    let parent = source(&[]);
    let directory = parent.path().join("My_Sums");
    std::fs::rename(source(&[("app.py", "")]).keep(), &directory).unwrap();
    assert_eq!(&*find(&directory, None).unwrap().name, "my-sums");
}

#[test]
fn what_could_be_two_languages_is_asked_about() {
    let directory = source(&[
        ("package.json", "{\"name\": \"a\"}"),
        ("pyproject.toml", "[project]\nname = \"b\""),
    ]);
    let error = find(directory.path(), None).err().unwrap();
    assert!(
        error.contains("package.json and pyproject.toml") && error.contains("--lang"),
        "{error}"
    );
    assert_eq!(&*find(directory.path(), Some(Language::Python)).unwrap().name, "b");
}

#[test]
fn what_is_missing_is_named() {
    let empty = tempfile::tempdir().unwrap();
    assert!(find(empty.path(), None).err().unwrap().contains("aop new"));
    std::fs::write(empty.path().join("app.py"), "").unwrap();
    assert!(find(empty.path(), None).err().unwrap().contains("wit does not exist"));
    assert!(find(&empty.path().join("none"), None).err().unwrap().contains("cannot read"));
}

#[test]
fn a_world_is_chosen_by_its_name() {
    let worlds = |wit: &str| {
        let directory = source(&[("app.py", ""), ("sums.toml", ""), ("wit/w.wit", "")]);
        std::fs::write(directory.path().join("wit/w.wit"), wit).unwrap();
        find(directory.path(), None).map(|project| project.wit.world_name().to_owned())
    };
    assert_eq!(worlds("package a:b; world only {}").unwrap(), "only");
    assert_eq!(worlds("package a:b; world agent {} world sums {}").unwrap(), "sums");
    assert_eq!(worlds("package a:b; world agent {} world other {}").unwrap(), "agent");
    assert!(worlds("package a:b; world x {} world y {}").unwrap_err().contains("x, y"));
    assert!(worlds("package a:b; interface i {}").unwrap_err().contains("no world"));
    assert!(worlds("package a:b; world {").unwrap_err().contains("is wrong"));
}

#[test]
fn a_mistake_in_the_wit_is_shown_where_it_is() {
    let told = |file: &str, text: &str| {
        let directory = source(&[("app.py", ""), ("sums.toml", "")]);
        let path = directory.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        find(directory.path(), None).err().unwrap()
    };
    for (file, text, place, line, why) in [
        ("wit/w.wit", "package a:b;\n\nworld {\n}\n", "/wit/w.wit:3:7", "world {", "expected"),
        (
            "wit/w.wit",
            "package a:b;\nworld w {\n    export nosuch;\n}\n",
            "/wit/w.wit:3:12",
            "    export nosuch;",
            "`nosuch` does not exist",
        ),
        (
            "wit/w.wit",
            "package a:b;\nworld w {\n    import c:d/e;\n}\n",
            "/wit/w.wit:3:12",
            "    import c:d/e;",
            "package 'c:d' not found",
        ),
        (
            "wit/w.wit",
            "package a:b;\nworld w {\n    export aop:agent/task@0.1.0;\n}\n",
            "/wit/w.wit:3:12",
            "    export aop:agent/task@0.1.0;",
            "\n`aop wit aop:agent@0.1.0`, in the directory of the agent, puts it into wit/deps",
        ),
        (
            "wit/deps/d/d.wit",
            "package d:e;\ntype x\n",
            "/wit/deps/d/d.wit:2:",
            "type x",
            "expected",
        ),
    ] {
        let error = told(file, text);
        for part in [place, &format!("| {line}"), why] {
            assert!(error.contains(part), "{part:?} in {error}");
        }
    }
    // Twice the same package: both places are named.
    let error = told("wit/deps/again.wit", WIT);
    assert!(error.contains("/wit/w.wit:1:") && error.contains("again.wit:1:"), "{error}");
}

#[test]
fn what_a_language_does_not_have_is_told_before_its_tools_stop() {
    let told = |function: &str, language: Language| {
        let wit = format!(
            "package a:b;\ninterface i {{\n    {function};\n}}\nworld w {{\n    export i;\n}}\n"
        );
        let directory = source(&[("app.py", ""), ("sums.toml", "")]);
        std::fs::write(directory.path().join("wit/w.wit"), wit).unwrap();
        let project = find(directory.path(), None).unwrap();
        project.wit.check(language).err().and_then(|error| error.conclusion().0)
    };
    let fixed = "f: func(a: option<list<u8, 4>>)";
    for language in [Language::Python, Language::Js, Language::Ts, Language::Go, Language::C] {
        let said = told(fixed, language).unwrap();
        for part in ["`f` (", "/w.wit:3:5)", "a list of fixed length", "write `list<T>`"] {
            assert!(said.contains(part), "{part} in {said}");
        }
    }
    assert_eq!(told(fixed, Language::Rust), None);
    let map = "f: func() -> map<string, u8>";
    assert!(told(map, Language::Python).unwrap().contains("`list<tuple<K, V>>`"));
    assert_eq!(told(map, Language::Go), None);
    assert_eq!(told("f: func(a: list<u8>)", Language::Python), None);
}

#[test]
fn several_files_of_wit_are_carried_as_one() {
    let directory = source(&[
        ("app.py", ""),
        ("sums.toml", ""),
        ("wit/types.wit", "interface types {\n    /// One.\n    one: func();\n}\n"),
        ("wit/w.wit", "package a:b;\nworld w { export types; }\n"),
    ]);
    std::fs::write(directory.path().join("wit/w.wit"), "package a:b;\nworld w { export types; }\n")
        .unwrap();
    let text = find(directory.path(), None).unwrap().wit.text;
    assert!(text.contains("/// One.") && text.contains("world w"), "{text}");
    assert_eq!(text.matches("package ").count(), 1);
}

#[test]
fn a_file_that_is_the_same_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a.wasm");
    put(b"1", &file).unwrap();
    let modified = || std::fs::metadata(&file).unwrap().modified().unwrap();
    let before = modified();
    put(b"1", &file).unwrap();
    assert_eq!(modified(), before);
    put(b"2", &file).unwrap();
    assert_eq!(std::fs::read(&file).unwrap(), b"2");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "nothing else is left");
}

/// The package `aop:agent` as `aop wit` writes it.
const STANDARD: [(&str, &str); 4] = [
    ("wit/deps/agent/task.wit", include_str!("../../../../../wit/agent-0.1.0/task.wit")),
    ("wit/deps/agent/content.wit", include_str!("../../../../../wit/agent-0.1.0/content.wit")),
    ("wit/deps/agent/features.wit", include_str!("../../../../../wit/agent-0.1.0/features.wit")),
    (
        "wit/deps/agent/capabilities.wit",
        include_str!("../../../../../wit/agent-0.1.0/capabilities.wit"),
    ),
];

#[test]
fn what_is_exported_of_other_packages_is_carried_with_its_comments() {
    let carried = |files: &Files<'_>| {
        let directory = source(&[&[("app.py", ""), ("sums.toml", "")][..], &STANDARD].concat());
        for (file, text) in files {
            std::fs::write(directory.path().join(file), text).unwrap();
        }
        let text = find(directory.path(), None).unwrap().wit.text;
        let is_legal = wit_parser::UnresolvedPackageGroup::parse("agent.wit", &text).is_ok();
        assert!(is_legal, "{text}");
        text
    };
    let task = "package a:b;\n// Mine.\nworld w { import aop:agent/tools@0.1.0; export aop:agent/task@0.1.0; }";
    let text = carried(&[("wit/w.wit", task)]);
    assert!(
        text.starts_with(task) && text.contains("/// Do a task and give the answer."),
        "{text}"
    );
    assert!(!text.contains("interface tools") && !text.contains("world agent"), "{text}");
    // What an interface uses comes with it.
    let text =
        carried(&[("wit/w.wit", "package a:b;\nworld w { export aop:agent/prompts@0.1.0; }")]);
    assert!(text.contains("interface content") && !text.contains("interface task"), "{text}");
    // Of several files, too.
    let text = carried(&[
        ("wit/types.wit", "package a:b;\ninterface types { one: func(); }\n"),
        ("wit/w.wit", "world w { export types; export aop:agent/task@0.1.0; }"),
    ]);
    assert!(text.contains("/// Do a task") && text.contains("one: func"), "{text}");
    // What the author wrote down already stays as it is.
    let inline =
        "package a:b;\nworld w { export c:d/e; }\npackage c:d { interface e { f: func(); } }\n";
    assert_eq!(carried(&[("wit/w.wit", inline)]), inline);
    assert_eq!(carried(&[("wit/w.wit", WIT)]), WIT, "nothing of others, nothing more");
}
