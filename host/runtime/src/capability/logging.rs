//! `wasi:logging`: structured lines into the host's log, and to the client that waits for the call.
//!
//! The proposal has no release; both names that toolchains emit today are linked.

use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Lift, Linker};

use aop_core::GuestLevel;

use crate::RuntimeError;
use crate::capability::stdio::LINE_MAX_BYTES;
use crate::state::State;

/// `wasi:logging/logging` without and with the version of its draft package.
const NAMES: [&str; 2] = ["wasi:logging/logging", "wasi:logging/logging@0.1.0-draft"];

/// `enum level` of the proposal.
#[derive(Debug, Clone, Copy, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
#[expect(dead_code, reason = "guests construct the cases; the host only lifts them")]
enum Level {
    #[component(name = "trace")]
    Trace,
    #[component(name = "debug")]
    Debug,
    #[component(name = "info")]
    Info,
    #[component(name = "warn")]
    Warn,
    #[component(name = "error")]
    Error,
    #[component(name = "critical")]
    Critical,
}

impl From<Level> for GuestLevel {
    fn from(level: Level) -> Self {
        match level {
            Level::Trace => Self::Trace,
            Level::Debug => Self::Debug,
            Level::Info => Self::Info,
            Level::Warn => Self::Warn,
            Level::Error => Self::Error,
            Level::Critical => Self::Critical,
        }
    }
}

pub(crate) fn add_to_linker(linker: &mut Linker<State>) -> Result<(), RuntimeError> {
    for name in NAMES {
        let mut instance = linker.instance(name).map_err(RuntimeError::engine)?;
        instance
            .func_wrap(
                "log",
                |store: StoreContextMut<'_, State>,
                 (level, context, message): (Level, String, String)| {
                    let line = clip(&message, LINE_MAX_BYTES);
                    let (context, level) = (clip(&context, CONTEXT_MAX_BYTES), level.into());
                    let guest = &store.data().guest;
                    guest.voice.say(context, level, line);
                    if let Some(client) = guest.peek().and_then(|call| call.client.as_ref()) {
                        client.log(level, context, line);
                    }
                    Ok(())
                },
            )
            .map_err(RuntimeError::engine)?;
    }
    Ok(())
}

/// A context is a module path or a component name.
const CONTEXT_MAX_BYTES: usize = 256;

/// The longest prefix of at most `max_bytes` bytes that is whole characters.
pub(crate) fn clip(text: &str, max_bytes: usize) -> &str {
    &text[..text.floor_char_boundary(max_bytes)]
}
