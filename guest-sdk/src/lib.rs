//! The Rust SDK for agents of an AOP host.
//!
//! An agent is a component: whatever its WIT exports becomes tools. This crate registers an agent
//! ([`agent!`]), carries its doc comments to the models that will read them ([`embed_wit!`]), and wraps
//! what the host offers in a module each:
//!
//! | module | what it does |
//! |---|---|
//! | [`tools`] | finds and calls tools of other agents |
//! | [`model`] | talks to the language model of the settings |
//! | [`progress`], [`elicit`] | tell the caller how far a call is; ask the person |
//! | [`client`] | asks the client for several things at one time, and for its roots |
//! | [`state`], [`config`], [`log`] | what the agent remembers, was told, and says |
//! | [`content`] | answers with images, sounds, links and documents |
//! | [`resources`], [`prompts`], [`completion`], [`changes`] | offers documents and prompts |
//! | [`skills`] | offers instructions for the models of clients |
//! | [`task`] | the standard interface: a task in words |
//!
//! Everything works in plain `cargo test` as well: outside a component the wrappers talk to the
//! [`testing::Host`] that a test sets up, so the logic of an agent needs no wasm to be tested.
//!
//! ```
//! # #[cfg(not(target_family = "wasm"))] {
//! use aop_agent::{model, testing, tools};
//! use serde_json::{Value, json};
//!
//! /// An agent's logic: let the model say what a tool measured.
//! fn comment(text: &str) -> Result<String, String> {
//!     let measured: Value = tools::call("textkit_measure", &json!({ "text": text }))
//!         .map_err(|failure| failure.to_string())?;
//!     let answer = model::Request::new()
//!         .user(format!("Comment on a text with these statistics: {measured}"))
//!         .complete()
//!         .map_err(|error| error.to_string())?;
//!     Ok(answer.text())
//! }
//!
//! let host = testing::Script::new()
//!     .tool("textkit_measure", "Measures a text.", |_| Ok(json!({ "words": 2 })))
//!     .says("It is short.");
//! let (comment, seen) = host.run(|| comment("Hello there"));
//! assert_eq!(comment.unwrap(), "It is short.");
//! assert_eq!(seen.calls[0].tool, "textkit_measure");
//! # }
//! ```

extern crate self as aop_agent;

mod agent;
mod bindings;
pub mod changes;
pub mod client;
pub mod completion;
pub mod config;
pub mod content;
pub mod elicit;
#[cfg_attr(
    target_family = "wasm",
    expect(unreachable_pub, reason = "what `testing` makes public is not there in a component")
)]
mod host;
pub mod log;
pub mod model;
pub mod progress;
pub mod prompts;
pub mod resources;
pub mod skills;
pub mod state;
pub mod task;
#[cfg(not(target_family = "wasm"))]
pub mod testing;
pub mod tools;

pub use wit_bindgen;
