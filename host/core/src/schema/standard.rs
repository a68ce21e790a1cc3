//! What the package `aop:agent` means to the host: its `run`, for which the paper's descriptions are laid
//! over the parameters since WIT cannot document them, and its content blocks. Both are known by their
//! structure, because a component keeps no trace of where a type came from.

use crate::interface::{Field, Function, Interface, TypeId, TypeKind};

/// The paper's descriptions of the standard agent interface (§4.3).
const PARAMETERS: [(&str, &str); 4] = [
    ("task", "Primary task"),
    ("img", "Single image path"),
    ("imgs", "Multiple images"),
    ("correct-answer", "The answer that is known to be correct, to compare with"),
];

/// What its result is (§4.3).
pub(super) const RESPONSE: &str = "Agent response";

/// What the paper says of a parameter.
pub(super) fn description(parameter: &str) -> Option<&'static str> {
    PARAMETERS.iter().find(|(name, _)| *name == parameter).map(|(_, text)| *text)
}

/// Whether a function is the standard `run` of `aop:agent`, or has its parameters.
pub(super) fn is_run(interface: &Interface, function: &Function) -> bool {
    let is_string = |id| matches!(interface.get(id).kind, TypeKind::String);
    let is_option = |id, inner: &dyn Fn(TypeId) -> bool| matches!(interface.get(id).kind, TypeKind::Option(of) if inner(of));
    let is_strings = |id| matches!(interface.get(id).kind, TypeKind::List(of) if is_string(of));
    let matches = |field: &Field| match field.name.as_str() {
        "task" => is_string(field.ty),
        "img" | "correct-answer" => is_option(field.ty, &is_string),
        "imgs" => is_option(field.ty, &is_strings),
        _ => false,
    };
    function.name == "run"
        && function.parameters.len() == PARAMETERS.len()
        && function.parameters.iter().all(matches)
}

/// The cases of `aop:agent/content.block`, and the first field of what each holds.
const BLOCKS: [(&str, &str); 5] =
    [("text", "text"), ("image", "data"), ("audio", "data"), ("link", "uri"), ("embedded", "uri")];

/// Whether a type is `aop:agent/content.block`.
pub(super) fn is_block(interface: &Interface, id: TypeId) -> bool {
    let TypeKind::Variant(cases) = &interface.get(id).kind else { return false };
    let first_field = |ty: Option<TypeId>| match ty.map(|ty| &interface.get(ty).kind) {
        Some(TypeKind::Record(fields)) => fields.first().map(|field| field.name.as_str()),
        _ => None,
    };
    cases.len() == BLOCKS.len()
        && cases
            .iter()
            .zip(BLOCKS)
            .all(|(case, (name, field))| case.name == name && first_field(case.ty) == Some(field))
}
