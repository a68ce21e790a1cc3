use std::path::PathBuf;

use super::*;

/// A world with a function of every kind.
const WIT: &str = "
package local:agent@0.1.0;

interface word-bank {
    resource bank-account {
        constructor(first-word: string);
        add-word: func(new-word: string);
        largest: static func() -> bank-account;
    }
    count-words: func(a-text: string) -> u32;
}

interface plain {
    delete: func();
}

world agent {
    export word-bank;
    export plain;
    export say-hello: func(who: string) -> string;
    export wasi:cli/run@0.2.0;
}

package wasi:cli@0.2.0 {
    interface run {
        run: func() -> result;
    }
}
";

fn wit() -> Wit {
    let mut resolve = Resolve::new();
    let package = resolve.push_source("agent.wit", WIT).unwrap();
    let world = resolve.packages[package].worlds["agent"];
    Wit { directory: PathBuf::from("wit"), resolve, world, text: WIT.to_owned() }
}

#[test]
fn every_export_is_looked_for_where_the_engine_looks() {
    let exports = exports_of(&wit());
    let shown: Vec<_> = exports
        .iter()
        .map(|export| format!("{} {}\n  {}", export.named, json(&export.place), export.example))
        .collect();
    insta::assert_snapshot!(shown.join("\n"));
}

#[test]
fn the_module_exports_each_name_once_and_begins_the_program() {
    let module = module("src/app.js", &exports_of(&wit()));
    assert!(module.contains(r#"import * as agent from "../src/app.js";"#), "{module}");
    for name in ["wordBank", "plain", "sayHello", "run"] {
        assert_eq!(module.matches(&format!(" as {name} }};")).count(), 1, "{module}");
    }
    assert!(!module.contains("{{"), "{module}");
}

#[test]
fn what_is_missing_is_told_with_what_to_write() {
    let exports = exports_of(&wit());
    let line = format!("[Error: : Failed to evaluate: Error: {MISSING}0 3.");
    let said = [String::new(), line, "    at <anonymous> (/entry.js:30:11)".to_owned()];
    let told = missing(&said, &exports).unwrap();
    let lines: Vec<_> = told.trim_start().lines().map(str::trim).collect();
    assert_eq!(lines.len(), 2, "{told}");
    assert_eq!(lines[0], "`say-hello`: write export function sayHello(who) { … }");
    assert!(
        lines[1].ends_with(
            ": write export const wordBank = { BankAccount: class { static largest() { … } } };"
        ),
        "{told}"
    );
    // Other failures, and what nobody can have said, are something else.
    for other in ["Error: no such file".to_owned(), format!("{MISSING}99.")] {
        assert_eq!(missing(&[other], &exports), None);
    }
}

#[test]
fn the_console_is_added_beside_what_the_agent_imports_itself() {
    let (text, version) = console::with(&wit()).unwrap();
    // The agent has a package of 0.2.0, which may be a part only.
    assert_eq!(version, "0.2.1");
    assert!(console::module(version).contains("wasi:cli/stdout@0.2.1"));
    let mut resolve = Resolve::new();
    let package = resolve.push_source("agent.wit", &text).unwrap();
    let world = &resolve.worlds[resolve.packages[package].worlds["agent"]];
    let imports: Vec<_> = world.imports.keys().map(|key| resolve.name_world_key(key)).collect();
    for wanted in ["wasi:cli/stdout@0.2.1", "wasi:cli/stderr@0.2.1", "wasi:io/streams@0.2.1"] {
        assert!(imports.iter().any(|import| import == wanted), "{imports:?}");
    }
    assert_eq!(world.exports.len(), 4, "{text}");
}
