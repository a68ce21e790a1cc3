//! The command line, as clap sees it.

pub(crate) mod access;
mod agent;
mod cluster;
mod host;
mod zone;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use aop_core::{AgentName, Limits, Settings};
use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use zone::{
    DelegateArgs, DiscoverArgs, FilesArgs, ForgetArgs, KeygenArgs, PeerArgs, PinArgs, ResolveArgs,
    RetireArgs, ZoneCommand, ZoneKeysArgs, ZoneStatusArgs,
};

use crate::command::audit::AuditCommand;
use crate::command::policy::PolicyCommand;
use crate::environment;
use crate::exit::EXIT_CODES;

pub(crate) use agent::{AgentCommand, AgentListArgs, AgentLoadArgs, AgentNameArgs};
pub(crate) use cluster::{
    CaCommand, CaFileArgs, ClusterCommand, ClusterStatusArgs, EvictArgs, JoinTokenArgs,
    RotateKeyArgs,
};
pub(crate) use host::{DEFAULT_URL, HostArgs};

/// A host for WebAssembly agents: their functions become MCP tools, each call in its own sandbox.
#[derive(Debug, Parser)]
#[command(name = "aop", version, after_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Serve(ServeArgs),
    Demo(DemoArgs),
    New(NewArgs),
    Wit(WitArgs),
    Build(BuildArgs),
    Dev(DevArgs),
    Inspect(InspectArgs),
    Run(RunArgs),
    Tools(ToolsArgs),
    Call(CallArgs),
    /// List, show and change the agents of a running host.
    #[command(subcommand)]
    Agent(AgentCommand),
    /// Say what agents may do, and why
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Read the log of who did what, and check that nobody changed it.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// See the zone that a host is in, and let nodes into it.
    #[command(subcommand)]
    Cluster(ClusterCommand),
    Discover(DiscoverArgs),
    /// Present a host to other zones, know others, and look names up.
    #[command(subcommand)]
    Zone(ZoneCommand),
    /// Manage the tenants of a running host.
    #[command(subcommand)]
    Tenant(access::TenantCommand),
    /// Create, list, replace and revoke API keys.
    #[command(subcommand)]
    Key(access::KeyCommand),
    /// Manage values that agents use and never see.
    #[command(subcommand)]
    Secret(access::SecretCommand),
    /// Check the host's configuration, or print everything it can say.
    #[command(subcommand)]
    Config(ConfigCommand),
    McpConfig(McpConfigArgs),
    Bench(BenchArgs),
    Completions(CompletionsArgs),
    /// Compile one component under limits: what `serve` starts for each.
    #[command(hide = true)]
    CompileWorker {
        /// The request as JSON.
        request: String,
    },
}

/// Serve the agents of some directories over MCP.
///
/// Every NAME.wasm becomes the agent NAME; NAME.toml beside it holds its settings. Adding, replacing
/// and removing files takes effect at once. The listening address is printed on stdout, logs go to
/// stderr. SIGTERM finishes the running calls and exits; SIGHUP reloads the configuration.
#[derive(Debug, Default, Args)]
#[command(after_help = "\
Examples:
  aop serve --agents ./agents
  aop serve --agents ./agents --listen 127.0.0.1:0
  aop serve --agents ./agents --stdio
  aop serve --config aop.toml --log-format json
  aop serve --listen 127.0.0.1:8001 --data ./second --join 127.0.0.1:8100 --token aop1_…")]
pub(crate) struct ServeArgs {
    /// A directory of components; may be given several times
    #[arg(long, value_name = "DIR")]
    pub(crate) agents: Vec<PathBuf>,
    /// Where to listen; port 0 picks a free one [default: 127.0.0.1:8000]
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<String>,
    /// The configuration file [default: aop.toml, if there is one]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where agents, revisions and compiled code are kept [default: the platform's data directory]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Speak MCP on stdin and stdout instead of listening
    #[arg(long, conflicts_with = "listen")]
    pub(crate) stdio: bool,
    /// How logs look [default: human on a terminal, json otherwise]
    #[arg(long, value_name = "FORMAT")]
    pub(crate) log_format: Option<String>,
    /// What is logged, such as `debug` or `info,aop_mcp=trace` [default: info]
    #[arg(long, value_name = "LEVEL")]
    pub(crate) log_level: Option<String>,
    /// The name that clients see [default: aop]
    #[arg(long, value_name = "NAME")]
    pub(crate) server_name: Option<String>,
    /// Listen beyond this machine although nobody has to authenticate
    #[arg(long)]
    pub(crate) allow_unauthenticated: bool,
    /// A node of the zone to join, or a name that stands for several; may be given several times
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) join: Vec<String>,
    /// What `aop cluster join-token` printed; needed only to join the first time
    #[arg(long, value_name = "TOKEN")]
    pub(crate) token: Option<String>,
}

/// Build the example agents and serve them: everything to try AOP in one command.
///
/// Needs a checkout of the repository and the Rust toolchain, nothing else.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  aop demo
  aop demo --listen 127.0.0.1:9000

Exit codes:
  0  it served until it was stopped (Ctrl-C or SIGTERM)
  1  no checkout of the repository is here, an example could not be built, the address is taken, or a
     second signal stopped it
  2  it could not be tried (usage, an address to listen on that is not allowed)")]
pub(crate) struct DemoArgs {
    /// Where to listen; port 0 picks a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8000")]
    pub(crate) listen: SocketAddr,
}

/// Make the source of a new agent, which works and is yours to change.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  aop new invoices --lang rust
  aop new invoices --lang python --dir agents/invoices")]
pub(crate) struct NewArgs {
    /// The agent's name: a DNS label
    pub(crate) name: AgentName,
    /// The language to write it in
    #[arg(long, value_name = "LANGUAGE")]
    pub(crate) lang: Language,
    /// The directory to make [default: NAME]
    #[arg(long, value_name = "PATH")]
    pub(crate) dir: Option<PathBuf>,
}

/// Put the WIT of the host's packages, and of WASI's, into an agent's source.
///
/// What an agent imports has to be described in its wit/deps. Without a package, all that there are are listed. Packages
/// that one needs come with it. What is there already is never overwritten.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  aop wit
  aop wit aop:agent
  aop wit wasi:keyvalue wasi:http --out agents/invoices/wit/deps")]
pub(crate) struct WitArgs {
    /// The packages, with or without their versions
    #[arg(value_name = "PACKAGE")]
    pub(crate) packages: Vec<String>,
    /// Where they go, a directory each [default: wit/deps]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Build an agent's component with its language's own tools, and check it.
///
/// The language is found by Cargo.toml, go.mod, package.json, pyproject.toml or app.py, or C files, the
/// interface in wit/. NAME.wasm carries the interface's text, so that its doc comments describe the
/// tools. Nothing is installed: a tool that is missing is named with the command that installs it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  aop build
  aop build agents/invoices --out /srv/agents
  aop build --json | jq '.tools[].name'")]
pub(crate) struct BuildArgs {
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    /// Where NAME.wasm goes, with NAME.toml beside it [default: DIR]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Build an agent, serve it, and do both again whenever its source changes.
///
/// Calls and what the agent logs are shown as they happen. A build that fails is shown, and the agent
/// that was built before keeps serving. Of a configuration, what is about the host's own state, its callers
/// and its zone has no effect.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  aop dev
  aop dev agents/invoices --listen 127.0.0.1:0
  aop dev --config ../aop.toml --agents ../agents")]
pub(crate) struct DevArgs {
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    /// Where to listen; port 0 picks a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8000")]
    pub(crate) listen: SocketAddr,
    /// A directory of other agents to serve as well; may be given several times
    #[arg(long, value_name = "DIR")]
    pub(crate) agents: Vec<PathBuf>,
    /// The configuration file of the host [default: aop.toml in DIR, if there is one]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// The source of an agent.
#[derive(Debug, Args)]
pub(crate) struct SourceArgs {
    /// The directory of the source
    #[arg(value_name = "DIR", default_value = ".", hide_default_value = true)]
    pub(crate) directory: PathBuf,
    /// The language, where several could be meant
    #[arg(long, value_name = "LANGUAGE")]
    pub(crate) lang: Option<Language>,
}

/// Languages that agents are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Language {
    /// With cargo
    Rust,
    /// With componentize-py
    Python,
    /// JavaScript, with jco
    Js,
    /// TypeScript, with jco
    Ts,
    /// With wit-bindgen
    Go,
    /// With zig and wit-bindgen
    C,
}

/// Show what a component would offer as an agent: its tools, the imports it needs, and what its
/// settings allow it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  aop inspect textkit.wasm
  aop inspect textkit.wasm --json | jq '.tools[].name'")]
pub(crate) struct InspectArgs {
    /// The component
    #[arg(value_name = "FILE.wasm")]
    pub(crate) file: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) local: LocalArgs,
}

/// Call one tool of a component, without a server.
///
/// The settings beside the component apply, as they would in `serve`, and so do the ceilings of aop.toml for the agents of
/// `default`. There are no secrets: requests whose headers need one fail, and so do models
/// whose only key is one. Signatures are not asked for.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  aop run textkit.wasm summarize '{\"text\": \"…\", \"sentences\": 2}'
  aop run textkit.wasm textkit_summarize @arguments.json --json
  echo '{\"text\": \"…\"}' | aop run textkit.wasm summarize - --timeout 5s")]
pub(crate) struct RunArgs {
    /// The component
    #[arg(value_name = "FILE.wasm")]
    pub(crate) file: PathBuf,
    /// The tool's name, or the function's
    pub(crate) tool: String,
    /// The arguments as a JSON object; `-` reads stdin, `@FILE` a file
    #[arg(value_name = "JSON", default_value = "{}", hide_default_value = true)]
    pub(crate) arguments: String,
    /// How long the call may take
    #[arg(long, value_name = "DURATION", value_parser = agent_timeout)]
    pub(crate) timeout: Option<Duration>,
    /// How much memory the agent may have
    #[arg(long, value_name = "SIZE", value_parser = agent_memory)]
    pub(crate) memory: Option<u64>,
    /// Print exactly the result envelope
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) local: LocalArgs,
}

fn agent_timeout(text: &str) -> Result<Duration, String> {
    agent_limits("timeout", text).map(|limits| limits.timeout)
}

fn agent_memory(text: &str) -> Result<u64, String> {
    agent_limits("memory", text).map(|limits| limits.memory_max_bytes)
}

/// Reads a limit as an agent's settings have it, with their bounds.
fn agent_limits(key: &str, text: &str) -> Result<Limits, String> {
    let settings = format!("{key} = {}", toml::Value::from(text));
    Settings::from_toml(&settings).map(|settings| settings.limits).map_err(|mistakes| {
        mistakes.into_iter().map(|mistake| mistake.message).collect::<Vec<_>>().join("; ")
    })
}

/// What `inspect` and `run` share.
#[derive(Debug, Args)]
pub(crate) struct LocalArgs {
    /// The agent's settings [default: FILE.toml, if there is one]
    #[arg(long, value_name = "FILE.toml")]
    pub(crate) settings: Option<PathBuf>,
    /// Where compiled code is kept [default: the platform's data directory]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
}

/// List the tools of a running host.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  aop tools
  aop tools --url http://127.0.0.1:9000 --json")]
pub(crate) struct ToolsArgs {
    #[command(flatten)]
    pub(crate) host: HostArgs,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Call a tool of a running host.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  aop call textkit_summarize text='A long text.' sentences=2
  aop call textkit_summarize '{\"text\": \"A long text.\"}' --json
  aop call textkit_summarize @arguments.json --url http://127.0.0.1:9000")]
pub(crate) struct CallArgs {
    /// The tool's name
    pub(crate) tool: String,
    /// A JSON object (`-` reads stdin, `@FILE` a file), or `key=value` for each argument
    #[arg(value_name = "JSON | KEY=VALUE")]
    pub(crate) arguments: Vec<String>,
    #[command(flatten)]
    pub(crate) host: HostArgs,
    /// Print exactly the result envelope
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Report every mistake in the configuration and in the settings of the agents
    #[command(
        after_help = "Examples:\n  aop config check\n  aop config check --config /etc/aop/aop.toml"
    )]
    Check {
        /// The configuration file [default: aop.toml, if there is one]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Print every key with its default, bounds and meaning, as Markdown
    #[command(after_help = "Example:\n  aop config reference > docs/configuration.md")]
    Reference,
}

/// Print the configuration with which an MCP client connects to this host.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  aop mcp-config claude > .mcp.json
  aop mcp-config vscode --url http://127.0.0.1:9000 > .vscode/mcp.json
  aop mcp-config cursor --stdio --agents ./agents")]
pub(crate) struct McpConfigArgs {
    /// The client
    pub(crate) client: McpClient,
    #[command(flatten)]
    pub(crate) host: HostArgs,
    /// Let the client start the host itself, over stdin and stdout
    #[arg(long)]
    pub(crate) stdio: bool,
    /// With --stdio: a directory of components; may be given several times
    #[arg(long, value_name = "DIR", requires = "stdio")]
    pub(crate) agents: Vec<PathBuf>,
}

/// MCP clients whose configuration is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum McpClient {
    /// Claude Code (.mcp.json), and with --stdio also Claude Desktop
    Claude,
    /// Cursor (.cursor/mcp.json)
    Cursor,
    /// Visual Studio Code (.vscode/mcp.json)
    Vscode,
}

/// Measure a tool of a running host: a closed loop over kept-alive connections.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  aop bench http://127.0.0.1:8000 echo '{\"text\": \"hi\"}' -c 16 -n 100000
  aop bench http://127.0.0.1:8000 echo '{\"text\": \"hi\"}' --protocol 2025-11-25 --json
  aop bench http://127.0.0.1:9000/echo echo '{\"text\": \"hi\"}' --plain

Exit codes:
  0  every call was answered well
  1  some calls failed (the report says how many, and how the first one did), or the host cannot be reached
  2  it could not be tried (usage, an unreadable or unparsable argument, a bad URL)")]
pub(crate) struct BenchArgs {
    /// The host, or its MCP endpoint
    pub(crate) url: String,
    /// The tool's name
    pub(crate) tool: String,
    /// The arguments as a JSON object
    #[arg(value_name = "JSON", default_value = "{}", hide_default_value = true)]
    pub(crate) arguments: String,
    /// Connections, each with one call at a time
    #[arg(short, long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) concurrency: u32,
    /// Calls in total
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub(crate) calls: u64,
    /// Calls per connection before the clock starts
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) warm_up: u32,
    /// The protocol revision
    #[arg(long, value_name = "REVISION", default_value = "2026-07-28", conflicts_with = "plain")]
    pub(crate) protocol: BenchProtocol,
    /// The API key or access token to use, where the host asks for one; never sent with --plain
    #[arg(long, value_name = "KEY", env = environment::KEY, hide_env_values = true)]
    pub(crate) key: Option<String>,
    /// Post only the arguments to exactly this URL, for a baseline without MCP
    #[arg(long)]
    pub(crate) plain: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Protocol revisions that `bench` speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BenchProtocol {
    /// Without sessions
    #[value(name = "2026-07-28")]
    Stateless,
    /// One session for each connection
    #[value(name = "2025-11-25")]
    Sessions,
}

/// Print a completion script for a shell.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  aop completions bash > ~/.local/share/bash-completion/completions/aop
  aop completions zsh > ~/.zfunc/_aop
  aop completions fish > ~/.config/fish/completions/aop.fish")]
pub(crate) struct CompletionsArgs {
    /// The shell
    pub(crate) shell: clap_complete::Shell,
}
