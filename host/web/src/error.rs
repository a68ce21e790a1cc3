//! What can go wrong before or around requests.

use std::io;

/// The web side could not be set up, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    /// The listening socket does not work any more. Shortage of file descriptors is not this: the
    /// server waits for some to come free.
    #[error("the listening socket is broken: {0}")]
    Listener(#[source] io::Error),
    /// An entry of `web.allowed_hosts` cannot match any `Host` header.
    #[error(
        "`{0}` in `web.allowed_hosts` is not a host: use `name`, `name:port`, `1.2.3.4` or `[::1]:port`"
    )]
    AllowedHost(String),
    /// An entry of `web.allowed_origins` cannot match any `Origin` header, or would match all.
    #[error(
        "`{0}` in `web.allowed_origins` is not an origin: use `http://host[:port]` or `https://host[:port]` \
         without a path; `*` is not offered, since it would let every web page call your agents"
    )]
    AllowedOrigin(String),
}
