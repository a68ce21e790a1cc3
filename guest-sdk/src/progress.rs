//! How far a call is, for whoever waits for it.
//!
//! ```
//! use aop_agent::progress;
//!
//! let pages = ["one", "two"];
//! for (done, page) in pages.iter().enumerate() {
//!     progress::report(done as f64, pages.len() as f64, format!("reading {page}")).unwrap();
//! }
//! ```

use crate::host::with;

/// Reports progress. It must grow with every report and not be negative; `total` is what it grows towards.
///
/// # Errors
/// The rule that the report breaks; it is not sent then.
pub fn report(
    progress: f64,
    total: impl Into<Option<f64>>,
    message: impl Into<String>,
) -> Result<(), String> {
    let message = message.into();
    let message = Some(message.as_str()).filter(|message| !message.is_empty());
    with(|host| host.report(progress, total.into(), message))
}
