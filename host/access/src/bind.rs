//! Which addresses a host without authentication may listen on.

use std::net::{IpAddr, SocketAddr};

/// The host would be less protected than its operator may think.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// Everybody who reaches the address could run and replace agents.
    #[error(
        "{0} can be reached from other machines, and this host does not authenticate its callers: \
         everybody who reaches it could call, load and remove agents. Listen on a loopback address \
         such as 127.0.0.1:{port}, put an authenticating proxy in front of that, or accept the risk \
         with --allow-unauthenticated",
        port = .0.port()
    )]
    Unauthenticated(SocketAddr),
}

/// Refuses to listen beyond this machine without authentication, unless told so explicitly.
///
/// # Errors
/// [`AccessError::Unauthenticated`] for any address that is not loopback, the unspecified ones
/// (`0.0.0.0`, `[::]`) included, when `allow_unauthenticated` is false.
pub fn check_bind(address: SocketAddr, allow_unauthenticated: bool) -> Result<(), AccessError> {
    if allow_unauthenticated || is_loopback(address.ip()) {
        Ok(())
    } else {
        Err(AccessError::Unauthenticated(address))
    }
}

/// `to_canonical` because a socket bound to `[::ffff:127.0.0.1]` accepts on 127.0.0.1.
fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(address: &str, allow_unauthenticated: bool) -> Result<(), AccessError> {
        check_bind(address.parse().unwrap(), allow_unauthenticated)
    }

    #[test]
    fn loopback_needs_no_authentication() {
        for address in ["127.0.0.1:8000", "127.9.9.9:0", "[::1]:8000", "[::ffff:127.0.0.1]:8000"] {
            assert_eq!(check(address, false), Ok(()), "{address}");
        }
    }

    #[test]
    fn everything_else_is_refused_unless_told_explicitly() {
        for address in
            ["0.0.0.0:8000", "[::]:8000", "10.0.0.1:80", "[fe80::1]:80", "[::ffff:10.0.0.1]:80"]
        {
            assert_eq!(
                check(address, false),
                Err(AccessError::Unauthenticated(address.parse().unwrap())),
                "{address}"
            );
            assert_eq!(check(address, true), Ok(()), "{address}");
        }
    }

    #[test]
    fn the_refusal_names_the_flag_and_an_address_that_works() {
        let message = check("0.0.0.0:9000", false).unwrap_err().to_string();
        assert!(message.contains("--allow-unauthenticated"), "{message}");
        assert!(message.contains("127.0.0.1:9000"), "{message}");
    }
}
