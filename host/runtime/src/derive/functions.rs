//! Which exported functions can be tools.

use aop_core::Interface;
use aop_core::interface::{Field, Function, Refusal, ResourceId};
use wasmparser::component_types::{
    ComponentAnyTypeId, ComponentEntityType, ComponentFuncType, ComponentFuncTypeId,
};

use super::DeriveError;
use super::docs::Docs;
use super::limits::{FUNCTIONS_MAX, IDENTIFIER_MAX_BYTES, INTERFACE_NAME_MAX_BYTES, cut};
use super::names::TypeNames;
use super::scan::Scan;
use super::signature;
use super::types::{Obstacle, Types, checked};

pub(super) fn derive(scan: &Scan<'_>, docs: &Docs) -> Result<Interface, DeriveError> {
    reject_package(scan)?;
    let names = TypeNames::new(scan);
    let mut derivation = Derivation {
        scan,
        docs,
        types: Types::new(scan, &names, docs),
        functions: Vec::new(),
        refused: Vec::new(),
    };
    for export in &scan.exports {
        let Some(item) = scan.export(export) else { continue };
        match item.ty {
            ComponentEntityType::Func(id) if derivation.offers(None, export) => {
                derivation.function(None, export, id)?;
            }
            ComponentEntityType::Instance(id) if !is_skipped(scan, export) => {
                for (name, item) in &scan.types[id].exports {
                    if let ComponentEntityType::Func(id) = item.ty
                        && derivation.offers(Some(export), name)
                    {
                        derivation.function(Some(export), name, id)?;
                    }
                }
            }
            _ => {}
        }
    }
    derivation.drops()?;
    let Derivation { types, functions, refused, .. } = derivation;
    let (types, resources) = types.into_tables();
    let mut metadata = scan.metadata.clone();
    metadata.world_docs = docs.world().map(str::to_owned);
    Ok(Interface { types, resources, functions, refused, imports: scan.needs()?, metadata })
}

/// `wasm-tools component wit --wasm` writes files that are components by form only.
fn reject_package(scan: &Scan<'_>) -> Result<(), DeriveError> {
    let is_definition = |name: &&str| {
        let created = scan.export(name).map(|item| match item.ty {
            ComponentEntityType::Type { created, .. } => Some(created),
            _ => None,
        });
        matches!(created, Some(Some(ComponentAnyTypeId::Component(_))))
    };
    if !scan.exports.is_empty() && scan.exports.iter().all(is_definition) {
        return Err(DeriveError::NotAComponent(
            "this is a WIT package in binary form, which only describes a component: load the .wasm that was built from it".to_owned(),
        ));
    }
    Ok(())
}

/// WASI's own exports, and what Python's runtime leaks.
fn is_skipped(scan: &Scan<'_>, export: &str) -> bool {
    let leaked = export == "exports" && made_by(scan, "componentize_py");
    export.starts_with("wasi:") || leaked
}

/// Whether a tool is among the producers, however its name is hyphenated.
fn made_by(scan: &Scan<'_>, tool: &str) -> bool {
    scan.producers.iter().any(|producer| producer.replace('-', "_").contains(tool))
}

struct Derivation<'a> {
    scan: &'a Scan<'a>,
    docs: &'a Docs,
    types: Types<'a>,
    functions: Vec<Function>,
    refused: Vec<Refusal>,
}

impl Derivation<'_> {
    /// Whether a function is meant for callers: what the component's own world exports, or, without
    /// one, whatever the component exports itself.
    fn offers(&self, interface: Option<&str>, name: &str) -> bool {
        if let Some(is_exported) = self.docs.world_exports(interface, name) {
            return is_exported;
        }
        let is_leaked =
            interface.is_none() && name == "init" && made_by(self.scan, "componentize_qjs");
        !is_leaked
    }

    fn function(
        &mut self,
        interface: Option<&str>,
        name: &str,
        id: ComponentFuncTypeId,
    ) -> Result<(), DeriveError> {
        self.count()?;
        let scan = self.scan;
        match self.build(interface, name, &scan.types[id]) {
            Ok(function) => self.functions.push(function),
            Err(Obstacle::Fatal(error)) => return Err(error),
            Err(Obstacle::Unsupported(reason)) => {
                let name = cut(name, IDENTIFIER_MAX_BYTES);
                let interface = interface.map(|name| cut(name, INTERFACE_NAME_MAX_BYTES));
                let function = match interface {
                    Some(interface) => format!("{interface}#{name}"),
                    None => name,
                };
                self.refused.push(Refusal { function, reason });
            }
        }
        Ok(())
    }

    /// Before one more function.
    fn count(&self) -> Result<(), DeriveError> {
        if self.functions.len() + self.refused.len() == FUNCTIONS_MAX {
            return Err(DeriveError::TooLarge { what: "exported functions", limit: FUNCTIONS_MAX });
        }
        Ok(())
    }

    /// Adds what drops each resource, since components do not export that.
    fn drops(&mut self) -> Result<(), DeriveError> {
        for (index, resource) in (0..).zip(self.types.resources().to_vec()) {
            self.count()?;
            let ty = match self.types.own(ResourceId(index)) {
                Ok(ty) => ty,
                Err(Obstacle::Fatal(error)) => return Err(error),
                Err(Obstacle::Unsupported(_)) => continue,
            };
            self.functions.push(Function {
                name: format!("{}{}", Function::DROP, resource.name),
                parameters: vec![Field { name: "self".to_owned(), docs: None, ty }],
                result: None,
                is_async: false,
                docs: Some(format!(
                    "Drop a `{}` that is not needed any more, which frees what it holds.",
                    resource.name
                )),
                signature: format!("{}.drop: func(self: {})", resource.name, resource.name),
                interface: Some(resource.interface),
            });
        }
        Ok(())
    }

    fn build(
        &mut self,
        interface: Option<&str>,
        name: &str,
        ty: &ComponentFuncType,
    ) -> Result<Function, Obstacle> {
        if interface.is_some_and(|name| name.len() > INTERFACE_NAME_MAX_BYTES) {
            return Err(Obstacle::Unsupported(format!(
                "its interface's name has more than {INTERFACE_NAME_MAX_BYTES} bytes: shorten it"
            )));
        }
        let name = checked(name)?;
        self.types.count(ty.params.len())?;
        let mut parameters = Vec::with_capacity(ty.params.len());
        for (parameter, ty) in &ty.params {
            let parameter = checked(parameter.as_str())?;
            let ty =
                self.types.value(*ty).map_err(|o| at(o, &format!("parameter `{parameter}`")))?;
            parameters.push(Field { name: parameter, docs: None, ty });
        }
        let result = ty.result.map(|ty| self.types.result(ty).map_err(|o| at(o, "its result")));
        let result = result.transpose()?;
        let is_async = ty.async_;
        let mut function = Function {
            docs: self.docs.function(interface, &name).map(str::to_owned),
            interface: interface.map(str::to_owned),
            name,
            parameters,
            result,
            is_async,
            signature: String::new(),
        };
        function.signature = signature::of(self.types.table(), self.types.resources(), &function);
        Ok(function)
    }
}

fn at(obstacle: Obstacle, place: &str) -> Obstacle {
    match obstacle {
        Obstacle::Unsupported(reason) => Obstacle::Unsupported(format!("{place}: {reason}")),
        fatal => fatal,
    }
}
