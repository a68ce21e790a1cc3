//! `aop demo`: builds the example agents and serves them, so that the first thing a newcomer sees is
//! the product working.

mod build;

use std::fs;
use std::io::IsTerminal as _;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tempfile::TempDir;

use crate::args::{DEFAULT_URL, DemoArgs, McpClient};
use crate::client::{Client, Endpoint};
use crate::command::{mcp_config, serve};
use crate::config::{Config, LogFormat};
use crate::exit::{CommandResult, failure};
use crate::{environment, output};

/// A call of an example agent that shows what it does.
#[derive(Debug, Clone, Copy)]
struct Sample {
    tool: &'static str,
    arguments: &'static str,
}

/// In the order of preference: the first one whose tool is there is shown.
const SAMPLES: [Sample; 2] = [
    Sample {
        tool: "textkit_redact",
        arguments: "text='Mail ada@example.com or call +44 20 7946 0958.'",
    },
    Sample { tool: "textkit_measure", arguments: "text='The quick brown fox. It jumps.'" },
];

pub(crate) async fn run(args: &DemoArgs) -> CommandResult {
    let root = repository_root()?;
    // Before minutes of building, not after.
    if let Err(error) = TcpListener::bind(args.listen)
        && error.kind() == std::io::ErrorKind::AddrInUse
    {
        return Err(failure(format!(
            "{} is taken by another program: stop it, or choose another address with --listen (127.0.0.1:0 picks a free port)",
            args.listen
        )));
    }
    let agents = build::examples(&root).await?;
    let data =
        Data::below(&root, args.listen).context("cannot make a directory for the demo's state")?;
    let quiet = if std::io::stderr().is_terminal() { "warn" } else { "info" };
    let config = Config {
        listen: args.listen,
        agents: vec![agents],
        data: Some(data.path().to_owned()),
        log_level: quiet.to_owned(),
        log_format: LogFormat::Auto,
        ..Config::default()
    };
    serve::serve_made(config.consistent(), |address| {
        announce(address);
        Ok(())
    })
    .await
}

/// Where a demo keeps its state.
enum Data {
    /// One for each address, so that two demos do not get into each other's way and the next one starts fast.
    Kept(PathBuf),
    /// A port that nobody chose is none to come back to: this goes away with the demo.
    Passing(TempDir),
}

impl Data {
    fn below(root: &Path, listen: SocketAddr) -> anyhow::Result<Self> {
        let directory = root.join("target/demo");
        match listen.port() {
            0 => {
                fs::create_dir_all(&directory)?;
                Ok(Self::Passing(tempfile::tempdir_in(directory)?))
            }
            port => Ok(Self::Kept(directory.join(format!("port-{port}")))),
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Passing(directory) => directory.path(),
        }
    }
}

/// Told once the host listens. What it shows comes from the host itself, over the wire, so it must
/// not hold up the one who tells.
fn announce(address: SocketAddr) {
    tokio::spawn(async move {
        if let Err(error) = introduce(address).await {
            let (message, _) = error.conclusion();
            output::error(message.unwrap_or_else(|| "the host does not answer".to_owned()));
        }
    });
}

async fn introduce(address: SocketAddr) -> CommandResult {
    let url = format!("http://{address}");
    let tools = wait_for_tools(&url).await?;
    let rows = tools.iter().map(|(name, description)| [name.clone(), output::summary(description)]);
    output::line(format_args!("\n{}", output::table(["TOOL", "WHAT IT DOES"], rows)))?;
    output::line(format_args!(
        "\nDashboard  {url}/\nMetrics    {url}/metrics\nMCP        {url}/mcp"
    ))?;

    let endpoint = Endpoint::parse(&url)?;
    let server = mcp_config::http_server(McpClient::Claude, &endpoint, None);
    let configuration = mcp_config::configuration(McpClient::Claude, &server).to_string();
    output::line(format_args!(
        "\nFor an MCP client (`aop mcp-config` knows Claude, Cursor and VS Code):\n{}",
        output::pretty(&configuration)
    ))?;
    let sample = SAMPLES.iter().find(|sample| tools.iter().any(|(name, _)| name == sample.tool));
    if let Some(Sample { tool, arguments }) = sample {
        let at = if url == DEFAULT_URL { String::new() } else { format!(" --url {url}") };
        output::line(format_args!("\nTry it:\n{} call {tool} {arguments}{at}", program()))?;
    }
    output::line("\nCtrl-C stops it.")?;
    Ok(())
}

/// The tools of the examples, once all agents are loaded.
async fn wait_for_tools(url: &str) -> Result<Vec<(String, String)>, crate::exit::CommandError> {
    let client = Client::new(url)?;
    let spinner = output::spinner("compiling agents that are new here");
    let ready = client.wait_until_ready().await;
    spinner.finish_and_clear();
    ready?;
    let tools = client.tools().await?;
    Ok(tools
        .into_iter()
        .filter(|tool| !tool.name.starts_with("aop_"))
        .map(|tool| (tool.name, tool.description))
        .collect())
}

/// How this program can be started from here.
fn program() -> String {
    let relative = || {
        let program = std::env::current_exe().ok()?;
        let here = std::env::current_dir().ok()?;
        let shown = match program.strip_prefix(&here) {
            Ok(below) => below.to_owned(),
            Err(_) => program,
        };
        Some(shown.display().to_string())
    };
    relative().unwrap_or_else(|| "aop".to_owned())
}

/// The checkout that this program is run in, or that cargo runs it from.
fn repository_root() -> anyhow::Result<PathBuf> {
    let here = std::env::current_dir().context("cannot read the current directory")?;
    let starts = [Some(here), environment::cargo_manifest_directory()];
    let root = starts
        .iter()
        .flatten()
        .flat_map(|start| start.ancestors())
        .find(|directory| is_root(directory));
    root.map(Path::to_owned).context(
        "`aop demo` builds the example agents of the repository: run it inside a checkout, or serve agents of your own with `aop serve --agents DIR`",
    )
}

fn is_root(directory: &Path) -> bool {
    directory.join("examples/Cargo.toml").is_file()
        && directory.join("host/cli/Cargo.toml").is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checkout_is_found_from_below() {
        let directory = tempfile::tempdir().unwrap();
        for file in ["examples/Cargo.toml", "host/cli/Cargo.toml"] {
            let path = directory.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let below = directory.path().join("host/cli");
        assert!(!is_root(&below));
        assert_eq!(below.ancestors().find(|directory| is_root(directory)), Some(directory.path()));
    }
}
