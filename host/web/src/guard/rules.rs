//! The comparison of a request's `Host` and `Origin` with what the operator allows.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use axum::body::Body;
use http::header::{HOST, ORIGIN};
use http::{HeaderMap, HeaderValue, Request, header::HeaderName};

use super::GuardConfig;
use crate::WebError;

/// The names of the loopback interface that people type.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

#[derive(Debug)]
pub(super) struct Rules {
    hosts: Vec<AllowedHost>,
    any_address: bool,
    origins: Vec<Box<str>>,
}

#[derive(Debug)]
struct AllowedHost {
    name: Box<str>,
    /// Any when none: port forwarding changes it.
    port: Option<u16>,
}

/// What becomes of a request.
#[derive(Debug)]
pub(super) enum Decision<'a> {
    Pass,
    /// It passes, and comes from a trusted page of another origin.
    CrossOrigin(HeaderValue),
    Deny(Denial<'a>),
}

/// Why a request is denied, with the value of the header.
#[derive(Debug)]
pub(super) enum Denial<'a> {
    NoHost,
    Host(&'a [u8]),
    Origin(&'a [u8]),
}

impl Rules {
    pub(super) fn new(config: &GuardConfig) -> Result<Self, WebError> {
        let own =
            LOOPBACK.iter().map(|name| (*name).to_owned()).chain([bracketed(config.bound.ip())]);
        let mut hosts: Vec<_> =
            own.map(|name| AllowedHost { name: name.into(), port: None }).collect();
        for entry in &config.allowed_hosts {
            let Some((name, port)) = split_authority(entry) else {
                return Err(WebError::AllowedHost(entry.clone()));
            };
            hosts.push(AllowedHost { name: name.into(), port });
        }
        let mut origins = Vec::new();
        for entry in &config.allowed_origins {
            let origin = entry.strip_suffix('/').unwrap_or(entry);
            if authority_of(origin).and_then(split_authority).is_none() {
                return Err(WebError::AllowedOrigin(entry.clone()));
            }
            origins.push(origin.into());
        }
        Ok(Self { hosts, any_address: config.bound.ip().is_unspecified(), origins })
    }

    pub(super) fn check<'a>(&self, request: &'a Request<Body>) -> Decision<'a> {
        let headers = request.headers();
        let Ok(Some(host)) = only(headers, &HOST) else { return Decision::Deny(Denial::NoHost) };
        let Some(host_text) = host.to_str().ok().filter(|text| split_authority(text).is_some())
        else {
            return Decision::Deny(Denial::NoHost);
        };
        if !self.allows_host(host_text) {
            return Decision::Deny(Denial::Host(host.as_bytes()));
        }
        // A request line with a full URI names the host a second time.
        if let Some(authority) = request.uri().authority()
            && !self.allows_host(authority.as_str())
        {
            return Decision::Deny(Denial::Host(authority.as_str().as_bytes()));
        }
        match only(headers, &ORIGIN) {
            Ok(None) => Decision::Pass,
            Ok(Some(origin)) => self.check_origin(origin, host_text),
            Err(first) => Decision::Deny(Denial::Origin(first.as_bytes())),
        }
    }

    fn allows_host(&self, authority: &str) -> bool {
        let Some((name, port)) = split_authority(authority) else { return false };
        let matches = |allowed: &AllowedHost| {
            allowed.name.eq_ignore_ascii_case(name)
                && allowed.port.is_none_or(|wanted| port == Some(wanted))
        };
        self.hosts.iter().any(matches) || (self.any_address && is_address(name))
    }

    fn check_origin<'a>(&self, origin: &'a HeaderValue, host: &str) -> Decision<'a> {
        let text = origin.to_str().unwrap_or_default();
        // Both schemes, since a proxy in front may speak TLS.
        if authority_of(text).is_some_and(|authority| authority.eq_ignore_ascii_case(host)) {
            return Decision::Pass;
        }
        if self.origins.iter().any(|allowed| allowed.eq_ignore_ascii_case(text)) {
            return Decision::CrossOrigin(origin.clone());
        }
        Decision::Deny(Denial::Origin(origin.as_bytes()))
    }
}

/// The value of a header that may come once; its first value when it comes more often.
fn only<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'a HeaderValue>, &'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(first), Some(_)) => Err(first),
        (first, _) => Ok(first),
    }
}

/// The authority of an origin such as `https://example.com:8443`.
fn authority_of(origin: &str) -> Option<&str> {
    origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"))
}

/// Splits `name[:port]` or `[v6][:port]`. The dot that ends a fully qualified name is dropped.
fn split_authority(authority: &str) -> Option<(&str, Option<u16>)> {
    let (name, port) = if authority.starts_with('[') {
        let (name, rest) = authority.split_at(authority.find(']')? + 1);
        is_address(name).then_some(())?;
        match rest.strip_prefix(':') {
            Some(port) => (name, Some(port)),
            None => rest.is_empty().then_some((name, None))?,
        }
    } else {
        let (name, port) = match authority.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (authority, None),
        };
        let name = name.strip_suffix('.').unwrap_or(name);
        let form = |c: &u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-' | b'_');
        (!name.is_empty() && name.as_bytes().iter().all(form)).then_some(())?;
        (name, port)
    };
    let port = match port {
        // RFC 3986 lets the port be empty.
        None | Some("") => None,
        Some(digits) if digits.bytes().all(|c| c.is_ascii_digit()) => Some(digits.parse().ok()?),
        Some(_) => return None,
    };
    Some((name, port))
}

fn is_address(name: &str) -> bool {
    match name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => name.parse::<Ipv4Addr>().is_ok(),
    }
}

fn bracketed(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}
