//! Functions with made-up types, for tests and for a fuzz target.
#![allow(clippy::unwrap_used, reason = "what cannot be made is a mistake of a test")]

use std::sync::Arc;

use aop_core::Interface;
use aop_core::interface::{Case, Field, Function, Label, TypeDef, TypeId, TypeKind};
use aop_core::schema::{input_schema, output_schema};
use serde_json::Value;
use wasmtime::component::Val;

use super::FunctionCodec;

/// What outputs may have here.
pub(crate) const LIMIT: usize = 1 << 20;

/// A WIT type as a tree, which a strategy can make and shrink.
#[derive(Debug, Clone)]
pub(crate) enum Ty {
    Plain(TypeKind),
    List(Box<Ty>),
    FixedList(Box<Ty>, u32),
    Map(TypeKind, Box<Ty>),
    Tuple(Vec<Ty>),
    /// The same type this many times over, doubled at each level: what `$defs` are for.
    Doubled(Box<Ty>, u32),
    Option(Box<Ty>),
    Result(Option<Box<Ty>>, Option<Box<Ty>>),
    Record(Vec<Ty>),
    Variant(Vec<Option<Ty>>),
    Enum(usize),
    Flags(usize),
}

/// Identifiers of every form: short, hyphenated, in capitals, with digits.
pub(crate) fn name(index: usize) -> String {
    let word = ["a", "not-found", "get-URL", "x9", "val", "tag", "some"][index % 7];
    if index < 7 { word.to_owned() } else { format!("{word}-n{index}") }
}

fn docs(index: usize) -> Option<String> {
    (index % 3 == 1).then(|| "Says \"why\"\n\u{1F30D} and `how`.".to_owned())
}

pub(crate) struct Table(pub(crate) Vec<TypeDef>);

impl Table {
    pub(crate) fn push(&mut self, kind: TypeKind) -> TypeId {
        let index = self.0.len();
        let name = matches!(kind, TypeKind::Record(_) | TypeKind::Variant(_)).then(|| name(index));
        self.0.push(TypeDef { name, docs: docs(index), kind });
        TypeId(u32::try_from(index).unwrap())
    }

    pub(crate) fn add(&mut self, ty: &Ty) -> TypeId {
        let labels = |count: usize| {
            (0..count).map(|i| Label { name: name(i), docs: docs(i) }).collect::<Vec<_>>()
        };
        let kind = match ty {
            Ty::Plain(kind) => kind.clone(),
            Ty::List(of) => TypeKind::List(self.add(of)),
            Ty::FixedList(of, length) => TypeKind::FixedList(self.add(of), *length),
            Ty::Map(key, value) => TypeKind::Map(self.push(key.clone()), self.add(value)),
            Ty::Tuple(types) => TypeKind::Tuple(types.iter().map(|ty| self.add(ty)).collect()),
            Ty::Doubled(of, times) => {
                let mut id = self.add(of);
                for _ in 1..*times {
                    id = self.push(TypeKind::Tuple(vec![id, id]));
                }
                TypeKind::Tuple(vec![id, id])
            }
            Ty::Option(of) => TypeKind::Option(self.add(of)),
            Ty::Result(ok, err) => TypeKind::Result {
                ok: ok.as_ref().map(|ty| self.add(ty)),
                err: err.as_ref().map(|ty| self.add(ty)),
            },
            Ty::Record(fields) => {
                let fields = fields.iter().enumerate();
                let fields =
                    fields.map(|(i, ty)| Field { name: name(i), docs: docs(i), ty: self.add(ty) });
                TypeKind::Record(fields.collect())
            }
            Ty::Variant(cases) => {
                let cases = cases.iter().enumerate().map(|(i, ty)| Case {
                    name: name(i),
                    docs: docs(i),
                    ty: ty.as_ref().map(|ty| self.add(ty)),
                });
                TypeKind::Variant(cases.collect())
            }
            Ty::Enum(count) => TypeKind::Enum(labels(*count)),
            Ty::Flags(count) => TypeKind::Flags(labels(*count)),
        };
        self.push(kind)
    }
}

/// `f: func(value: T) -> T`.
pub(crate) fn identity(ty: &Ty) -> FunctionCodec {
    let mut table = Table(Vec::new());
    let ty = table.add(ty);
    codec(table, vec![("value", ty)], Some(ty))
}

pub(crate) fn codec(
    table: Table,
    parameters: Vec<(&str, TypeId)>,
    result: Option<TypeId>,
) -> FunctionCodec {
    let parameters = parameters.into_iter();
    let function = Function {
        interface: None,
        name: "f".to_owned(),
        parameters: parameters
            .map(|(name, ty)| Field { name: name.to_owned(), docs: None, ty })
            .collect(),
        result,
        is_async: false,
        docs: None,
        signature: "f: func()".to_owned(),
    };
    let interface = Interface { types: table.0, functions: vec![function], ..Interface::default() };
    FunctionCodec::all(&Arc::new(interface)).remove(0)
}

fn function(codec: &FunctionCodec) -> &Function {
    &codec.interface.functions[codec.function]
}

pub(crate) fn schemas(codec: &FunctionCodec) -> (Value, Value) {
    let input = input_schema(&codec.interface, function(codec), &[]).unwrap();
    let output = output_schema(&codec.interface, function(codec)).unwrap();
    (serde_json::from_str(input.get()).unwrap(), serde_json::from_str(output.get()).unwrap())
}

/// The JSON of a value, as if it came inside a list, so that a `result` is not read as an outcome.
pub(crate) fn json_of(ty: &Ty, value: &Val) -> String {
    let list = identity(&Ty::List(Box::new(Ty::Tuple(vec![ty.clone()]))));
    let output = list.encode(&[Val::List(vec![Val::Tuple(vec![value.clone()])])], LIMIT).unwrap();
    let json = output.json.get();
    json[2..json.len() - 2].to_owned()
}
