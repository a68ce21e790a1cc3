//! Why the services of a host cannot be made.

/// Why the services of a host cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ServicesError {
    /// A model provider is declared wrongly.
    #[error("the model provider `{name}`: {reason}")]
    Provider {
        /// Its name.
        name: String,
        /// What is wrong.
        reason: String,
    },
}
