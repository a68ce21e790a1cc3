use aop_core::interface::{Case, Label, TypeDef};

use super::*;

fn name(place: usize) -> String {
    format!("the-{place}th-name")
}

fn interface(count: usize) -> Interface {
    let labels: Vec<_> = (0..count).map(|i| Label { name: name(i), docs: None }).collect();
    let fields: Vec<_> =
        (0..count).map(|i| Field { name: name(i), docs: None, ty: TypeId(0) }).collect();
    let cases = (0..count).map(|i| Case { name: name(i), docs: None, ty: None }).collect();
    let kinds = [
        TypeKind::Enum(labels.clone()),
        TypeKind::Flags(labels),
        TypeKind::Record(fields.clone()),
        TypeKind::Variant(cases),
    ];
    let mut interface = Interface::default();
    interface.types.extend(kinds.map(|kind| TypeDef { name: None, docs: None, kind }));
    interface.functions.push(aop_core::interface::Function {
        interface: None,
        name: "f".to_owned(),
        parameters: fields,
        result: None,
        is_async: false,
        docs: None,
        signature: "f: func()".to_owned(),
    });
    interface
}

#[test]
fn only_wide_types_have_a_table() {
    for (count, is_wide) in [(NARROW_MAX, false), (NARROW_MAX + 1, true)] {
        let names = Names::new(&interface(count));
        for id in 0..4 {
            assert_eq!(names.of_type(TypeId(id)).is_some(), is_wide, "type {id}");
        }
        assert_eq!(names.of_parameters(0).is_some(), is_wide);
    }
}

#[test]
fn a_table_finds_what_comparing_finds() {
    let names = Names::new(&interface(1000));
    let spelled: Vec<_> = (0..1000).map(name).collect();
    let name_of = |place: usize| spelled.get(place).map(String::as_str);
    for id in 0..4 {
        let index = names.of_type(TypeId(id));
        let (wide, narrow) =
            (Known { name_of: &name_of, index }, Known { name_of: &name_of, index: None });
        for text in ["the_0th_name", "the_999th_name", "the-7th-name", "the_1000th_name", ""] {
            assert_eq!(wide.find(text), narrow.find(text), "{text}");
        }
        assert_eq!(wide.find("the_999th_name"), Some(999));
        assert!(wide.is(999, "the_999th_name") && !wide.is(1000, "the_999th_name"));
    }
}
