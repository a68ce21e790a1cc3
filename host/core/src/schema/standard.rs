//! The standard agent interface, `run` of the package `aop:agent`: WIT cannot document parameters,
//! so the paper's descriptions are laid over it here.

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
