//! What a function gives back once `result`, `future` and `stream` at its top are understood: the
//! one reading that the output schema and the codec share.

use crate::interface::{Function, Interface, TypeId, TypeKind};

/// How a function's result becomes an envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResultShape {
    /// What a success carries.
    pub value: ResultValue,
    /// What a failure of the guest's own carries.
    pub error: ResultError,
}

/// What a success carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResultValue {
    /// Nothing: `"result": null`.
    Nothing,
    /// One value.
    One(TypeId),
    /// The items of a stream, collected to an array.
    Stream(TypeId),
}

/// What a failure of the guest's own carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResultError {
    /// The function has no error case.
    Never,
    /// `result<T>`: an error without a payload.
    Bare,
    /// `result<T, E>`.
    Typed(TypeId),
}

impl ResultShape {
    /// Reads a function's result type. `future<T>` is as `T`.
    #[must_use]
    pub fn of(interface: &Interface, function: &Function) -> Self {
        let mut ty = function.result;
        if let Some(id) = ty
            && let TypeKind::Future(inner) = interface.get(id).kind
        {
            ty = inner;
        }
        let Some(id) = ty else {
            return Self { value: ResultValue::Nothing, error: ResultError::Never };
        };
        match interface.get(id).kind {
            TypeKind::Stream(item) => {
                Self { value: ResultValue::Stream(item), error: ResultError::Never }
            }
            TypeKind::Result { ok, err } => Self {
                value: ok.map_or(ResultValue::Nothing, ResultValue::One),
                error: err.map_or(ResultError::Bare, ResultError::Typed),
            },
            _ => Self { value: ResultValue::One(id), error: ResultError::Never },
        }
    }
}
