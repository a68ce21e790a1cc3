//! The module that a bundle begins with: it exports what the world does, and refuses to be loaded when something of it
//! is not there. It is loaded in the agent's own engine while the component is made, so it sees what a call would see.

use std::collections::BTreeSet;

use heck::{ToLowerCamelCase as _, ToUpperCamelCase as _};
use serde::Serialize;
use wit_parser::{Function, FunctionKind, Resolve};

use super::console;
use crate::command::build::wit::Wit;
use crate::output;

/// What the module throws when something is missing, before the numbers of what is.
const MISSING: &str = "aop build found missing: ";

/// A function of the world.
pub(super) struct Export {
    /// As the WIT has it.
    named: String,
    /// Where the engine looks for it.
    place: Place,
    /// How it could be written.
    example: String,
}

#[derive(Serialize)]
struct Place {
    /// What leads from the module's exports to a function, or to the class of a resource.
    path: Vec<String>,
    /// Of the class's objects.
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<String>,
}

/// Every function that the world exports, by the names that the engine gives them.
pub(super) fn exports_of(wit: &Wit) -> Vec<Export> {
    let functions = wit.functions();
    functions.map(|(interface, f)| Export::of(&wit.resolve, interface.as_deref(), f)).collect()
}

impl Export {
    fn of(resolve: &Resolve, interface: Option<&str>, function: &Function) -> Self {
        let name = function.item_name().to_lower_camel_case();
        let resource = function.kind.resource().and_then(|id| resolve.types[id].name.as_deref());
        let class = resource.map(|resource| resource.to_upper_camel_case());
        let is_method =
            matches!(function.kind, FunctionKind::Method(_) | FunctionKind::AsyncMethod(_));
        let is_static =
            matches!(function.kind, FunctionKind::Static(_) | FunctionKind::AsyncStatic(_));

        let scope = interface.map(short);
        let mut path: Vec<_> = scope.iter().chain(&class).cloned().collect();
        if class.is_none() || is_static {
            path.push(name.clone());
        }
        let method = is_method.then(|| name.clone());

        // The first parameter of a method is its object.
        let parameters = function.params.iter().skip(usize::from(is_method));
        let parameters: Vec<_> =
            parameters.map(|parameter| parameter.name.to_lower_camel_case()).collect();
        let kind = if is_static { "static " } else { "" };
        let written = format!("{kind}{name}({}) {{ … }}", parameters.join(", "));
        let written = match &class {
            Some(class) => format!("{class}: class {{ {written} }}"),
            None => written,
        };
        let example = match &scope {
            Some(scope) => format!("export const {scope} = {{ {written} }};"),
            None => format!("export function {written}"),
        };
        let of = interface.map(|interface| format!(" of `{interface}`")).unwrap_or_default();
        let member = resource.map(|resource| format!("{resource}.")).unwrap_or_default();
        let named = format!("`{member}{}`{of}", function.item_name());
        Self { named, place: Place { path, method }, example }
    }
}

/// The last part of an interface's name, without its package and version, as JavaScript writes it.
fn short(interface: &str) -> String {
    let name = interface.rsplit('/').next().unwrap_or(interface);
    name.split('@').next().unwrap_or(name).to_lower_camel_case()
}

/// The source of the module, for a program that begins in `begin` in the directory above.
pub(super) fn module(begin: &str, exports: &[Export]) -> String {
    let places: Vec<_> = exports.iter().map(|export| &export.place).collect();
    let names: BTreeSet<_> =
        exports.iter().filter_map(|export| export.place.path.first()).collect();
    let exported: String = names
        .iter()
        .enumerate()
        .map(|(i, name)| {
            // Names that JavaScript keeps to itself can be exported, but not declared.
            format!("const export{i} = Reflect.get(agent, {name:?});\nexport {{ export{i} as {name} }};\n")
        })
        .collect();
    format!(
        r#"// Made by `aop build`: what the world exports, after a look whether the agent has it.

import {{ begin }} from "./{console}";
import * as agent from {begin};

// An object of a class may get its methods when it is made: then the text of the class tells.
function has({{ path, method }}) {{
  const found = path.reduce((scope, name) => scope?.[name], Object(agent));
  if (method === undefined) return typeof found === "function";
  if (found === undefined) return true;
  for (let type = found; typeof type === "function"; type = Object.getPrototypeOf(type)) {{
    if (method in (type.prototype ?? {{}}) || String(type).includes(method)) return true;
  }}
  return false;
}}
const wanted = {wanted};
const missing = wanted.flatMap((place, index) => (has(place) ? [] : [index]));
if (missing.length > 0) throw new Error("{MISSING}" + missing.join(" ") + ".");
begin();

{exported}"#,
        console = console::MODULE,
        begin = json(&format!("../{begin}")),
        wanted = json(&places),
    )
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// What the tools said of missing exports, for people; none when they said something else.
pub(super) fn missing<'l>(
    said: impl IntoIterator<Item = &'l String>,
    exports: &[Export],
) -> Option<String> {
    let list = said.into_iter().find_map(|line| {
        let (_, rest) = line.split_once(MISSING)?;
        rest.split('.').next()
    })?;
    let numbers = list.split(' ').filter_map(|number| number.parse::<usize>().ok());
    let lines: String = numbers
        .filter_map(|number| exports.get(number))
        .map(|export| format!("\n  {}: write {}", export.named, export.example))
        .collect();
    (!lines.is_empty()).then(|| output::printable(&lines).into_owned())
}

#[cfg(test)]
mod tests;
