//! Handles among the arguments. Decoding only reads them: what they lead to is looked up when the call is about to
//! run, since a call that runs before it may use them up.

use aop_core::handle::Handle;
use aop_core::interface::ResourceId;
use serde::de;
use wasmtime::component::Val;

use super::Seed;

/// The arguments of a call.
#[derive(Debug)]
pub(crate) struct Decoded {
    /// In order. Where a handle stands, its number in `taken`, until it is exchanged for what it stands for.
    pub(crate) values: Vec<Val>,
    /// The handles.
    pub(crate) taken: Vec<Taken>,
}

/// A handle among the arguments.
#[derive(Debug, Clone)]
pub(crate) struct Taken {
    /// Where it stands.
    pub(crate) pointer: String,
    /// None for a text that is no handle: its caller learns the same as of one that leads nowhere.
    pub(crate) handle: Option<Handle>,
    /// Of what.
    pub(crate) resource: ResourceId,
    /// Whether it is given away.
    pub(crate) owned: bool,
}

impl Seed<'_> {
    /// Notes a handle, and leaves its number in its place.
    pub(super) fn handle<E: de::Error>(
        &self,
        text: &str,
        resource: ResourceId,
        owned: bool,
    ) -> Result<Val, E> {
        let pointer = self.path.to_string();
        self.context.charge(self.path, size_of::<Taken>() + pointer.len())?;
        let mut taken = self.context.taken.borrow_mut();
        let number = u32::try_from(taken.len()).unwrap_or(u32::MAX);
        taken.push(Taken { pointer, handle: text.parse().ok(), resource, owned });
        Ok(Val::U32(number))
    }
}
