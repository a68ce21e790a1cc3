//! What a guest can import. Each capability is a file; this one links them.
//!
//! Everything is linked for every component, so that one that merely *mentions* a capability loads;
//! using it is refused at run time by [`Policy`](aop_core::Policy), which denies by default. WASI 0.2
//! and 0.3 are linked side by side.

use wasmtime::Engine;
use wasmtime::component::{HasSelf, Linker};
use wasmtime_wasi_config::WasiConfig;

use crate::RuntimeError;
use crate::binding::{agent_0_1_0, keyvalue_draft, keyvalue_draft2};
use crate::engine::Model;
use crate::state::State;

mod changes;
mod client;
mod elicit;
pub(crate) mod files;
mod http;
pub(crate) mod keyvalue;
pub(crate) mod logging;
pub(crate) mod model;
mod progress;
mod sockets;
pub(crate) mod stdio;
pub(crate) mod surroundings;
mod tools;

/// A linker with every capability that a component of the model can import.
pub(crate) fn linker(engine: &Engine, model: Model) -> Result<Linker<State>, RuntimeError> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker).map_err(RuntimeError::engine)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)
        .map_err(RuntimeError::engine)?;
    if model == Model::Concurrent {
        wasmtime_wasi::p3::add_to_linker(&mut linker).map_err(RuntimeError::engine)?;
        wasmtime_wasi_http::p3::add_to_linker(&mut linker).map_err(RuntimeError::engine)?;
    }
    files::add_to_linker(&mut linker, model).map_err(RuntimeError::engine)?;
    sockets::add_to_linker(&mut linker, model).map_err(RuntimeError::engine)?;
    surroundings::add_to_linker(&mut linker, model).map_err(RuntimeError::engine)?;
    wasmtime_wasi_config::add_to_linker(&mut linker, |state: &mut State| {
        WasiConfig::new(&state.guest.grants.config)
    })
    .map_err(RuntimeError::engine)?;
    agent_0_1_0::Host_::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)
        .map_err(RuntimeError::engine)?;
    keyvalue_draft::Imports::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)
        .map_err(RuntimeError::engine)?;
    keyvalue_draft2::Imports::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)
        .map_err(RuntimeError::engine)?;
    logging::add_to_linker(&mut linker)?;
    Ok(linker)
}
