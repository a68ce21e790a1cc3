//! What the fuzz targets of `tests/fuzz` run in this crate. Each checks what must hold for any input and panics where it
//! does not. In no build of the host: only in that of a fuzzer, and in the tests, which repeat every input that was kept.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a panic is how a target says that it found something"
)]

mod component;
mod value;

pub use component::component;
#[cfg(test)]
pub(crate) use component::with_section;
pub use value::value;

#[cfg(test)]
mod tests;
