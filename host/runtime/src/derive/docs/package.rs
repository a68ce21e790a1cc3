//! `package-docs` sections: one version byte, then JSON, as `wasm-tools` writes them into WIT
//! packages and some hosts into components. Interfaces are named without their package there.

use serde_json::{Map, Value};

use super::Docs;

/// Reads one section into `docs`; one that is not JSON says nothing.
pub(super) fn read(docs: &mut Docs, section: &[u8]) {
    let Some(json) = section.get(1..) else { return };
    let Ok(root) = serde_json::from_slice::<Value>(json) else { return };
    for (name, interface) in entries(&root, "interfaces") {
        scope(docs, name, interface);
    }
    for (_, world) in entries(&root, "worlds") {
        scope(docs, "", world);
        for (name, text) in entries(world, "func_exports") {
            docs.add_function("", name, docs_of(text));
        }
        for key in ["interface_exports", "interfaces"] {
            for (name, interface) in entries(world, key) {
                scope(docs, name, interface);
            }
        }
    }
}

fn scope(docs: &mut Docs, name: &str, value: &Value) {
    for (function, text) in entries(value, "funcs") {
        docs.add_function(name, function, docs_of(text));
    }
    for (ty, text) in entries(value, "types") {
        let members = entries(text, "items").map(|(name, text)| (name.as_str(), text.as_str()));
        docs.add_type(name, ty, docs_of(text), members);
    }
}

/// Docs are a string in version 0 of the format, and an object later.
fn docs_of(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| value.get("docs")?.as_str())
}

fn entries<'v>(value: &'v Value, key: &str) -> impl Iterator<Item = (&'v String, &'v Value)> {
    value.get(key).and_then(Value::as_object).into_iter().flat_map(Map::iter)
}
