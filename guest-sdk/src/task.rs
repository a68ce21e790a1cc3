//! The standard interface of an agent that takes a task in words and answers in words.
//!
//! An agent implements [`Task`] and registers with `aop_agent::agent! { task: … }`; its only tool then has
//! the name of the agent.

/// What the host reads the description of `run` from.
#[doc(hidden)]
pub const WIT: &[u8; include_bytes!("../wit/host/agent-0.1.0/task.wit").len()] =
    include_bytes!("../wit/host/agent-0.1.0/task.wit");

#[doc(hidden)]
pub mod bindings {
    wit_bindgen::generate!({
        path: "wit/host/agent-0.1.0",
        world: "agent",
        runtime_path: "::aop_agent::wit_bindgen::rt",
        pub_export_macro: true,
        export_macro_name: "export_task",
        default_bindings_module: "::aop_agent::task::bindings",
    });
}

#[doc(hidden)]
pub use bindings::export_task;
pub use bindings::exports::aop::agent::task::Guest as Task;
