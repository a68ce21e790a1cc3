//! A component, from its bytes to the tools that are published: what the worker does before it compiles, and what the
//! host makes of the worker's answer.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use aop_core::interface::{Interface, TypeKind};
use aop_core::schema::{SCHEMAS_MAX_BYTES, ToolSet};
use aop_core::{AgentName, Settings};
use serde_json::Value;

use crate::codec::FunctionCodec;
use crate::derive::{self, limits};

/// The custom sections that are read.
const SECTIONS: [&str; 8] = [
    "agent.wit",
    "package-docs",
    "producers",
    "component-name",
    "description",
    "version",
    "authors",
    "licenses",
];

/// Bytes of a reason for refusing a component: its operator reads it.
const REASON_MAX_BYTES: usize = 16 << 10;

/// What the sections belong to.
static KIT: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let text = include_str!("../../../../tests/fuzz/corpus/component/kit.wat");
    wat::parse_str(text).expect("the component has a text")
});

static AGENT: LazyLock<AgentName> = LazyLock::new(|| AgentName::new("kit").expect("it is a name"));

/// A component as bytes or as WebAssembly text; any other input is what its custom sections say.
pub fn component(input: &[u8]) {
    match wat::parse_bytes(input) {
        Ok(bytes) => published(&bytes),
        Err(_) => {
            published(input);
            let sections = SECTIONS.into_iter();
            published(&sections.fold(KIT.clone(), |kit, name| with_section(kit, name, input)));
        }
    }
}

fn published(bytes: &[u8]) {
    let interface = match derive::interface(bytes) {
        Ok(interface) => interface,
        Err(error) => {
            let reason = error.to_string();
            assert!((1..REASON_MAX_BYTES).contains(&reason.len()), "{} bytes", reason.len());
            return;
        }
    };
    bounded(&interface);
    let answer = serde_json::to_vec(&interface).expect("the worker can answer");
    let read: Interface = serde_json::from_slice(&answer).expect("the host can read it");
    assert_eq!(read, interface);
    let set = ToolSet::new(&interface, &AGENT, &Settings::default(), &BTreeMap::new())
        .expect("there are no settings that could be wrong");
    let mut bytes = 0;
    for tool in &set.tools {
        let schemas = [Some(&tool.input_schema), tool.output_schema.as_ref()];
        for schema in schemas.into_iter().flatten() {
            bytes += schema.get().len();
            let schema: Value = serde_json::from_str(schema.get()).expect("schemas are JSON");
            assert_eq!(schema["type"], "object");
        }
    }
    assert!(bytes <= SCHEMAS_MAX_BYTES, "{bytes}");
    let names = set.tools.iter().map(|tool| &tool.name);
    assert!(names.clone().zip(names.skip(1)).all(|(one, next)| one < next), "names are unique");
    let codecs = FunctionCodec::all(&Arc::new(interface));
    for tool in &set.tools {
        for arguments in ["{}", r#"{"a":1,"text":"x","value":[{}]}"#] {
            let violations = codecs[tool.function].decode(arguments).err();
            assert!(violations.is_none_or(|violations| !violations.is_empty()), "{}", tool.name);
        }
    }
}

fn bounded(interface: &Interface) {
    let types = interface.types.len();
    assert!(types <= limits::TYPES_MAX, "{types} types");
    assert!(interface.functions.len() <= limits::FUNCTIONS_MAX + limits::RESOURCES_MAX);
    assert!(interface.imports.len() <= limits::IMPORTS_MAX);
    let known = |ty: aop_core::interface::TypeId| assert!((ty.0 as usize) < types);
    for def in &interface.types {
        match &def.kind {
            TypeKind::Record(fields) => fields.iter().for_each(|field| known(field.ty)),
            TypeKind::Variant(cases) => cases.iter().filter_map(|case| case.ty).for_each(known),
            TypeKind::Tuple(types) => types.iter().copied().for_each(known),
            TypeKind::List(of) | TypeKind::Option(of) | TypeKind::FixedList(of, _) => known(*of),
            _ => {}
        }
    }
    for function in &interface.functions {
        let parameters = function.parameters.iter().map(|parameter| parameter.ty);
        parameters.chain(function.result).for_each(known);
        assert!(function.signature.len() <= 2 * limits::SIGNATURE_MAX_BYTES);
        assert!(function.name.len() <= 2 * limits::IDENTIFIER_MAX_BYTES, "{}", function.name);
        let docs = function.docs.as_deref().unwrap_or_default();
        assert!(docs.len() <= limits::DOC_MAX_BYTES + 3);
    }
    let metadata = &interface.metadata;
    let texts = [&metadata.name, &metadata.description, &metadata.version, &metadata.authors];
    for text in texts.into_iter().chain([&metadata.licenses, &metadata.world_docs]).flatten() {
        assert!(text.len() <= limits::METADATA_MAX_BYTES + 3);
    }
}

/// Appends a custom section to a binary.
pub(crate) fn with_section(mut wasm: Vec<u8>, name: &str, data: &[u8]) -> Vec<u8> {
    fn leb(mut value: usize, into: &mut Vec<u8>) {
        loop {
            let byte = u8::try_from(value & 0x7f).unwrap();
            value >>= 7;
            into.push(if value == 0 { byte } else { byte | 0x80 });
            if value == 0 {
                return;
            }
        }
    }
    let mut body = Vec::new();
    leb(name.len(), &mut body);
    body.extend_from_slice(name.as_bytes());
    body.extend_from_slice(data);
    wasm.push(0);
    leb(body.len(), &mut wasm);
    wasm.extend_from_slice(&body);
    wasm
}
