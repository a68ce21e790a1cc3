use super::*;
use crate::args::SourceArgs;
use crate::command::build::Project;

const WIT: &str = "\
package local:agent@0.1.0;

interface bill {
    split: func(total: u32) -> u32;
    resource draft {
        add: func(cents: u32);
    }
}

world agent {
    export bill;
    export tell: func() -> string;
}
";

/// As wit-bindgen 0.63 writes it, with less between the lines.
const BINDINGS: &str = "\
package wit_exports

import (
        \"example.com/bill/exports/export_local_agent_bill\"
)

//go:wasmexport local:agent/bill@0.1.0#split
func wasm_export_local_agent_bill_split(arg0 int32) int32 {
result := export_local_agent_bill.Split(uint32(arg0))
return int32(result)
}

//go:wasmexport local:agent/bill@0.1.0#[method]draft.add
func wasm_export_local_agent_bill__method_draft_add(arg0 uintptr, arg1 int32) {
((*export_local_agent_bill.Draft)(unsafe.Pointer(arg0))).Add(uint32(arg1))
}

//go:wasmexport tell
func wasm_export_wit_world_tell() uintptr {
result := export_wit_world.Tell()
}

//go:wasmexport cabi_post_tell
func wasm_export_post_return_wit_world_tell(result uintptr) {
syncExportPinner.Unpin()
}
";

/// What is told of what the compiler says.
fn told(said: &[&str]) -> Option<String> {
    let directory = tempfile::tempdir().unwrap();
    for (file, text) in [
        ("go.mod", "module example.com/bill\n"),
        ("wit/agent.wit", WIT),
        ("exports/wit_exports/wit_exports.go", BINDINGS),
    ] {
        let path = directory.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let args = SourceArgs { directory: directory.path().to_owned(), lang: None };
    let project = Project::find(&args).unwrap();
    let said: Vec<_> = said.iter().map(|line| (*line).to_owned()).collect();
    describe(&said, &project.wit, &project.directory)
}

#[test]
fn a_function_that_is_missing_is_named_as_the_wit_does_and_with_its_place() {
    let said = told(&[
        "# example.com/bill/exports/wit_exports",
        "exports/wit_exports/wit_exports.go:9:36: undefined: export_local_agent_bill.Split",
        "./exports/wit_exports/wit_exports.go:20:28: undefined: export_wit_world.Tell",
    ]);
    let said = said.unwrap();
    let lines: Vec<_> = said.trim_start().lines().collect();
    assert_eq!(lines.len(), 2, "{said}");
    for part in
        ["`local:agent/bill@0.1.0#split`", "/wit/agent.wit:4:5)", "write `func Split(…)` there"]
    {
        assert!(lines[0].contains(part), "{part} in {said}");
    }
    assert!(lines[1].contains("`tell` (") && lines[1].contains("/wit/agent.wit:12:12)"), "{said}");
    assert!(lines[1].contains("exports/export_wit_world has no `Tell`"), "{said}");
}

#[test]
fn what_the_wit_has_otherwise_than_the_source_is_told_with_the_compilers_words() {
    let said = told(&[
        "exports/wit_exports/wit_exports.go:9:41: not enough arguments in call to export_local_agent_bill.Split",
        "\thave (uint32)",
        "\twant (uint32, []string)",
        "exports/wit_exports/wit_exports.go:15:60: (*export_local_agent_bill.Draft)(unsafe.Pointer(arg0)).Add undefined",
        "exports/wit_exports/wit_exports.go:25:1: of what an export is helped by",
        "too many errors",
        "\tof nothing that was told",
    ]);
    let said = said.unwrap();
    for part in [
        "#split` (",
        "not enough arguments",
        "\n    have (uint32)\n    want (uint32, []string)",
        "#[method]draft.add` (",
        "/wit/agent.wit:6:9)",
        "`tell` (",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
    assert!(!said.contains("of nothing"), "{said}");
}

#[test]
fn a_package_that_is_missing_is_that_of_all_functions_in_it() {
    for why in [
        "module example.com/bill/exports/export_local_agent_bill: Get \"https://proxy.test/\": no such host",
        "package example.com/bill/exports/export_local_agent_bill is not in std",
    ] {
        let said = told(&[&format!("exports/wit_exports/wit_exports.go:4:9: {why}")]).unwrap();
        assert_eq!(said.matches("there is no package exports/export_local_agent_bill").count(), 2);
        assert!(said.contains("#split`") && !said.contains("`tell`"), "{said}");
    }
}

#[test]
fn what_is_about_the_authors_own_code_is_left_to_the_compiler() {
    for line in [
        "exports/export_local_agent_bill/bill.go:3:1: undefined: x",
        "exports/wit_exports/wit_exports.go:4:9: something else",
        "exports/wit_exports/wit_exports.go: no number",
        "exports/wit_exports/gone.go:1:1: undefined: a.B",
        "go: cannot find main module",
        "",
    ] {
        assert_eq!(told(&[line]), None, "{line}");
    }
}
