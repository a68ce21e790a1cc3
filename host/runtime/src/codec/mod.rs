//! JSON ⇄ component values, driven by the host's own type table.
//!
//! This is on the path of every call: arguments go from text to values in one pass, with nothing
//! in between, and results are written straight into the text that is sent. Both directions are
//! bounded ([`decode::VALUES_MAX_BYTES`], and the caller's output limit), so neither a client nor a
//! guest decides how much the host allocates. What is accepted and emitted is exactly what the
//! schemas of `aop_core::schema` say: the tests compare the two for generated types and values.
//!
//! `wasmtime` has no compact form for dynamic `list<u8>` (each byte is a [`Val`] of
//! [`VAL_BYTES`]), which is why the bounds count values and not only bytes of text.

mod decode;
mod encode;
mod handles;
#[cfg(any(test, fuzzing))]
pub(crate) mod made;

use std::sync::Arc;

use aop_core::interface::{ResourceId, TypeId};
use aop_core::schema::ResultShape;
use aop_core::{ErrorCode, Failure, Interface, Output, Violation};
use wasmtime::component::Val;

use decode::Names;
#[cfg(any(test, fuzzing))]
pub(crate) use decode::VIOLATIONS_MAX;
pub(crate) use decode::{Decoded, Taken};
pub(crate) use encode::StreamEncoder;

/// What one dynamic value takes, without what it points to.
const VAL_BYTES: usize = size_of::<Val>();

/// A result of this size as JSON is encoded in half a millisecond when it is numbers, and sooner when it is text.
pub(crate) const AT_ONCE_MAX_BYTES: usize = 64 << 10;

/// Translates the arguments and the result of one function.
#[derive(Clone)]
pub(crate) struct FunctionCodec {
    interface: Arc<Interface>,
    names: Arc<Names>,
    /// By type: whether a handle is in it.
    with_handles: Arc<[bool]>,
    function: usize,
    shape: ResultShape,
}

impl FunctionCodec {
    /// A codec for every function of an interface, in its order.
    pub(crate) fn all(interface: &Arc<Interface>) -> Vec<Self> {
        let names = Arc::new(Names::new(interface));
        let with_handles: Arc<[bool]> = interface.types_with_handles().into();
        let functions = interface.functions.iter().enumerate();
        functions
            .map(|(index, function)| Self {
                interface: Arc::clone(interface),
                names: Arc::clone(&names),
                with_handles: Arc::clone(&with_handles),
                function: index,
                shape: ResultShape::of(interface, function),
            })
            .collect()
    }

    /// Decodes a JSON object into the parameters, in order.
    ///
    /// # Errors
    /// Every violation with its JSON pointer, at most [`decode::VIOLATIONS_MAX`], at least one.
    pub(crate) fn decode(&self, arguments: &str) -> Result<Decoded, Vec<Violation>> {
        decode::arguments(&self.interface, &self.names, self.function, arguments)
    }

    /// Whether the function takes or returns handles.
    pub(crate) fn has_handles(&self) -> bool {
        let function = &self.interface.functions[self.function];
        let types = function.parameters.iter().map(|parameter| parameter.ty);
        types.chain(function.result).any(|ty| self.with_handles[ty.0 as usize])
    }

    /// Whether the function may return a handle.
    pub(crate) fn returns_handles(&self) -> bool {
        let result = self.interface.functions[self.function].result;
        result.is_some_and(|ty| self.with_handles[ty.0 as usize])
    }

    /// Shows every handle in decoded arguments to `visit`: in its place stands its number in [`Decoded::taken`].
    ///
    /// # Errors
    /// The first of `visit`.
    pub(crate) fn each_taken<E>(
        &self,
        values: &mut [Val],
        mut visit: impl FnMut(&mut Val) -> Result<(), E>,
    ) -> Result<(), E> {
        let parameters = &self.interface.functions[self.function].parameters;
        let mut pairs = parameters.iter().zip(values);
        pairs.try_for_each(|(parameter, value)| {
            self.each_handle(parameter.ty, value, &mut |_, value| visit(value))
        })
    }

    /// Shows every handle in what the function returned to `visit`, which puts a string in its place.
    ///
    /// # Errors
    /// The first of `visit`.
    pub(crate) fn each_returned<E>(
        &self,
        results: &mut [Val],
        mut visit: impl FnMut(ResourceId, &mut Val) -> Result<(), E>,
    ) -> Result<(), E> {
        let result = self.interface.functions[self.function].result;
        let mut pairs = result.iter().zip(results);
        pairs.try_for_each(|(ty, value)| self.each_handle(*ty, value, &mut visit))
    }

    fn each_handle<E>(
        &self,
        ty: TypeId,
        value: &mut Val,
        visit: &mut dyn FnMut(ResourceId, &mut Val) -> Result<(), E>,
    ) -> Result<(), E> {
        handles::each((&self.interface, &self.with_handles), ty, value, visit)
    }

    /// Encodes what the function returned: no value or one, with strings in the place of handles. The engine has already read a future
    /// (`results` is its payload, or empty) and collected a stream to a `Val::List`.
    ///
    /// # Errors
    /// `guest_error` when the function returned an error, `guest_limit` when the JSON would have
    /// more than `limit_bytes`, `bad_output` when the values are not of the function's type.
    pub(crate) fn encode(&self, results: &[Val], limit_bytes: usize) -> Result<Output, Failure> {
        encode::result(&self.interface, self.shape, results, limit_bytes)
    }

    /// The same for a result that takes at most about a guest's slice to encode. None for one that takes longer: what was
    /// written of it until that was seen is lost, so it needs no look at every result beforehand.
    pub(crate) fn encode_at_once(
        &self,
        results: &[Val],
        limit_bytes: usize,
    ) -> Option<Result<Output, Failure>> {
        let encoded = self.encode(results, limit_bytes.min(AT_ONCE_MAX_BYTES));
        let is_cut = limit_bytes > AT_ONCE_MAX_BYTES
            && encoded.as_ref().is_err_and(|failure| failure.code == ErrorCode::GuestLimit);
        (!is_cut).then_some(encoded)
    }

    /// Starts an array for a function that returns a stream; none for another function.
    pub(crate) fn stream(&self, limit_bytes: usize) -> Option<StreamEncoder> {
        StreamEncoder::new(&self.interface, self.shape, limit_bytes)
    }
}

#[cfg(test)]
mod tests;
