//! From the validator's types to the type table, each type once.

use std::collections::HashMap;

use aop_core::interface::{Case, Field, Label, Resource, ResourceId, TypeDef, TypeId, TypeKind};
use wasmparser::PrimitiveValType;
use wasmparser::component_types::{
    ComponentAnyTypeId, ComponentDefinedType, ComponentDefinedTypeId, ComponentValType,
};

use super::DeriveError;
use super::docs::{Docs, TypeDocs};
use super::limits::{
    IDENTIFIER_MAX_BYTES, MEMBERS_MAX, MEMBERS_PER_TYPE_MAX, NESTING_MAX, TYPES_MAX, cut,
};
use super::names::{TypeName, TypeNames};
use super::scan::Scan;

mod resources;

use resources::Resources;

/// Why a type cannot be in the table.
#[derive(Debug, Clone)]
pub(super) enum Obstacle {
    /// Functions that use it are refused, with this reason.
    Unsupported(String),
    /// The whole component is.
    Fatal(DeriveError),
}

/// Builds the table.
pub(super) struct Types<'a> {
    scan: &'a Scan<'a>,
    names: &'a TypeNames<'a>,
    docs: &'a Docs,
    table: Vec<TypeDef>,
    /// Types within types, for each entry.
    nesting: Vec<usize>,
    primitives: Vec<(PrimitiveValType, TypeId)>,
    defined: HashMap<ComponentDefinedTypeId, Result<TypeId, Obstacle>>,
    resources: Resources<'a>,
    members: usize,
}

impl<'a> Types<'a> {
    pub(super) fn new(scan: &'a Scan<'a>, names: &'a TypeNames<'a>, docs: &'a Docs) -> Self {
        Self {
            scan,
            names,
            docs,
            table: Vec::new(),
            nesting: Vec::new(),
            primitives: Vec::new(),
            defined: HashMap::new(),
            resources: Resources::new(scan, names),
            members: 0,
        }
    }

    pub(super) fn into_tables(self) -> (Vec<TypeDef>, Vec<Resource>) {
        (self.table, self.resources.into_table())
    }

    pub(super) fn resources(&self) -> &[Resource] {
        self.resources.table()
    }

    /// A handle that is given away, of a resource that functions use.
    pub(super) fn own(&mut self, resource: ResourceId) -> Result<TypeId, Obstacle> {
        let is_it = |def: &TypeDef| matches!(def.kind, TypeKind::Own(of) if of == resource);
        match (0..).zip(&self.table).find(|(_, def)| is_it(def)) {
            Some((index, _)) => Ok(TypeId(index)),
            None => self.append(TypeDef { name: None, docs: None, kind: TypeKind::Own(resource) }),
        }
    }

    pub(super) fn table(&self) -> &[TypeDef] {
        &self.table
    }

    /// A type as a function's result, where futures and streams may stand.
    pub(super) fn result(&mut self, ty: ComponentValType) -> Result<TypeId, Obstacle> {
        let ComponentValType::Type(id) = ty else { return self.value(ty) };
        let scan = self.scan;
        match &scan.types[id] {
            ComponentDefinedType::Future { ty: Some(ty), .. } => {
                let payload = self.value(*ty)?;
                if !is_plain(&self.table[payload.0 as usize].kind) {
                    return Err(Obstacle::Unsupported(
                        "a future of something else than a string or a primitive value: make it an `async func` that returns the value".to_owned(),
                    ));
                }
                self.push(id, TypeKind::Future(Some(payload)))
            }
            ComponentDefinedType::Stream { ty: Some(ty), .. } => {
                let item = self.value(*ty)?;
                if !is_plain(&self.table[item.0 as usize].kind) {
                    return Err(Obstacle::Unsupported(
                        "a stream of something else than strings or primitive values: return a list instead".to_owned(),
                    ));
                }
                self.push(id, TypeKind::Stream(item))
            }
            _ => self.value(ty),
        }
    }

    /// A type as a value.
    pub(super) fn value(&mut self, ty: ComponentValType) -> Result<TypeId, Obstacle> {
        match ty {
            ComponentValType::Primitive(primitive) => self.primitive(primitive),
            ComponentValType::Type(id) => {
                if let Some(known) = self.defined.get(&id) {
                    return known.clone();
                }
                let made = self.define(id);
                self.defined.insert(id, made.clone());
                made
            }
        }
    }

    fn primitive(&mut self, primitive: PrimitiveValType) -> Result<TypeId, Obstacle> {
        if let Some((_, id)) = self.primitives.iter().find(|(known, _)| *known == primitive) {
            return Ok(*id);
        }
        let kind = primitive_kind(primitive)?;
        let id = self.append(TypeDef { name: None, docs: None, kind })?;
        self.primitives.push((primitive, id));
        Ok(id)
    }

    fn define(&mut self, id: ComponentDefinedTypeId) -> Result<TypeId, Obstacle> {
        use ComponentDefinedType as D;
        let scan = self.scan;
        let docs = self.docs_of(id);
        let kind = match &scan.types[id] {
            D::Primitive(primitive) => primitive_kind(*primitive)?,
            D::List { element, .. } => TypeKind::List(self.value(*element)?),
            D::FixedLengthList { element, length, .. } => {
                TypeKind::FixedList(self.value(*element)?, *length)
            }
            D::Map { key, value, .. } => TypeKind::Map(self.value(*key)?, self.value(*value)?),
            D::Option { ty, .. } => TypeKind::Option(self.value(*ty)?),
            D::Result { ok, err, .. } => TypeKind::Result {
                ok: ok.map(|ty| self.value(ty)).transpose()?,
                err: err.map(|ty| self.value(ty)).transpose()?,
            },
            D::Tuple(tuple) => {
                self.count(tuple.types.len())?;
                let types = tuple.types.iter().map(|ty| self.value(*ty));
                TypeKind::Tuple(types.collect::<Result<_, _>>()?)
            }
            D::Record(record) => {
                self.count(record.fields.len())?;
                let fields = record.fields.iter().map(|(name, ty)| {
                    let (name, docs) = member(name.as_str(), docs)?;
                    Ok(Field { name, docs, ty: self.value(*ty)? })
                });
                TypeKind::Record(fields.collect::<Result<_, _>>()?)
            }
            D::Variant(variant) => {
                self.count(variant.cases.len())?;
                let cases = variant.cases.iter().map(|(name, case)| {
                    let (name, docs) = member(name.as_str(), docs)?;
                    Ok(Case { name, docs, ty: case.ty.map(|ty| self.value(ty)).transpose()? })
                });
                TypeKind::Variant(cases.collect::<Result<_, _>>()?)
            }
            D::Enum(labels) => {
                self.count(labels.len())?;
                TypeKind::Enum(label_list(labels.iter().map(|label| label.as_str()), docs)?)
            }
            D::Flags(labels) => {
                self.count(labels.len())?;
                TypeKind::Flags(label_list(labels.iter().map(|label| label.as_str()), docs)?)
            }
            D::Own(resource) => TypeKind::Own(self.resources.find(*resource)?),
            D::Borrow(resource) => TypeKind::Borrow(self.resources.find(*resource)?),
            D::Future { .. } => {
                return Err(Obstacle::Unsupported(
                    "a future that is not the whole result, or one without a value: return the value itself from an `async func`".to_owned(),
                ));
            }
            D::Stream { .. } => {
                return Err(Obstacle::Unsupported(
                    "a stream that is not the whole result, or one without items: use a list instead".to_owned(),
                ));
            }
        };
        self.push(id, kind)
    }

    fn name_of(&self, id: ComponentDefinedTypeId) -> Option<TypeName<'a>> {
        let name = self.names.get(ComponentAnyTypeId::Defined(id))?;
        (name.name.len() <= IDENTIFIER_MAX_BYTES).then_some(name)
    }

    fn docs_of(&self, id: ComponentDefinedTypeId) -> Option<&'a TypeDocs> {
        let name = self.name_of(id)?;
        self.docs.ty(name.scope, name.name)
    }

    /// Adds the entry of a type that the component defines.
    fn push(&mut self, id: ComponentDefinedTypeId, kind: TypeKind) -> Result<TypeId, Obstacle> {
        let name = self.name_of(id).map(|name| name.name.to_owned());
        let docs = self.docs_of(id).and_then(|docs| docs.docs.clone());
        self.append(TypeDef { name, docs, kind })
    }

    fn append(&mut self, def: TypeDef) -> Result<TypeId, Obstacle> {
        let nesting = 1 + self.children(&def.kind);
        if nesting > NESTING_MAX {
            return Err(Obstacle::Unsupported(format!(
                "types nested more than {NESTING_MAX} deep: make them flatter"
            )));
        }
        if self.table.len() == TYPES_MAX {
            return Err(Obstacle::Fatal(DeriveError::TooLarge { what: "types", limit: TYPES_MAX }));
        }
        let id = TypeId(u32::try_from(self.table.len()).unwrap_or(u32::MAX));
        self.table.push(def);
        self.nesting.push(nesting);
        Ok(id)
    }

    /// The deepest nesting among the types that a type consists of.
    fn children(&self, kind: &TypeKind) -> usize {
        let depth = |id: &TypeId| self.nesting[id.0 as usize];
        match kind {
            TypeKind::List(of)
            | TypeKind::FixedList(of, _)
            | TypeKind::Option(of)
            | TypeKind::Stream(of) => depth(of),
            TypeKind::Map(key, value) => depth(key).max(depth(value)),
            TypeKind::Tuple(types) => types.iter().map(depth).max().unwrap_or(0),
            TypeKind::Result { ok, err } => ok.iter().chain(err).map(depth).max().unwrap_or(0),
            TypeKind::Record(fields) => fields.iter().map(|f| depth(&f.ty)).max().unwrap_or(0),
            TypeKind::Variant(cases) => {
                cases.iter().filter_map(|case| case.ty.as_ref()).map(depth).max().unwrap_or(0)
            }
            TypeKind::Future(payload) => payload.iter().map(depth).max().unwrap_or(0),
            _ => 0,
        }
    }

    /// Counts members before they are made.
    pub(super) fn count(&mut self, members: usize) -> Result<(), Obstacle> {
        if members > MEMBERS_PER_TYPE_MAX {
            return Err(Obstacle::Unsupported(format!(
                "a type with more than {MEMBERS_PER_TYPE_MAX} fields or cases: split it"
            )));
        }
        self.members += members;
        if self.members > MEMBERS_MAX {
            let what = "fields, cases and parameters";
            return Err(Obstacle::Fatal(DeriveError::TooLarge { what, limit: MEMBERS_MAX }));
        }
        Ok(())
    }
}

/// Checks an identifier and finds its docs.
fn member(name: &str, docs: Option<&TypeDocs>) -> Result<(String, Option<String>), Obstacle> {
    let docs = docs.and_then(|docs| docs.members.get(name).cloned());
    Ok((checked(name)?, docs))
}

/// An identifier of bounded length.
pub(super) fn checked(name: &str) -> Result<String, Obstacle> {
    if name.len() > IDENTIFIER_MAX_BYTES {
        return Err(Obstacle::Unsupported(format!(
            "the name `{}` has more than {IDENTIFIER_MAX_BYTES} bytes: shorten it",
            cut(name, IDENTIFIER_MAX_BYTES)
        )));
    }
    Ok(name.to_owned())
}

fn label_list<'l>(
    labels: impl Iterator<Item = &'l str>,
    docs: Option<&TypeDocs>,
) -> Result<Vec<Label>, Obstacle> {
    labels.map(|label| member(label, docs).map(|(name, docs)| Label { name, docs })).collect()
}

/// Strings and primitives. The engine reads streams and futures by static types, so these are what
/// they can carry.
fn is_plain(kind: &TypeKind) -> bool {
    use TypeKind as K;
    matches!(
        kind,
        K::Bool
            | K::U8
            | K::U16
            | K::U32
            | K::U64
            | K::S8
            | K::S16
            | K::S32
            | K::S64
            | K::F32
            | K::F64
            | K::Char
            | K::String
    )
}

fn primitive_kind(primitive: PrimitiveValType) -> Result<TypeKind, Obstacle> {
    use PrimitiveValType as P;
    Ok(match primitive {
        P::Bool => TypeKind::Bool,
        P::U8 => TypeKind::U8,
        P::U16 => TypeKind::U16,
        P::U32 => TypeKind::U32,
        P::U64 => TypeKind::U64,
        P::S8 => TypeKind::S8,
        P::S16 => TypeKind::S16,
        P::S32 => TypeKind::S32,
        P::S64 => TypeKind::S64,
        P::F32 => TypeKind::F32,
        P::F64 => TypeKind::F64,
        P::Char => TypeKind::Char,
        P::String => TypeKind::String,
        P::ErrorContext => {
            return Err(Obstacle::Unsupported(
                "`error-context`, which has no JSON form: use a string instead".to_owned(),
            ));
        }
    })
}
