//! What a mounted server is, as the operator says it.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use aop_core::{AgentName, TenantName};
use http::{HeaderName, HeaderValue};

/// One mounted server: a url of the paper's U with its τ.
#[derive(Debug, Clone)]
pub struct MountConfig {
    /// The agent that its tools belong to here.
    pub name: AgentName,
    /// Who sees it.
    pub tenant: TenantName,
    /// How it is reached.
    pub transport: MountTransport,
    /// Whether its tools' names begin with its own.
    pub prefix: bool,
    /// How long a call may take.
    pub timeout: Duration,
    /// Calls at one time.
    pub calls_max: u32,
    /// The most tools that are taken from it.
    pub tools_max: usize,
    /// The largest answer to a call, as it is passed on.
    pub answer_max_bytes: u64,
    /// How often it is asked for its tools although it reported no change; also how its death is noticed.
    pub refresh: Duration,
}

/// How a server is reached: the paper's τ.
#[derive(Debug, Clone)]
pub enum MountTransport {
    /// Streamable HTTP. Redirects are not followed, and no proxy is used.
    Http {
        /// Absolute, `http` or `https`, without user and password.
        url: String,
        /// What is shown to it.
        bearer: Option<Bearer>,
    },
    /// A program that speaks on its standard input and output. It begins with the mount and ends with it, and sees no
    /// variable of the host's environment but these.
    Stdio {
        /// The program: a path, or a name that `PATH` of `environment` leads to.
        program: String,
        /// Its arguments.
        arguments: Vec<String>,
        /// All that its environment has.
        environment: Vec<(String, String)>,
        /// Where it runs; the host's own directory when none.
        directory: Option<PathBuf>,
    },
}

impl MountTransport {
    /// Where the server is, for people: without what a query may hide.
    pub(super) fn place(&self) -> String {
        match self {
            Self::Http { url, .. } => url.split(['?', '#']).next().unwrap_or_default().to_owned(),
            Self::Stdio { program, .. } => program.clone(),
        }
    }

    /// A text about it without the query of its URL, which whoever wrote it down may not show.
    pub(super) fn without_query(&self, text: &str) -> String {
        match self {
            Self::Http { url, .. } => match url.split_once('?') {
                Some((_, query)) if !query.is_empty() => text.replace(query, "…"),
                _ => text.to_owned(),
            },
            Self::Stdio { .. } => text.to_owned(),
        }
    }

    /// As the configuration spells it.
    pub(super) const fn word(&self) -> &'static str {
        match self {
            Self::Http { .. } => "streamable-http",
            Self::Stdio { .. } => "stdio",
        }
    }
}

/// A credential in a header of every request.
#[derive(Clone)]
pub struct Bearer {
    pub(super) header: HeaderName,
    pub(super) value: HeaderValue,
}

impl Bearer {
    /// `Authorization: Bearer TOKEN`, or the token as it is in another header.
    ///
    /// # Errors
    /// What is wrong, without the token.
    pub fn new(header: Option<&str>, token: &str) -> Result<Self, String> {
        let (header, text) = match header {
            None => (http::header::AUTHORIZATION, format!("Bearer {token}")),
            Some(name) => {
                let header = name
                    .parse::<HeaderName>()
                    .map_err(|_| format!("`{name}` is no name of a header"))?;
                (header, token.to_owned())
            }
        };
        let mut value = HeaderValue::from_str(&text)
            .map_err(|_| "the token has characters that no header can carry".to_owned())?;
        value.set_sensitive(true);
        Ok(Self { header, value })
    }
}

/// Never shows the credential.
impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bearer").field("header", &self.header).finish_non_exhaustive()
    }
}
