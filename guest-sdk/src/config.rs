//! What the operator told the agent: `[config]` in its settings.
//!
//! ```
//! # #[cfg(not(target_family = "wasm"))] {
//! use aop_agent::config;
//!
//! # aop_agent::testing::Script::new().config("currency", "EUR").run(|| {
//! let currency = config::get("currency").unwrap().unwrap_or("USD".to_owned());
//! assert_eq!(currency, "EUR");
//! # });
//! # }
//! ```

use crate::host::with;

/// The value of a key; none when the operator did not set it.
///
/// # Errors
/// The host could not read it.
pub fn get(key: &str) -> Result<Option<String>, String> {
    with(|host| host.config(key))
}
