//! What can go wrong in serving, as opposed to in a call.

/// The MCP edge stopped for another reason than being told to.
#[derive(Debug, thiserror::Error)]
pub enum McpError {
    /// Standard input or output broke.
    #[error("standard input or output failed: {0}")]
    Io(#[from] std::io::Error),
    /// The client never completed the opening of the connection.
    #[error("the client did not open an MCP connection: {0}")]
    Opening(String),
}
