//! What a function gives back once `result`, `future` and `stream` at its top are understood: the
//! one reading that the output schema and the codec share.

use super::standard;
use crate::interface::{Function, Interface, TypeId, TypeKind};

/// How a function's result becomes an envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResultShape {
    /// What a success carries.
    pub value: ResultValue,
    /// What a failure of the guest's own carries.
    pub error: ResultError,
    /// Whether a success is content blocks of `aop:agent/content`, one or a list.
    pub is_content: bool,
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
        let shape = Self::of_result(interface, function);
        let is_content = match shape.value {
            ResultValue::One(id) => match interface.get(id).kind {
                TypeKind::List(item) => standard::is_block(interface, item),
                _ => standard::is_block(interface, id),
            },
            ResultValue::Nothing | ResultValue::Stream(_) => false,
        };
        Self { is_content, ..shape }
    }

    fn of_result(interface: &Interface, function: &Function) -> Self {
        let mut ty = function.result;
        if let Some(id) = ty
            && let TypeKind::Future(inner) = interface.get(id).kind
        {
            ty = inner;
        }
        let Some(id) = ty else {
            return Self {
                value: ResultValue::Nothing,
                error: ResultError::Never,
                is_content: false,
            };
        };
        match interface.get(id).kind {
            TypeKind::Stream(item) => Self {
                value: ResultValue::Stream(item),
                error: ResultError::Never,
                is_content: false,
            },
            TypeKind::Result { ok, err } => Self {
                value: ok.map_or(ResultValue::Nothing, ResultValue::One),
                error: err.map_or(ResultError::Bare, ResultError::Typed),
                is_content: false,
            },
            _ => Self { value: ResultValue::One(id), error: ResultError::Never, is_content: false },
        }
    }
}
