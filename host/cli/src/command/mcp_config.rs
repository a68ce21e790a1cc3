//! `aop mcp-config`

use std::path::PathBuf;

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::args::{McpClient, McpConfigArgs};
use crate::client::Endpoint;
use crate::exit::{CommandResult, usage};
use crate::output;

pub(crate) fn run(args: &McpConfigArgs) -> CommandResult {
    let server = if args.stdio {
        let program = std::env::current_exe().context("cannot find the path of this program")?;
        stdio_server(&program, &args.agents)?
    } else {
        let endpoint = args.host.endpoint().map_err(usage)?;
        http_server(args.client, &endpoint, args.host.key.as_deref())
    };
    output::line(output::pretty(&configuration(args.client, &server).to_string()))?;
    output::note(place(args.client, args.stdio));
    Ok(())
}

/// The file's content. VS Code calls the table differently from everybody else.
pub(crate) fn configuration(client: McpClient, server: &Value) -> Value {
    match client {
        McpClient::Claude | McpClient::Cursor => json!({ "mcpServers": { "aop": server } }),
        McpClient::Vscode => json!({ "servers": { "aop": server } }),
    }
}

/// A server that is already running.
pub(crate) fn http_server(client: McpClient, endpoint: &Endpoint, key: Option<&str>) -> Value {
    let url = endpoint.mcp.as_str();
    let mut server = match client {
        McpClient::Claude | McpClient::Vscode => json!({ "type": "http", "url": url }),
        McpClient::Cursor => json!({ "url": url }),
    };
    if let Some(key) = key {
        server["headers"] = json!({ "Authorization": format!("Bearer {key}") });
    }
    server
}

/// A server that the client starts. Paths are absolute: nobody knows where the client runs.
fn stdio_server(program: &std::path::Path, agents: &[PathBuf]) -> anyhow::Result<Value> {
    let mut arguments = vec!["serve".to_owned(), "--stdio".to_owned()];
    for directory in agents {
        let directory = std::path::absolute(directory)
            .with_context(|| format!("cannot make {} absolute", directory.display()))?;
        arguments.extend(["--agents".to_owned(), directory.display().to_string()]);
    }
    Ok(json!({ "command": program.display().to_string(), "args": arguments }))
}

fn place(client: McpClient, stdio: bool) -> &'static str {
    match (client, stdio) {
        (McpClient::Claude, false) => {
            "Put this into .mcp.json of a project, or run: claude mcp add --transport http aop <url>"
        }
        (McpClient::Claude, true) => {
            "Put this into .mcp.json of a project, or into claude_desktop_config.json"
        }
        (McpClient::Cursor, _) => {
            "Put this into .cursor/mcp.json of a project, or ~/.cursor/mcp.json"
        }
        (McpClient::Vscode, _) => "Put this into .vscode/mcp.json of a project",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(client: McpClient) -> String {
        let endpoint = Endpoint::parse("http://127.0.0.1:8000").unwrap();
        configuration(client, &http_server(client, &endpoint, None)).to_string()
    }

    #[test]
    fn every_client_gets_its_own_form() {
        insta::assert_snapshot!(
            [McpClient::Claude, McpClient::Cursor, McpClient::Vscode].map(shown).join("\n"),
            @r#"
        {"mcpServers":{"aop":{"type":"http","url":"http://127.0.0.1:8000/mcp"}}}
        {"mcpServers":{"aop":{"url":"http://127.0.0.1:8000/mcp"}}}
        {"servers":{"aop":{"type":"http","url":"http://127.0.0.1:8000/mcp"}}}
        "#
        );
    }

    #[test]
    fn a_client_that_starts_the_host_gets_absolute_paths() {
        let server = stdio_server(std::path::Path::new("/bin/aop"), &["agents".into()]).unwrap();
        assert_eq!(server["command"], "/bin/aop");
        assert_eq!(server["args"][2], "--agents");
        assert!(
            server["args"][3]
                .as_str()
                .is_some_and(|path| path.starts_with('/') && path.ends_with("/agents"))
        );
    }
}
