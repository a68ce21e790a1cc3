//! Where a request goes, parsed once from its URL.

use std::net::IpAddr;

use http::Uri;

/// A scheme, host and port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Target {
    pub(crate) is_tls: bool,
    /// Lower case, without brackets and without the dot that makes a name absolute.
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Target {
    /// # Errors
    /// What is wrong with the URL, for who wrote it.
    pub(crate) fn of(uri: &Uri) -> Result<Self, String> {
        let (is_tls, default_port) = match uri.scheme_str() {
            Some("http") => (false, 80),
            Some("https") => (true, 443),
            _ => return Err("only http and https URLs can be requested".to_owned()),
        };
        let authority = uri.authority().ok_or("the URL has no host")?.as_str();
        if authority.contains('@') {
            return Err("the URL holds a user name or password: use a header".to_owned());
        }
        let written = uri.host().unwrap_or_default();
        let port = match (uri.port_u16(), authority.len() > written.len()) {
            (Some(0), _) | (None, true) => return Err("the URL's port is not one".to_owned()),
            (Some(port), _) => port,
            (None, false) => default_port,
        };
        let bare = written.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        if bare.is_some_and(|bare| bare.parse::<IpAddr>().is_err()) {
            return Err("the URL's host is not an address".to_owned());
        }
        let host = bare.unwrap_or(written);
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        if host.is_empty() || host.contains(['%', '\\']) {
            return Err("the URL's host is not a name".to_owned());
        }
        Ok(Self { is_tls, host, port })
    }

    /// The address, when the host is one as the standards write it: `127.1` and `2130706433` are names here, and
    /// mean whatever the system's resolver makes of them.
    pub(crate) fn literal(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    /// As the `Host` header has it.
    pub(crate) fn host_header(&self) -> String {
        let host = match self.literal() {
            Some(IpAddr::V6(address)) => format!("[{address}]"),
            _ => self.host.clone(),
        };
        match (self.is_tls, self.port) {
            (false, 80) | (true, 443) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }
}
