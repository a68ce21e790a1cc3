//! Which HTTP requests an agent may send, as its operator writes it:
//! `GET,HEAD https://*.example.com/v1/*`.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::fmt;
use std::str::FromStr;

use http::{Method, Uri};
use serde::{Deserialize, Serialize};

/// One permission: methods, scheme, host, port and path.
///
/// Written `[METHOD[,METHOD…] ]SCHEME://HOST[:PORT][/PATH[*]]`. Without methods, all are permitted. A host
/// `*.example.com` stands for every name below `example.com`. Without a port, the scheme's own. Without a
/// path, every path; one that ends in `*` stands for everything that begins like it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HttpRule {
    methods: Vec<Method>,
    scheme: Scheme,
    host: Host,
    port: u16,
    path: Path,
    written: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    Exact(String),
    /// With the leading dot.
    Below(String),
    /// In ceilings only.
    Any,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Path {
    Any,
    Exact(String),
    Prefix(String),
}

impl HttpRule {
    /// Whether the rule permits a request.
    #[must_use]
    pub fn permits(&self, method: &Method, uri: &Uri) -> bool {
        let Some(scheme) = Scheme::of(uri) else { return false };
        let Some(host) = uri.host() else { return false };
        (self.methods.is_empty() || self.methods.contains(method))
            && self.scheme == scheme
            && self.host.is(host)
            && self.port == uri.port_u16().unwrap_or(scheme.port())
            && self.path.is(uri.path())
    }

    /// What of a request the rule is not for, though it is for its host.
    #[must_use]
    pub fn misses(&self, method: &Method, uri: &Uri) -> Option<&'static str> {
        let scheme = Scheme::of(uri)?;
        if !self.host.is(uri.host()?) {
            return None;
        }
        if self.scheme != scheme {
            Some("scheme")
        } else if self.port != uri.port_u16().unwrap_or(scheme.port()) {
            Some("port")
        } else if !self.methods.is_empty() && !self.methods.contains(method) {
            Some("method")
        } else {
            (!self.path.is(uri.path())).then_some("path")
        }
    }

    /// Whether every request that this rule permits, `other` permits, too.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        let methods = other.methods.is_empty()
            || (!self.methods.is_empty()
                && self.methods.iter().all(|method| other.methods.contains(method)));
        methods
            && self.scheme == other.scheme
            && self.port == other.port
            && self.host.is_within(&other.host)
            && self.path.is_within(&other.path)
    }

    /// Whether it names one host, and no pattern of hosts.
    #[must_use]
    pub const fn is_one_host(&self) -> bool {
        matches!(self.host, Host::Exact(_))
    }

    /// The addresses that its host spells out, so that requests go there whatever the network is; none for a name.
    #[must_use]
    pub fn addresses(&self) -> Vec<IpAddr> {
        let Host::Exact(host) = &self.host else { return Vec::new() };
        let host = host.strip_suffix('.').unwrap_or(host);
        if host.eq_ignore_ascii_case("localhost") {
            return vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        }
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        bare.unwrap_or(host).parse().into_iter().collect()
    }

    /// Whether its requests go over TLS.
    #[must_use]
    pub const fn is_tls(&self) -> bool {
        matches!(self.scheme, Scheme::Https)
    }

    /// Reads a rule of a ceiling, where a host may also be `*`: any.
    ///
    /// # Errors
    /// What is wrong with it, and what to write instead.
    pub fn parse_ceiling(text: &str) -> Result<Self, String> {
        Self::parse(text, true)
    }

    /// Whether the rule names this very host, so that an address written there is meant.
    #[must_use]
    pub fn names_host(&self, host: &str) -> bool {
        matches!(&self.host, Host::Exact(exact) if exact.eq_ignore_ascii_case(host))
    }
}

impl Scheme {
    fn of(uri: &Uri) -> Option<Self> {
        match uri.scheme_str()? {
            "http" => Some(Self::Http),
            "https" => Some(Self::Https),
            _ => None,
        }
    }

    const fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl Host {
    fn is(&self, host: &str) -> bool {
        // A trailing dot makes a name absolute; it is the same name.
        let host = host.strip_suffix('.').unwrap_or(host);
        match self {
            Self::Exact(exact) => exact.eq_ignore_ascii_case(host),
            Self::Below(suffix) => {
                host.len() > suffix.len()
                    && host.is_char_boundary(host.len() - suffix.len())
                    && host[host.len() - suffix.len()..].eq_ignore_ascii_case(suffix)
            }
            Self::Any => true,
        }
    }

    fn is_within(&self, other: &Self) -> bool {
        match (self, other) {
            (_, Self::Any) => true,
            (Self::Exact(host), _) => other.is(host),
            (Self::Below(suffix), Self::Below(limit)) => {
                suffix.to_ascii_lowercase().ends_with(&limit.to_ascii_lowercase())
            }
            (Self::Below(_), Self::Exact(_)) | (Self::Any, _) => false,
        }
    }
}

impl Path {
    fn is(&self, path: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => exact == path,
            // What a server resolves could lead out of the prefix.
            Self::Prefix(prefix) => path.starts_with(prefix.as_str()) && !has_dot_segment(path),
        }
    }

    fn is_within(&self, other: &Self) -> bool {
        match (self, other) {
            (_, Self::Any) => true,
            (Self::Any, _) => matches!(other, Self::Prefix(prefix) if prefix == "/"),
            (Self::Exact(path), _) => other.is(path),
            (Self::Prefix(path), Self::Prefix(limit)) => {
                path.starts_with(limit.as_str()) && !has_dot_segment(path)
            }
            (Self::Prefix(_), Self::Exact(_)) => false,
        }
    }
}

/// Whether a segment of the path is `.` or `..` to some server, however its dots are written: some cut parameters
/// off (`..;a`), and some decode twice.
fn has_dot_segment(path: &str) -> bool {
    let path = path.to_ascii_lowercase();
    let plain = path.replace("%2e", ".").replace("%2f", "/").replace("%5c", "/");
    let plain = plain.replace("%3b", ";").replace('\\', "/");
    let is_dots = |part: &str| matches!(part.split(';').next(), Some("." | ".."));
    plain.split('/').any(is_dots) || is_encoded_twice(&path)
}

/// Whether a dot, slash, backslash or semicolon comes out when what is decoded once is decoded again. No honest
/// path has one.
fn is_encoded_twice(path: &str) -> bool {
    path.match_indices("%25").any(|(at, percent)| {
        let code = path[at + percent.len()..].trim_start_matches("25");
        ["2e", "2f", "5c", "3b"].iter().any(|special| code.starts_with(special))
    })
}

impl HttpRule {
    fn parse(text: &str, is_ceiling: bool) -> Result<Self, String> {
        let written = text.trim();
        let example = "like `GET https://api.example.com/v1/*`";
        let (methods, address) = match written.split_once(char::is_whitespace) {
            Some((methods, address)) => (parse_methods(methods)?, address.trim_start()),
            None => (Vec::new(), written),
        };
        let uri: Uri = address.parse().map_err(|error| {
            format!("`{address}` is not a URL pattern ({error}): write one {example}")
        })?;
        let scheme = Scheme::of(&uri)
            .ok_or_else(|| format!("`{address}` must begin with https:// or http://, {example}"))?;
        let host = uri.host().unwrap_or_default();
        let host = match host.strip_prefix('*') {
            None if !host.is_empty() && !host.contains('*') => Host::Exact(host.to_owned()),
            Some("") if is_ceiling => Host::Any,
            Some(suffix)
                if suffix.len() > 1 && suffix.starts_with('.') && !suffix.contains('*') =>
            {
                Host::Below(suffix.to_owned())
            }
            _ => {
                return Err(format!(
                    "the host of `{address}` must be a name, an address, or `*.` and a name: a star alone would be the whole network"
                ));
            }
        };
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(format!("`{address}` holds a user name: leave it out"));
        }
        if uri.query().is_some() {
            return Err(format!("`{address}` holds a query, which no rule looks at: leave it out"));
        }
        let port = uri.port_u16().unwrap_or(scheme.port());
        let has_path = address.split_once("://").is_some_and(|(_, rest)| rest.contains('/'));
        let path = match (has_path, uri.path().strip_suffix('*')) {
            (false, _) => Path::Any,
            (true, Some(prefix)) if !prefix.contains('*') => Path::Prefix(prefix.to_owned()),
            (true, None) if !uri.path().contains('*') => Path::Exact(uri.path().to_owned()),
            _ => return Err(format!("the path of `{address}` may have one star, at its end")),
        };
        Ok(Self { methods, scheme, host, port, path, written: written.to_owned() })
    }
}

impl FromStr for HttpRule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text, false)
    }
}

fn parse_methods(text: &str) -> Result<Vec<Method>, String> {
    let known = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::OPTIONS,
    ];
    let find = |name: &str| {
        known.iter().find(|method| method.as_str() == name).cloned().ok_or_else(|| {
            format!(
                "`{name}` is not an HTTP method: write {}",
                known.each_ref().map(Method::as_str).join(", ")
            )
        })
    };
    text.split(',').map(find).collect()
}

impl fmt::Display for HttpRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

impl From<HttpRule> for String {
    fn from(rule: HttpRule) -> Self {
        rule.written
    }
}

impl TryFrom<String> for HttpRule {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}
