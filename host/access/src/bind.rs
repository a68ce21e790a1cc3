//! Which addresses a host without authentication may listen on.

use std::net::{IpAddr, SocketAddr};

/// The host would be less protected than its operator may think.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BindError {
    /// Everybody who reaches the address could run and replace agents.
    #[error(
        "{0} can be reached from other machines, and this host does not authenticate its callers: \
         everybody who reaches it could call, load and remove agents. Create a key first (`aop key create admin --admin --offline`), \
         listen on a loopback address such as 127.0.0.1:{port}, or accept the risk \
         with --allow-unauthenticated",
        port = .0.port()
    )]
    Unauthenticated(SocketAddr),
}

/// Refuses to listen beyond this machine without authentication, unless told so explicitly.
///
/// # Errors
/// [`BindError::Unauthenticated`] for any address that is not loopback, the unspecified ones
/// (`0.0.0.0`, `[::]`) included, when callers neither authenticate nor need to.
pub fn check_bind(
    address: SocketAddr,
    authenticates: bool,
    allow_unauthenticated: bool,
) -> Result<(), BindError> {
    if authenticates || allow_unauthenticated || is_loopback(address.ip()) {
        Ok(())
    } else {
        Err(BindError::Unauthenticated(address))
    }
}

/// `to_canonical` because a socket bound to `[::ffff:127.0.0.1]` accepts on 127.0.0.1.
#[must_use]
pub fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(address: &str, authenticates: bool, allowed: bool) -> Result<(), BindError> {
        check_bind(address.parse().unwrap(), authenticates, allowed)
    }

    #[test]
    fn loopback_needs_no_authentication() {
        for address in ["127.0.0.1:8000", "127.9.9.9:0", "[::1]:8000", "[::ffff:127.0.0.1]:8000"] {
            assert_eq!(check(address, false, false), Ok(()), "{address}");
        }
    }

    #[test]
    fn everything_else_needs_it_unless_told_explicitly() {
        for address in
            ["0.0.0.0:8000", "[::]:8000", "10.0.0.1:80", "[fe80::1]:80", "[::ffff:10.0.0.1]:80"]
        {
            let refused = Err(BindError::Unauthenticated(address.parse().unwrap()));
            assert_eq!(check(address, false, false), refused, "{address}");
            assert_eq!(check(address, true, false), Ok(()), "{address}");
            assert_eq!(check(address, false, true), Ok(()), "{address}");
        }
    }

    #[test]
    fn the_refusal_names_the_ways_out() {
        let message = check("0.0.0.0:9000", false, false).unwrap_err().to_string();
        for way in ["--allow-unauthenticated", "127.0.0.1:9000", "aop key create"] {
            assert!(message.contains(way), "{message}");
        }
    }
}
