//! The files of a new agent: some for every language, some of its own.

use aop_core::AgentName;

use crate::args::Language;

/// What all of them export; its tool is named after it and the agent.
pub(super) const FUNCTION: &str = "split";
/// What stands for the agent's name in templates.
const NAME: &str = "{{name}}";

/// A file as it is kept: where it goes, and its text.
type Template = (&'static str, &'static str);

macro_rules! templates {
    ($($from:literal => $to:literal,)*) => {
        &[$(($to, include_str!(concat!("../../../../../guest-sdk/templates/", $from))),)*]
    };
}

const SHARED: &[Template] = templates! {
    "shared/agent.wit" => "wit/agent.wit",
    "shared/settings.toml" => "{{name}}.toml",
};

const RUST: &[Template] = templates! {
    "rust/Cargo.toml" => "Cargo.toml",
    "rust/README.md" => "README.md",
    "rust/gitignore" => ".gitignore",
    "rust/src/bill.rs" => "src/bill.rs",
    "rust/src/lib.rs" => "src/lib.rs",
};

const PYTHON: &[Template] = templates! {
    "python/README.md" => "README.md",
    "python/app.py" => "app.py",
    "python/bill.py" => "bill.py",
    "python/gitignore" => ".gitignore",
    "python/pyproject.toml" => "pyproject.toml",
    "python/test_bill.py" => "test_bill.py",
};

const JAVASCRIPT: &[Template] = templates! {
    "js/README.md" => "README.md",
    "js/app.js" => "app.js",
    "js/bill.js" => "bill.js",
    "js/bill.test.js" => "bill.test.js",
    "js/gitignore" => ".gitignore",
    "js/package.json" => "package.json",
};

const TYPESCRIPT: &[Template] = templates! {
    "ts/README.md" => "README.md",
    "ts/app.ts" => "app.ts",
    "ts/bill.test.ts" => "bill.test.ts",
    "ts/bill.ts" => "bill.ts",
    "ts/gitignore" => ".gitignore",
    "ts/package.json" => "package.json",
    "ts/tsconfig.json" => "tsconfig.json",
};

const GO: &[Template] = templates! {
    "go/README.md" => "README.md",
    "go/bill/bill.go" => "bill/bill.go",
    "go/bill/bill_test.go" => "bill/bill_test.go",
    "go/exports/export_local_agent_bill/bill.go" => "exports/export_local_agent_bill/bill.go",
    "go/gitignore" => ".gitignore",
    "go/go.mod" => "go.mod",
    "go/main.go" => "main.go",
};

const C: &[Template] = templates! {
    "c/README.md" => "README.md",
    "c/bill.c" => "bill.c",
    "c/bill.h" => "bill.h",
    "c/bill_test.c" => "bill_test.c",
    "c/exports.c" => "exports.c",
    "c/gitignore" => ".gitignore",
};

const fn of(language: Language) -> &'static [Template] {
    match language {
        Language::Rust => RUST,
        Language::Python => PYTHON,
        Language::Js => JAVASCRIPT,
        Language::Ts => TYPESCRIPT,
        Language::Go => GO,
        Language::C => C,
    }
}

/// The files of an agent, by their paths in its directory.
pub(super) fn files(
    name: &AgentName,
    language: Language,
) -> impl Iterator<Item = (String, String)> {
    let named = |text: &str| text.replace(NAME, name);
    SHARED.iter().chain(of(language)).map(move |(path, text)| (named(path), named(text)))
}

/// The commands in the README of an agent: its first block of code.
pub(super) fn commands(name: &AgentName, language: Language) -> String {
    let readme = of(language).iter().find(|(path, _)| *path == "README.md");
    let text = readme.map_or("", |(_, text)| text);
    let block = text.split("```").nth(1).unwrap_or_default();
    let commands = block.split_once('\n').map_or("", |(_, commands)| commands);
    commands.trim_end().replace(NAME, name)
}
