//! What the threat model says is held by tests is.

use std::collections::BTreeSet;

use aop_tests::repository;

use super::{TABLES, files, none, packages};

/// The names of every test in the repository.
fn tests() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for path in files().into_iter().filter(|path| path.extension().is_some_and(|e| e == "rs")) {
        let text = std::fs::read_to_string(path).expect("sources are UTF-8");
        let mut is_test = false;
        for line in text.lines().map(str::trim) {
            if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
                is_test = true;
            } else if let Some((_, rest)) = line.split_once("fn ").filter(|_| is_test) {
                found.extend(rest.split('(').next().map(str::to_owned));
                is_test = false;
            }
        }
    }
    found
}

#[test]
fn every_promise_of_the_threat_model_has_its_test() {
    let page = repository().join("docs/threat-model.md");
    let page = std::fs::read_to_string(page).expect("the threat model can be read");
    let known = tests();
    let (mut offences, mut rows) = (Vec::new(), 0);
    for line in
        page.lines().filter(|line| line.starts_with("| ") && line.matches(" | ").count() == 2)
    {
        let named = line.rsplit(" | ").next().unwrap_or_default();
        let names: Vec<_> = named.split('`').skip(1).step_by(2).collect();
        // Tables without tests have no names in their last column.
        if named.starts_with("test") || !line.contains('`') {
            continue;
        }
        rows += 1;
        if names.is_empty() {
            offences.push(format!("no test: {line}"));
        }
        let unknown = names.iter().filter(|name| !known.contains(**name));
        offences.extend(unknown.map(|name| format!("there is no test {name}")));
    }
    assert!(rows > 40, "the tables were found: {rows}");
    none("docs/threat-model.md names tests that hold it", &offences);
}

#[test]
fn nothing_from_outside_is_inflated_or_compiled_as_a_pattern() {
    let inflating =
        ["flate2", "brotli", "async-compression", "zip", "miniz_oxide", "regex", "fancy-regex"];
    let mut offences = Vec::new();
    for (name, dependencies) in packages(&TABLES[..2]) {
        let found = inflating.iter().filter(|known| dependencies.contains(**known));
        offences.extend(found.map(|known| format!("{name} depends on {known}")));
    }
    none("no crate of the host unpacks or matches what strangers send", &offences);
}
