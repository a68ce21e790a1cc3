//! What `wasmtime` makes of our WIT: types, and a trait per interface that `capability` implements.
//!
//! A module per version of a package, so that agents built against an old one keep running: a new
//! version gets a module of its own beside these.

/// `aop:agent@0.1.0`: the interfaces that agents import.
pub(crate) mod agent_0_1_0 {
    wasmtime::component::bindgen!({
        path: "../../wit/agent-0.1.0",
        world: "aop:agent/host",
        imports: { default: async | trappable },
        with: {
            "aop:agent/model.completion-stream": crate::capability::model::Streaming,
        },
    });

    pub(crate) use aop::agent::*;
}

/// `wasi:keyvalue@0.2.0-draft`.
pub(crate) mod keyvalue_draft {
    wasmtime::component::bindgen!({
        path: "../../wit/deps/keyvalue",
        world: "wasi:keyvalue/imports",
        imports: { default: async | trappable },
        trappable_error_type: {
            "wasi:keyvalue/store.error" => crate::capability::keyvalue::Refusal,
        },
        with: {
            "wasi:keyvalue/store.bucket": crate::capability::keyvalue::Opened,
        },
    });

    pub(crate) use wasi::keyvalue::*;
}

/// `wasi:keyvalue@0.2.0-draft2`.
pub(crate) mod keyvalue_draft2 {
    wasmtime::component::bindgen!({
        path: "../../wit/deps/keyvalue-draft2",
        world: "wasi:keyvalue/imports",
        imports: { default: async | trappable },
        trappable_error_type: {
            "wasi:keyvalue/store.error" => crate::capability::keyvalue::Refusal,
        },
        with: {
            "wasi:keyvalue/store.bucket": crate::capability::keyvalue::Opened,
            "wasi:keyvalue/atomics.cas": crate::capability::keyvalue::Attempt,
        },
    });

    pub(crate) use wasi::keyvalue::*;
}
