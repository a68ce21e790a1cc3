use std::collections::BTreeMap;

use aop_core::interface::{Feature, TypeKind};
use aop_core::schema::ToolSet;
use aop_core::{AgentName, Settings};

use super::limits::{DOC_MAX_BYTES, FUNCTIONS_MAX, MEMBERS_MAX, NESTING_MAX, TYPES_MAX};
use super::*;
use crate::fuzz::with_section;

/// A component from the text of what is in it. Nothing is called here: the types are what matters.
fn component(body: &str) -> Vec<u8> {
    wat::parse_str(format!("(component {body})")).unwrap()
}

/// What a function needs to be lifted from.
const CORE: &str = r#"
    (core module $m
        (memory (export "memory") 1)
        (func (export "realloc") (param i32 i32 i32 i32) (result i32) unreachable)
        (func (export "none"))
        (func (export "ii-i") (param i32 i32) (result i32) unreachable))
    (core instance $i (instantiate $m))
    (alias core export $i "memory" (core memory $memory))
    (alias core export $i "realloc" (core func $realloc))
"#;

fn derive(body: &str) -> Interface {
    interface(&component(body)).unwrap()
}

/// A `producers` section with one tool.
fn with_producer(wasm: Vec<u8>, tool: &str) -> Vec<u8> {
    let mut data = vec![1];
    for (text, count) in [("processed-by", Some(1)), (tool, None), ("1.0.0", None)] {
        data.push(u8::try_from(text.len()).unwrap());
        data.extend_from_slice(text.as_bytes());
        data.extend(count);
    }
    with_section(wasm, "producers", &data)
}

/// `shout` at the root and in an interface, with a record from another one beside it.
fn kit() -> Vec<u8> {
    component(&format!(
        r#"{CORE}
        (import "acme:text/types@1.0.0" (instance $types
            (type $o (record (field "max-words" u32) (field "plain" bool)))
            (export "options" (type (eq $o)))))
        (alias export $types "options" (type $options))
        (func $shout (param "text" string) (result string)
            (canon lift (core func $i "ii-i") (memory $memory) (realloc $realloc)))
        (func $count (param "options" $options) (result u32)
            (canon lift (core func $i "ii-i")))
        (instance $kit
            (export "shout" (func $shout))
            (export "options" (type $options))
            (export "count" (func $count)))
        (export "acme:text/kit@1.0.0" (instance $kit))
        (export "run" (func $shout))"#
    ))
}

const KIT_WIT: &str = r"
    /// About the package.
    package acme:text@1.0.0;

    interface types {
        /// How to count.
        record options {
            /// At most so many.
            max-words: u32,
            plain: bool,
        }
    }

    interface kit {
        use types.{options};
        /// Makes text loud.
        ///
        /// Every letter of it.
        shout: func(text: string) -> string;
        count: func(options: options) -> u32;
    }

    /// A kit for text.
    world agent {
        export kit;
        /// Runs it.
        export run: func(text: string) -> string;
    }
";

fn paths(interface: &Interface) -> Vec<String> {
    interface.functions.iter().map(aop_core::interface::Function::path).collect()
}

#[test]
fn root_and_interface_functions_become_tools() {
    let found = interface(&kit()).unwrap();
    assert_eq!(paths(&found), ["acme:text/kit@1.0.0#shout", "acme:text/kit@1.0.0#count", "run"]);
    let signatures: Vec<_> = found.functions.iter().map(|f| f.signature.as_str()).collect();
    assert_eq!(
        signatures,
        [
            "shout: func(text: string) -> string",
            "count: func(options: options) -> u32",
            "run: func(text: string) -> string",
        ]
    );
    assert_eq!(found.imports, ["acme:text/types@1.0.0"]);
    assert_eq!(found.refused, []);
    let parameter = &found.functions[1].parameters[0];
    let options = found.get(parameter.ty);
    assert_eq!(options.name.as_deref(), Some("options"));
    let TypeKind::Record(fields) = &options.kind else { unreachable!("{options:?}") };
    assert_eq!(fields[0].name, "max-words");
}

#[test]
fn docs_come_from_the_wit_that_the_component_carries() {
    let found = interface(&with_section(kit(), "agent.wit", KIT_WIT.as_bytes())).unwrap();
    assert_eq!(paths(&found), ["acme:text/kit@1.0.0#shout", "acme:text/kit@1.0.0#count", "run"]);
    let docs: Vec<_> = found.functions.iter().map(|f| f.docs.as_deref()).collect();
    assert_eq!(docs, [Some("Makes text loud.\n\nEvery letter of it."), None, Some("Runs it.")]);
    assert_eq!(found.metadata.world_docs.as_deref(), Some("A kit for text."));
    let options = found.get(found.functions[1].parameters[0].ty);
    assert_eq!(options.docs.as_deref(), Some("How to count."));
    let TypeKind::Record(fields) = &options.kind else { unreachable!("{options:?}") };
    assert_eq!(fields[0].docs.as_deref(), Some("At most so many."));
}

#[test]
fn the_section_is_found_inside_a_core_module() {
    let body = format!(
        r#"(core module (@custom "agent.wit" "package a:b; world w {{ /// Deep.\n export run: func(); }}"))
        {CORE} (func $f (canon lift (core func $i "none"))) (export "run" (func $f))"#
    );
    assert_eq!(derive(&body).functions[0].docs.as_deref(), Some("Deep."));
}

#[test]
fn the_world_chooses_among_the_exports() {
    let world = "package acme:text@1.0.0; interface kit { shout: func(text: string) -> string; } world agent { export kit; export gone: func(); }";
    let found = interface(&with_section(kit(), "agent.wit", world.as_bytes())).unwrap();
    assert_eq!(paths(&found), ["acme:text/kit@1.0.0#shout"]);
    // A world that includes one whose text is not there does not say everything.
    let partial = "package a:b; world agent { include other:pkg/world; export run: func(text: string) -> string; }";
    let found = interface(&with_section(kit(), "agent.wit", partial.as_bytes())).unwrap();
    assert_eq!(paths(&found).len(), 3);
    // Text about something else, broken text, and text that is none change nothing.
    for wit in [
        "package a:b; world w { export other: func(); }",
        "world {",
        "\u{0}",
        "package a:b; interface i { f: func(); }",
    ] {
        let found = interface(&with_section(kit(), "agent.wit", wit.as_bytes())).unwrap();
        assert_eq!(paths(&found).len(), 3, "{wit}");
    }
    let found = interface(&with_section(kit(), "agent.wit", &[0xff, 0xfe])).unwrap();
    assert_eq!(paths(&found).len(), 3);
}

#[test]
fn package_docs_are_read_where_there_is_no_wit() {
    let json = r#"{"worlds":{"agent":{"func_exports":{"run":{"docs":"Runs."}}}},
        "interfaces":{"kit":{"funcs":{"shout":"Shouts.","count":{"docs":"Counts."}},
        "types":{"options":{"docs":"How.","items":{"plain":"Without marks."}}}}}}"#;
    let section = [b"\x01", json.as_bytes()].concat();
    let found = interface(&with_section(kit(), "package-docs", &section)).unwrap();
    let docs: Vec<_> = found.functions.iter().map(|f| f.docs.as_deref()).collect();
    assert_eq!(docs, [Some("Shouts."), Some("Counts."), Some("Runs.")]);
    let both = with_section(
        with_section(kit(), "package-docs", &section),
        "agent.wit",
        KIT_WIT.as_bytes(),
    );
    let found = interface(&both).unwrap();
    assert_eq!(found.functions[2].docs.as_deref(), Some("Runs it."));
    assert_eq!(found.functions[1].docs.as_deref(), Some("Counts."));
    for broken in [b"".as_slice(), b"\x01", b"\x01{", b"\x01[]", b"\x01{\"worlds\":7}"] {
        assert!(interface(&with_section(kit(), "package-docs", broken)).is_ok());
    }
}

#[test]
fn metadata_is_what_the_component_says() {
    let mut wasm = kit();
    for (name, text) in
        [("version", "1.2.3"), ("description", " Text. "), ("authors", "A"), ("licenses", "MIT")]
    {
        wasm = with_section(wasm, name, text.as_bytes());
    }
    let metadata = interface(&wasm).unwrap().metadata;
    assert_eq!(metadata.version.as_deref(), Some("1.2.3"));
    assert_eq!(metadata.description.as_deref(), Some("Text."));
    assert_eq!(
        (metadata.authors.as_deref(), metadata.licenses.as_deref()),
        (Some("A"), Some("MIT"))
    );
    let named = wat::parse_str("(component $my-agent)").unwrap();
    assert_eq!(interface(&named).unwrap().metadata.name.as_deref(), Some("my-agent"));
}

/// A function without parameters, exported at the root and in instances.
fn exporting(exports: &str) -> Vec<u8> {
    component(&format!(
        r#"{CORE} (func $f (canon lift (core func $i "none"))) (instance $in (export "f" (func $f))) {exports}"#
    ))
}

#[test]
fn exports_that_are_not_for_callers_are_skipped() {
    let wasm = exporting(
        r#"(export "wasi:cli/run@0.2.6" (instance $in))
        (export "aop:agent/agent@0.1.0" (instance $in))
        (export "exports" (instance $in))
        (export "init" (func $f))"#,
    );
    let all = interface(&wasm).unwrap();
    assert_eq!(paths(&all), ["aop:agent/agent@0.1.0#f", "exports#f", "init"]);
    let python = interface(&with_producer(wasm.clone(), "componentize-py")).unwrap();
    assert_eq!(paths(&python), ["aop:agent/agent@0.1.0#f", "init"]);
    let quickjs = interface(&with_producer(wasm, "componentize-qjs")).unwrap();
    assert_eq!(paths(&quickjs), ["aop:agent/agent@0.1.0#f", "exports#f"]);
    // Neither toolchain really writes a producers section: their linked libraries show.
    for (library, left) in
        [("libcomponentize_py_runtime.so", "init"), ("componentize_qjs_runtime.wasm", "exports#f")]
    {
        let found = interface(&exporting(&format!(
            r#"(core module (global (export "{library}:memory_base") i32 (i32.const 0)))
            (export "exports" (instance $in)) (export "init" (func $f))"#
        )));
        assert_eq!(paths(&found.unwrap()), [left]);
    }
}

#[test]
fn what_an_agent_offers_besides_tools_is_found_by_its_name() {
    let wasm = exporting(
        r#"(instance $listing (export "list" (func $f)) (export "more" (func $f)))
        (export "aop:agent/prompts@0.1.0" (instance $listing))
        (export "aop:agent/resources" (instance $listing))
        (export "acme:agent/resources@0.1.0" (instance $listing))
        (export "list" (func $f))"#,
    );
    let interface = interface(&wasm).unwrap();
    let features: Vec<_> = interface.functions.iter().map(|f| (f.path(), f.feature())).collect();
    let expected = [
        ("aop:agent/prompts@0.1.0#list", Some(Feature::PromptsList)),
        ("aop:agent/prompts@0.1.0#more", None),
        ("aop:agent/resources#list", Some(Feature::ResourcesList)),
        ("aop:agent/resources#more", None),
        ("acme:agent/resources@0.1.0#list", None),
        ("acme:agent/resources@0.1.0#more", None),
        ("list", None),
    ];
    assert_eq!(features, expected.map(|(path, feature)| (path.to_owned(), feature)));
    let name = AgentName::new("a").unwrap();
    let set = ToolSet::new(&interface, &name, &Settings::default(), &BTreeMap::new()).unwrap();
    assert!(set.features.is_empty(), "their types are not those of aop:agent");
    let refused: Vec<_> = set.refused.iter().map(|refusal| refusal.function.as_str()).collect();
    assert_eq!(refused, ["aop:agent/prompts@0.1.0#list", "aop:agent/resources#list"]);
    assert_eq!(set.tools.len(), 5, "features are no tools");
}

#[test]
fn every_type_has_its_kind_and_its_spelling() {
    let types = [
        ("bool", "bool"),
        ("(list u8)", "list<u8>"),
        ("(list u16 4)", "list<u16, 4>"),
        ("(map string s64)", "map<string, s64>"),
        ("(tuple char float32)", "tuple<char, f32>"),
        ("(option (option float64))", "option<option<f64>>"),
        ("(result)", "result"),
        ("(result u8)", "result<u8>"),
        ("(result (error string))", "result<_, string>"),
        ("(result s8 (error u64))", "result<s8, u64>"),
        ("(future string)", "future<string>"),
        ("(stream u8)", "stream<u8>"),
    ];
    for (wat, wit) in types {
        // A component that only passes a function on needs no core code for it.
        let found =
            derive(&format!(r#"(import "f" (func $f (result {wat}))) (export "g" (func $f))"#));
        assert_eq!(found.functions[0].signature, format!("g: func() -> {wit}"), "{wat}");
        assert_eq!(found.imports, ["f"]);
    }
    let found = derive(r#"(import "f" (func $f async (param "a" u8))) (export "g" (func $f))"#);
    assert_eq!(found.functions[0].signature, "g: async func(a: u8)");
    assert!(found.functions[0].is_async);
}

#[test]
fn what_has_no_json_form_is_refused_alone() {
    let cases = [
        (r#"(param "a" (future string))"#, "parameter `a`: a future that is not the whole result"),
        (
            r#"(param "a" (list (stream u8)))"#,
            "parameter `a`: a stream that is not the whole result",
        ),
        (
            r#"(result (stream (tuple u8 u8)))"#,
            "its result: a stream of something else than strings",
        ),
        (
            r#"(result (future (tuple u8 u8)))"#,
            "its result: a future of something else than a string",
        ),
        (
            r#"(result (stream))"#,
            "its result: a stream that is not the whole result, or one without items",
        ),
        (r#"(result (option (stream u8)))"#, "its result: a stream that is not the whole result"),
        (r#"(param "a" error-context)"#, "parameter `a`: `error-context`"),
    ];
    for (ty, reason) in cases {
        let found = derive(&format!(
            r#"(import "f" (func $f {ty})) (import "h" (func $h)) (export "g" (func $f)) (export "i" (func $h))"#
        ));
        assert_eq!(paths(&found), ["i"], "{ty}");
        assert_eq!(found.refused[0].function, "g");
        assert!(found.refused[0].reason.starts_with(reason), "{}", found.refused[0].reason);
    }
}

/// A component that defines a resource and exports it with functions of every kind.
const BLOB: &str = r#"
    (core module $m
        (memory (export "memory") 1)
        (func (export "realloc") (param i32 i32 i32 i32) (result i32) unreachable)
        (func (export "-i") (result i32) unreachable)
        (func (export "i-i") (param i32) (result i32) unreachable)
        (func (export "i-") (param i32)))
    (core instance $i (instantiate $m))
    (alias core export $i "memory" (core memory $memory))
    (type $blob' (resource (rep i32)))
    (func $new' (result (own $blob')) (canon lift (core func $i "-i")))
    (func $read' (param "self" (borrow $blob')) (result string)
        (canon lift (core func $i "i-i") (memory $memory)))
    (func $end' (param "it" (own $blob')) (canon lift (core func $i "i-")))
    (component $c
        (import "import-type-blob" (type $x (sub resource)))
        (import "import-new" (func $new (result (own $x))))
        (import "import-read" (func $read (param "self" (borrow $x)) (result string)))
        (import "import-end" (func $end (param "it" (own $x))))
        (export $blob "blob" (type $x))
        (export "[constructor]blob" (func $new) (func (result (own $blob))))
        (export "[method]blob.read-all" (func $read) (func (param "self" (borrow $blob)) (result string)))
        (export "[static]blob.open" (func $new) (func (result (own $blob))))
        (export "end" (func $end) (func (param "it" (own $blob)))))
    (instance $exported (instantiate $c
        (with "import-type-blob" (type $blob'))
        (with "import-new" (func $new'))
        (with "import-read" (func $read'))
        (with "import-end" (func $end'))))
    (export "a:b/c@1.0.0" (instance $exported))
"#;

#[test]
fn functions_of_exported_resources_are_tools() {
    let found = derive(BLOB);
    assert_eq!(found.refused, []);
    let signatures: Vec<_> = found.functions.iter().map(|f| f.signature.as_str()).collect();
    assert_eq!(
        signatures,
        [
            "blob.new: func() -> blob",
            "blob.read-all: func(self: borrow<blob>) -> string",
            "blob.open: func() -> blob",
            "end: func(it: blob)",
            "blob.drop: func(self: blob)",
        ]
    );
    assert_eq!(found.resources.len(), 1);
    assert_eq!(found.resources[0].interface, "a:b/c@1.0.0");
    let named = ["kv_blob_drop", "kv_blob_new", "kv_blob_open", "kv_blob_read_all", "kv_end"];
    let agent = AgentName::new("kv").unwrap();
    let tools = ToolSet::new(&found, &agent, &Settings::default(), &BTreeMap::new()).unwrap();
    let names: Vec<_> = tools.tools.iter().map(|tool| tool.name.as_str()).collect();
    assert_eq!(names, named);
    let takes: Vec<_> = tools.tools.iter().map(|tool| tool.takes_handles).collect();
    assert_eq!(takes, [true, false, false, true, true]);
    let input = tools.tools[3].input_schema.get();
    assert!(input.contains("A handle of a `blob`, as a tool of this agent returned it"), "{input}");
}

#[test]
fn settings_name_the_functions_of_resources_as_people_write_them() {
    let settings = Settings::from_toml(
        "[tools.\"blob.read-all\"]\nname = \"read\"\n[tools.\"blob.drop\"]\nname = \"close\"\n",
    );
    let agent = AgentName::new("kv").unwrap();
    let tools = ToolSet::new(&derive(BLOB), &agent, &settings.unwrap(), &BTreeMap::new()).unwrap();
    let names: Vec<_> = tools.tools.iter().map(|tool| tool.name.as_str()).collect();
    assert_eq!(names, ["close", "kv_blob_new", "kv_blob_open", "kv_end", "read"]);
}

#[test]
fn resources_of_the_host_are_refused_by_name() {
    let found = derive(
        r#"(import "a:b/c" (instance $i
            (export "blob" (type $blob (sub resource)))
            (export "[method]blob.read" (func (param "self" (borrow $blob)) (result string)))
            (export "open" (func (result (own $blob))))
            (export "plain" (func))))
        (export "a:b/c" (instance $i))"#,
    );
    assert_eq!(paths(&found), ["a:b/c#plain"]);
    let refused: Vec<_> =
        found.refused.iter().map(|r| (r.function.as_str(), r.reason.as_str())).collect();
    assert_eq!(refused[0].0, "a:b/c#[method]blob.read");
    assert!(refused[0].1.starts_with("parameter `self`: a handle of `blob`, which is not a"));
    assert_eq!(refused[1].0, "a:b/c#open");
    assert!(refused[1].1.starts_with("its result: a handle of `blob`, which is not a resource"));
}

#[test]
fn exports_that_wit_cannot_say_do_no_harm() {
    let found = derive(
        r#"(core module $m) (component $c) (type $t u8) (import "f" (func $f))
        (export "m" (core module $m)) (export "c" (component $c)) (export "t" (type $t)) (export "g" (func $f))"#,
    );
    assert_eq!(paths(&found), ["g"]);
}

#[test]
fn what_is_no_component_is_told_what_to_do() {
    let module = wat::parse_str("(module)").unwrap();
    let mut future = module.clone();
    future[4] = 0x7f;
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (module, "wasm-tools component new"),
        (future, "build it again with a current toolchain"),
        (b"\0asm\x0d".to_vec(), "ends within the WebAssembly header"),
        (Vec::new(), "empty"),
        (b"\x7fELF\x02\x01".to_vec(), "load the original .wasm"),
        (b";; mine\n  (component)".to_vec(), "wasm-tools parse"),
        (b"(module)".to_vec(), "wasm-tools parse"),
        (b"/// Docs.\npackage a:b;\nworld w {}".to_vec(), "WIT text"),
        (b"\x1f\x8b\x08".to_vec(), "not a WebAssembly component"),
        (b"hello".to_vec(), "not a WebAssembly component"),
        (vec![0xff; 10_000], "not a WebAssembly component"),
    ];
    for (bytes, advice) in cases {
        let error = interface(&bytes).unwrap_err();
        assert!(matches!(error, DeriveError::NotAComponent(_)), "{error}");
        assert!(error.to_string().contains(advice), "{error}");
    }
}

#[test]
fn a_wit_package_is_no_agent() {
    let package = component(
        r#"(type $w (component (export "a:b/w" (component (type (component))))))
        (type $p (component)) (export "w" (type $p))"#,
    );
    let error = interface(&package).unwrap_err().to_string();
    assert!(error.contains("WIT package in binary form"), "{error}");
}

#[test]
fn every_truncation_is_an_error_and_no_damage_panics() {
    let whole = with_section(kit(), "agent.wit", KIT_WIT.as_bytes());
    let end_of_sections = kit().len();
    for length in 8..end_of_sections {
        // A cut between two sections leaves a smaller component.
        if let Err(error) = interface(&whole[..length]) {
            assert!(error.to_string().contains("build or copy it again"), "{length}: {error}");
        }
    }
    assert!(interface(&whole[..end_of_sections - 1]).is_err());
    for at in 8..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x5a;
        let _ = interface(&damaged);
    }
}

fn too_large(error: &DeriveError) -> Option<(&'static str, usize)> {
    match error {
        DeriveError::TooLarge { what, limit } => Some((what, *limit)),
        _ => None,
    }
}

#[test]
fn functions_types_and_members_are_bounded() {
    let export = |index: usize| format!(r#"(export "f{index}" (func $f))"#);
    let many: String = (0..=FUNCTIONS_MAX).map(export).collect();
    let error = interface(&component(&format!(r#"(import "f" (func $f)) {many}"#))).unwrap_err();
    assert_eq!(too_large(&error), Some(("exported functions", FUNCTIONS_MAX)));

    let types: String = (0..=TYPES_MAX)
        .map(|i| format!("(type $t{i} (list {}))", if i % 2 == 0 { "u8" } else { "u16" }))
        .collect();
    let chunk = 900;
    let functions: String = (0..=TYPES_MAX / chunk)
        .map(|f| {
            let last = ((f + 1) * chunk).min(TYPES_MAX + 1);
            let parameters: String =
                (f * chunk..last).map(|i| format!(r#"(param "p{i}" $t{i})"#)).collect();
            format!(r#"(import "i{f}" (func $f{f} {parameters})) (export "e{f}" (func $f{f}))"#)
        })
        .collect();
    let error = interface(&component(&format!("{types} {functions}"))).unwrap_err();
    assert_eq!(too_large(&error), Some(("types", TYPES_MAX)));

    let labels: String = (0..1_000).map(|i| format!(r#" "l{i}""#)).collect();
    let types: String = (0..=MEMBERS_MAX / 1_000)
        .map(|i| {
            format!(r#"(type $e{i}' (enum{labels})) (import "e{i}" (type $e{i} (eq $e{i}')))"#)
        })
        .collect();
    let parameters: String =
        (0..=MEMBERS_MAX / 1_000).map(|i| format!(r#"(param "p{i}" $e{i})"#)).collect();
    let body = format!(r#"{types} (import "f" (func $f {parameters})) (export "g" (func $f))"#);
    let error = interface(&component(&body)).unwrap_err();
    assert_eq!(too_large(&error), Some(("fields, cases and parameters", MEMBERS_MAX)));

    let imports: String =
        (0..=super::limits::IMPORTS_MAX).map(|i| format!(r#"(import "i{i}" (func))"#)).collect();
    let error = interface(&component(&imports)).unwrap_err();
    assert_eq!(too_large(&error), Some(("imports", super::limits::IMPORTS_MAX)));
}

#[test]
fn depth_width_and_names_refuse_their_function_alone() {
    let nested = |depth: usize| format!("{}u8{}", "(option ".repeat(depth), ")".repeat(depth));
    let labels: String = (0..1_001).map(|i| format!(r#" "l{i}""#)).collect();
    let long = "a".repeat(129);
    let cases = [
        (format!(r#"(param "a" {})"#, nested(NESTING_MAX)), "nested more than 32 deep"),
        (format!(r#"(param "{long}" u8)"#), "has more than 128 bytes"),
        (r#"(param "a" $wide)"#.to_owned(), "more than 1000 fields or cases"),
    ];
    for (ty, reason) in cases {
        let found = derive(&format!(
            r#"(type $wide' (enum{labels})) (import "wide" (type $wide (eq $wide')))
            (import "f" (func $f {ty})) (import "h" (func $h)) (export "g" (func $f)) (export "i" (func $h))"#
        ));
        assert_eq!(paths(&found), ["i"]);
        assert!(found.refused[0].reason.contains(reason), "{}", found.refused[0].reason);
    }
    let deep = derive(&format!(
        r#"(import "f" (func $f (param "a" {}))) (export "g" (func $f))"#,
        nested(NESTING_MAX - 1)
    ));
    assert_eq!(paths(&deep), ["g"]);
    let found = derive(&format!(r#"(import "f" (func $f)) (export "{long}" (func $f))"#));
    assert!(found.refused[0].reason.contains("more than 128 bytes"));
}

#[test]
fn docs_and_signatures_are_bounded() {
    let long = "x".repeat(DOC_MAX_BYTES * 2);
    let wit = format!("package a:b; world w {{ /// {long}\n export run: func(); }}");
    let wasm = with_section(exporting(r#"(export "run" (func $f))"#), "agent.wit", wit.as_bytes());
    let docs = interface(&wasm).unwrap().functions.remove(0).docs.unwrap();
    assert_eq!(docs.len(), DOC_MAX_BYTES + "…".len());

    let huge = format!(
        "package a:b; /// {}\n world w {{}}",
        "x".repeat(super::limits::DOCS_SECTIONS_MAX_BYTES)
    );
    let wasm = with_section(exporting(r#"(export "run" (func $f))"#), "agent.wit", huge.as_bytes());
    assert_eq!(interface(&wasm).unwrap().metadata.world_docs, None);

    // Tuples of tuples: 2^16 names when spelt out.
    let tuples: String =
        (1..16).map(|i| format!("(type $t{i} (tuple $t{} $t{}))", i - 1, i - 1)).collect();
    let found = derive(&format!(
        r#"(type $t0 (tuple u8 u8)) {tuples} (import "f" (func $f (param "a" $t15))) (export "g" (func $f))"#
    ));
    assert!(found.functions[0].signature.len() < 4 << 10, "{}", found.functions[0].signature.len());
    assert!(found.types.len() < 32);
}
