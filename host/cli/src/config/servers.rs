//! The MCP servers that a host mounts: `[[cluster.server]]`, the paper's C = ⟨U, τ⟩.

use std::path::PathBuf;
use std::time::Duration;

use aop_core::settings::keys::{Bounds, Entry, Form, Key, Row, reference};
use aop_core::{AgentName, TenantName};

use super::Config;
use super::keys::{HOUR, KIB, MIB, SECOND, wide};

/// Servers of one host. Each takes a task and some connections.
const SERVERS_MAX: usize = 256;
/// Longest URL.
const URL_CHARS_MAX: usize = 2048;
/// Longest name of anything.
const NAME_CHARS_MAX: usize = 128;
/// Longest path.
const PATH_CHARS_MAX: usize = 4096;
/// Words of a command.
const WORDS_MAX: usize = 64;
/// Variables that a program is given.
const VARIABLES_MAX: usize = 64;

/// A mounted server as it is declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    /// None is made of the URL or the program.
    pub(crate) name: Option<AgentName>,
    pub(crate) tenant: TenantName,
    pub(crate) url: Option<String>,
    pub(crate) command: Vec<String>,
    pub(crate) transport: Option<&'static str>,
    /// The variable of the environment that holds its token.
    pub(crate) token_env: Option<String>,
    pub(crate) token_header: Option<String>,
    /// Variables that its program sees.
    pub(crate) environment: Vec<String>,
    pub(crate) directory: Option<PathBuf>,
    pub(crate) prefix: bool,
    pub(crate) timeout: Duration,
    pub(crate) calls_max: u32,
    pub(crate) tools_max: usize,
    pub(crate) answer_max_bytes: u64,
    pub(crate) refresh: Duration,
}

impl Default for Server {
    fn default() -> Self {
        let limits = aop_core::Limits::default();
        Self {
            name: None,
            tenant: TenantName::default_tenant(),
            url: None,
            command: Vec::new(),
            transport: None,
            token_env: None,
            token_header: None,
            environment: Vec::new(),
            directory: None,
            prefix: true,
            timeout: limits.timeout,
            calls_max: 64,
            // More than any model is shown at once.
            tools_max: 256,
            answer_max_bytes: limits.output_max_bytes,
            // A server that died without a word is noticed before whoever watches asks why.
            refresh: Duration::from_secs(15),
        }
    }
}

impl Server {
    /// What its tools belong to here.
    pub(crate) fn name(&self) -> Result<AgentName, String> {
        if let Some(name) = &self.name {
            return Ok(name.clone());
        }
        let stem = match &self.url {
            Some(url) => parse_url(url)?.authority().map(ToString::to_string).unwrap_or_default(),
            None => {
                let program = self.command.first().map(PathBuf::from).unwrap_or_default();
                program.file_stem().unwrap_or_default().to_string_lossy().into_owned()
            }
        };
        AgentName::from_file_stem(&stem)
            .map_err(|_| "set `name`: nothing else gives it one".to_owned())
    }

    /// Whether what was said fits together.
    fn check(&self) -> Result<(), String> {
        let stdio = match (&self.url, self.command.is_empty()) {
            (Some(_), true) => false,
            (None, false) => true,
            (None, true) => {
                return Err(
                    "set `url`, or `command` for a program that speaks on its standard streams"
                        .to_owned(),
                );
            }
            (Some(_), false) => {
                return Err(
                    "`url` and `command` are two ways to reach a server: keep one".to_owned()
                );
            }
        };
        match self.transport {
            Some("stdio") if !stdio => {
                return Err(
                    "`transport = \"stdio\"` needs a `command` instead of a `url`".to_owned()
                );
            }
            Some("streamable-http") if stdio => {
                return Err(
                    "`transport = \"streamable-http\"` needs a `url` instead of a `command`"
                        .to_owned(),
                );
            }
            _ => {}
        }
        if stdio && (self.token_env.is_some() || self.token_header.is_some()) {
            return Err("a program takes its token from a variable: name it in `environment` instead of `token_env`".to_owned());
        }
        if !stdio && (!self.environment.is_empty() || self.directory.is_some()) {
            return Err("`environment` and `directory` are for a `command`".to_owned());
        }
        if self.token_header.is_some() && self.token_env.is_none() {
            return Err(
                "`token_header` says where the token of `token_env` goes: set that too".to_owned()
            );
        }
        self.name().map(drop)
    }
}

/// # Errors
/// What it should look like.
fn parse_url(text: &str) -> Result<http::Uri, String> {
    let like = "write it like `http://127.0.0.1:9000/mcp`";
    let url: http::Uri = text.parse().map_err(|_| format!("`{text}` is no URL: {like}"))?;
    let is_http = matches!(url.scheme_str(), Some("http" | "https"));
    let Some(authority) =
        url.authority().filter(|authority| is_http && !authority.host().is_empty())
    else {
        return Err(format!("`{text}` is no URL of HTTP: {like}"));
    };
    if authority.as_str().contains('@') {
        return Err("a URL with a password is shown in logs: put it into a variable and name that in `token_env`".to_owned());
    }
    Ok(url)
}

/// `[[cluster.server]]`.
pub(super) const SERVERS: Key<Config> = Key {
    name: "server",
    meaning: "MCP servers whose tools this host lists and calls as if they were its own. A dead one delays nothing: its tools are gone until it answers.",
    form: Form::Items {
        count_max: SERVERS_MAX,
        get: |config| config.cluster.servers.iter().map(show).collect(),
        read,
        rows: || -> Vec<Row> { reference(SERVER_KEYS) },
    },
};

fn show(server: &Server) -> String {
    match &server.url {
        Some(url) => url.split('?').next().unwrap_or_default().to_owned(),
        None => server.command.first().cloned().unwrap_or_default(),
    }
}

fn read(config: &mut Config, mut entry: Entry<'_, '_>) -> Result<(), String> {
    let mut server = Server::default();
    match entry.as_text() {
        Some(url) => {
            parse_url(url)?;
            server.url = Some(url.to_owned());
        }
        None => entry.read(SERVER_KEYS, &mut server),
    }
    server.check()?;
    let name = server.name()?;
    if config.cluster.servers.iter().any(|other| other.name().as_ref() == Ok(&name)) {
        return Err(format!("another server is called `{name}`: give one of them another `name`"));
    }
    config.cluster.servers.push(server);
    Ok(())
}

static SERVER_KEYS: &[Key<Server>] = &[
    Key {
        name: "url",
        meaning: "Where it is, `http://…` or `https://…`. Private addresses are fine, since only the operator writes here; redirects are not followed.",
        form: Form::Text {
            chars_max: URL_CHARS_MAX,
            get: |server| server.url.clone(),
            set: |server, text| {
                parse_url(text)?;
                server.url = Some(text.to_owned());
                Ok(())
            },
        },
    },
    Key {
        name: "command",
        meaning: "Instead of a URL: a program that speaks MCP on its standard input and output, and its arguments. It is started with the host, started again when it ends, and ends with the host.",
        form: Form::Texts {
            count_max: WORDS_MAX,
            get: |server| server.command.clone(),
            set: |server, words| {
                if words.iter().any(|word| word.chars().count() > PATH_CHARS_MAX) {
                    return Err(format!("a word has at most {PATH_CHARS_MAX} characters"));
                }
                server.command = words;
                Ok(())
            },
        },
    },
    Key {
        name: "transport",
        meaning: "How it is reached. It follows from `url` or `command` and need not be said.",
        form: Form::Choice {
            choices: &["streamable-http", "stdio"],
            get: |server| server.transport,
            set: |server, word| server.transport = Some(word),
        },
    },
    Key {
        name: "name",
        meaning: "The agent that its tools belong to. Without it, made of the URL's host and port or of the program's name.",
        form: Form::Text {
            chars_max: NAME_CHARS_MAX,
            get: |server| server.name.as_ref().map(ToString::to_string),
            set: |server, text| {
                server.name = Some(AgentName::new(text).map_err(|error| error.to_string())?);
                Ok(())
            },
        },
    },
    Key {
        name: "tenant",
        meaning: "Who sees it.",
        form: Form::Text {
            chars_max: NAME_CHARS_MAX,
            get: |server| Some(server.tenant.to_string()),
            set: |server, text| {
                server.tenant = TenantName::new(text).map_err(|error| error.to_string())?;
                Ok(())
            },
        },
    },
    Key {
        name: "token_env",
        meaning: "The variable of the host's environment that holds the token it wants, sent as `Authorization: Bearer`. No agent sees that variable.",
        form: Form::Text {
            chars_max: NAME_CHARS_MAX,
            get: |server| server.token_env.clone(),
            set: |server, text| {
                server.token_env = Some(text.to_owned());
                Ok(())
            },
        },
    },
    Key {
        name: "token_header",
        meaning: "The header that carries the token as it is, where that is not `Authorization`.",
        form: Form::Text {
            chars_max: NAME_CHARS_MAX,
            get: |server| server.token_header.clone(),
            set: |server, text| {
                text.parse::<http::HeaderName>()
                    .map_err(|_| format!("`{text}` is no name of a header"))?;
                server.token_header = Some(text.to_owned());
                Ok(())
            },
        },
    },
    Key {
        name: "environment",
        meaning: "Variables of the host's environment that the program of `command` sees, besides `PATH`, `HOME`, `LANG` and `TMPDIR`. No agent sees them.",
        form: Form::Texts {
            count_max: VARIABLES_MAX,
            get: |server| server.environment.clone(),
            set: |server, names| {
                server.environment = names;
                Ok(())
            },
        },
    },
    Key {
        name: "directory",
        meaning: "Where the program of `command` runs.",
        form: Form::Text {
            chars_max: PATH_CHARS_MAX,
            get: |server| server.directory.as_ref().map(|path| path.display().to_string()),
            set: |server, text| {
                server.directory = Some(PathBuf::from(text));
                Ok(())
            },
        },
    },
    Key::flag(
        "prefix",
        "Whether its tools' names begin with its own: `calc_add`. Without that, a tool whose name another agent has keeps all of them out.",
        |server| Some(server.prefix),
        |server, flag| server.prefix = flag,
    ),
    Key::time(
        "timeout",
        "How long a call may take. It is told to stop then.",
        Bounds::new(Duration::from_millis(1), HOUR, "as for agents"),
        |server| server.timeout,
        |server, time| server.timeout = time,
    ),
    Key::count(
        "calls_max",
        "Calls at one time. Further ones wait in turn.",
        Bounds::new(1, 10_000, "over HTTP, each may hold a connection"),
        |server| u64::from(server.calls_max),
        |server, count| server.calls_max = u32::try_from(count).unwrap_or(u32::MAX),
    ),
    Key::count(
        "tools_max",
        "Tools that are taken from it, in name order.",
        Bounds::new(1, 10_000, "each is listed to clients, and models read them all"),
        |server| server.tools_max as u64,
        |server, count| server.tools_max = wide(count),
    ),
    Key::size(
        "answer_max",
        "The largest answer to a call.",
        Bounds::new(KIB, 16 * MIB, "a short message must pass, and answers are held in memory"),
        |server| server.answer_max_bytes,
        |server, bytes| server.answer_max_bytes = bytes,
    ),
    Key::time(
        "refresh",
        "How often it is asked for its tools although it reported no change, which also shows whether it lives.",
        Bounds::new(
            SECOND,
            HOUR,
            "each asks for the whole list, and a server that died silently is noticed no sooner",
        ),
        |server| server.refresh,
        |server, time| server.refresh = time,
    ),
];

#[cfg(test)]
mod tests {
    use aop_core::settings::keys::Document;

    use super::super::keys::KEYS;
    use super::*;

    fn read_text(text: &str) -> (Vec<Server>, Vec<String>) {
        let mut config = Config::default();
        let mistakes = Document::parse(text).unwrap().read(KEYS, &mut config);
        (config.cluster.servers, mistakes.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_url_is_enough() {
        let (servers, mistakes) = read_text(
            "[[cluster.server]]\nurl = \"http://127.0.0.1:9000/mcp\"\ntransport = \"streamable-http\"\n[[cluster.server]]\ncommand = [\"/opt/calc.py\", \"-x\"]\n",
        );
        assert_eq!(mistakes, Vec::<String>::new());
        let names: Vec<_> =
            servers.iter().map(|server| server.name().unwrap().to_string()).collect();
        assert_eq!(names, ["a127-0-0-1-9000", "calc"]);
        let (servers, mistakes) = read_text("[cluster]\nserver = [\"https://mcp.example\"]\n");
        assert_eq!((servers.len(), mistakes.len()), (1, 0));
        assert_eq!(servers[0].name().unwrap().as_str(), "mcp-example");
    }

    #[test]
    fn what_does_not_fit_together_is_refused_with_the_fix() {
        for (text, expected) in [
            ("name = \"x\"", "set `url`, or `command`"),
            ("url = \"http://a/\"\ncommand = [\"a\"]", "keep one"),
            ("url = \"ftp://a/\"", "no URL of HTTP"),
            ("url = \"a b\"", "no URL"),
            ("url = \"http://u:p@a/\"", "token_env"),
            ("url = \"http://a/\"\ntransport = \"stdio\"", "needs a `command`"),
            ("command = [\"a\"]\ntransport = \"streamable-http\"", "needs a `url`"),
            ("url = \"http://a/\"\ntransport = \"sse\"", "streamable-http"),
            ("command = [\"a\"]\ntoken_env = \"T\"", "`environment`"),
            ("url = \"http://a/\"\nenvironment = [\"T\"]", "for a `command`"),
            ("url = \"http://a/\"\ntoken_header = \"x-key\"", "set that too"),
            (
                "url = \"http://a/\"\ntoken_header = \"x key\"\ntoken_env = \"T\"",
                "no name of a header",
            ),
            ("url = \"http://a/\"\nname = \"A b\"", "agent name"),
            ("url = \"http://a/\"\ntenant = \"A b\"", "tenant name"),
            ("url = \"http://a/\"\ncalls_max = 0", "calls_max"),
            ("url = \"http://a/\"\nretry = 1", "unknown key"),
            ("url = \"http://a/\"\n[[cluster.server]]\nurl = \"http://a/other\"", "another `name`"),
        ] {
            let (_, mistakes) = read_text(&format!("[[cluster.server]]\n{text}\n"));
            assert!(mistakes.iter().any(|m| m.contains(expected)), "{text}: {mistakes:?}");
        }
    }
}
