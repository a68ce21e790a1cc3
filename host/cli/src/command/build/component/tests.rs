use super::*;
use crate::command::build::project::Project;

const WIT: &str =
    "package a:b;\nworld w {\n    /// Says hello.\n    export hello: func() -> string;\n}\n";

/// A project in a directory of its own.
fn project(directory: &std::path::Path) -> Project {
    let write = |file: &str, text: &str| std::fs::write(directory.join(file), text).unwrap();
    std::fs::create_dir_all(directory.join("wit")).unwrap();
    write("wit/w.wit", WIT);
    write(
        "Cargo.toml",
        "[package]\nname = \"my_agent\"\nversion = \"1.2.3\"\ndescription = \"Greets.\"\n",
    );
    let args = crate::args::SourceArgs { directory: directory.to_owned(), lang: None };
    Project::find(&args).unwrap()
}

/// The custom sections of a component itself, in order.
fn sections(component: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut depth = 0;
    let mut found = Vec::new();
    for payload in Parser::new(0).parse_all(component) {
        match payload.unwrap() {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            Payload::CustomSection(section) if depth == 0 => {
                found.push((section.name().to_owned(), section.data().to_owned()));
            }
            _ => {}
        }
    }
    found
}

fn names(component: &[u8]) -> Vec<String> {
    sections(component).into_iter().map(|(name, _)| name).collect()
}

#[test]
fn a_component_is_told_what_it_is_once() {
    let directory = tempfile::tempdir().unwrap();
    let project = project(directory.path());
    let once = describe(COMPONENT_HEADER, &project).unwrap();
    assert_eq!(names(&once), ["component-name", "version", "description", "agent.wit"]);
    let found = sections(&once);
    assert_eq!(found[1].1, b"1.2.3");
    assert_eq!(found[2].1, b"Greets.");
    assert_eq!(found[3].1, WIT.as_bytes());
    assert_eq!(describe(&once, &project).unwrap(), once, "doing it again changes nothing");
}

#[test]
fn what_it_said_of_itself_before_is_replaced_and_the_rest_stays() {
    let directory = tempfile::tempdir().unwrap();
    let project = project(directory.path());
    let mut component = COMPONENT_HEADER.to_vec();
    for (name, text) in [("agent.wit", "old"), ("version", "0.0.1"), ("licenses", "MIT")] {
        let section = CustomSection { name: name.into(), data: Cow::Borrowed(text.as_bytes()) };
        section.append_to_component(&mut component);
    }
    let described = describe(&component, &project).unwrap();
    let expected = ["licenses", "component-name", "version", "description", "agent.wit"];
    assert_eq!(names(&described), expected);
}

#[test]
fn the_text_that_a_module_brings_is_not_repeated() {
    let directory = tempfile::tempdir().unwrap();
    let project = project(directory.path());
    let mut module = wasm_encoder::Module::new();
    module.section(&CustomSection { name: WIT_SECTION.into(), data: WIT.as_bytes().into() });
    let mut component = wasm_encoder::Component::new();
    component.section(&wasm_encoder::ModuleSection(&module));
    let described = describe(&component.finish(), &project).unwrap();
    assert!(!names(&described).contains(&WIT_SECTION.to_owned()));
}

#[test]
fn what_is_no_component_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let project = project(directory.path());
    let module = wasm_encoder::Module::new().finish();
    let error = describe(&module, &project).unwrap_err();
    assert!(error.to_string().contains("something else than a component"), "{error}");
    assert!(describe(b"no wasm", &project).is_err());
}

#[test]
fn a_module_that_lacks_the_exports_of_its_world_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let project = project(directory.path());
    let mut module = wasm_encoder::Module::new().finish();
    annotate(&mut module, &project.wit).unwrap();
    let error = lift(&module, &project.wit).unwrap_err();
    let message = format!("{error:#}");
    assert!(message.contains("world `w`") && message.contains("hello"), "{message}");
}
