//! Makes the servers that a host mounts, with their tokens from the environment.

use std::collections::{BTreeMap, BTreeSet};

use aop_mcp::{Bearer, MountConfig, MountTransport};

use crate::config::Server;

/// What every program needs to find its interpreter and its files.
const ALWAYS: [&str; 4] = ["PATH", "HOME", "LANG", "TMPDIR"];

/// The servers of a configuration.
pub(crate) fn mounts(
    servers: &[Server],
    environment: &BTreeMap<String, String>,
) -> anyhow::Result<Vec<MountConfig>> {
    servers.iter().map(|server| mount(server, environment)).collect()
}

/// The variables that are for mounted servers, and so not for agents.
pub(crate) fn variables(servers: &[Server]) -> BTreeSet<&str> {
    let tokens = servers.iter().filter_map(|server| server.token_env.as_deref());
    let named = servers.iter().flat_map(|server| &server.environment).map(String::as_str);
    tokens.chain(named.filter(|name| !ALWAYS.contains(name))).collect()
}

fn mount(server: &Server, environment: &BTreeMap<String, String>) -> anyhow::Result<MountConfig> {
    let name = server.name().map_err(|reason| anyhow::anyhow!("a mounted server: {reason}"))?;
    let variable = |variable: &str, key: &str| {
        environment.get(variable).filter(|value| !value.is_empty()).ok_or_else(|| {
            anyhow::anyhow!(
                "the server `{name}` takes {variable} from the environment, which does not have it: set it, or leave it out of `{key}`"
            )
        })
    };
    let transport = match &server.url {
        Some(url) => {
            let bearer = server.token_env.as_deref().map(|token| {
                Bearer::new(server.token_header.as_deref(), variable(token, "token_env")?)
                    .map_err(|reason| anyhow::anyhow!("the token of the server `{name}`: {reason}"))
            });
            MountTransport::Http { url: url.clone(), bearer: bearer.transpose()? }
        }
        None => {
            let mut seen = BTreeMap::new();
            for always in ALWAYS {
                if let Some(value) = environment.get(always) {
                    seen.insert(always.to_owned(), value.clone());
                }
            }
            for named in &server.environment {
                seen.insert(named.clone(), variable(named, "environment")?.clone());
            }
            let mut words = server.command.iter().cloned();
            MountTransport::Stdio {
                program: words.next().unwrap_or_default(),
                arguments: words.collect(),
                environment: seen.into_iter().collect(),
                directory: server.directory.clone(),
            }
        }
    };
    Ok(MountConfig {
        name,
        tenant: server.tenant.clone(),
        transport,
        prefix: server.prefix,
        timeout: server.timeout,
        calls_max: server.calls_max,
        tools_max: server.tools_max,
        answer_max_bytes: server.answer_max_bytes,
        refresh: server.refresh,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> BTreeMap<String, String> {
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_token_comes_from_the_environment_and_is_never_shown() {
        let server = Server {
            url: Some("https://mcp.example/".to_owned()),
            token_env: Some("MCP_TOKEN".to_owned()),
            ..Server::default()
        };
        let servers = [server];
        let missing = mounts(&servers, &environment(&[("MCP_TOKEN", "")])).unwrap_err();
        assert!(missing.to_string().contains("MCP_TOKEN"), "{missing}");
        let made = mounts(&servers, &environment(&[("MCP_TOKEN", "s3cret")])).unwrap();
        assert!(!format!("{made:?}").contains("s3cret"), "{made:?}");
        let bad = mounts(&servers, &environment(&[("MCP_TOKEN", "s3\ncret")])).unwrap_err();
        assert!(!bad.to_string().contains("s3"), "{bad}");
        assert_eq!(variables(&servers), BTreeSet::from(["MCP_TOKEN"]));
    }

    #[test]
    fn a_program_sees_what_it_is_given_and_nothing_else() {
        let server = Server {
            command: vec!["calc".to_owned(), "--x".to_owned()],
            environment: vec!["API_KEY".to_owned()],
            ..Server::default()
        };
        let all = environment(&[("PATH", "/bin"), ("API_KEY", "k"), ("OTHER", "o")]);
        let made = mounts(&[server], &all).unwrap();
        let MountTransport::Stdio { program, arguments, environment, .. } = &made[0].transport
        else {
            panic!("it is a program");
        };
        assert_eq!((program.as_str(), arguments.as_slice()), ("calc", &["--x".to_owned()][..]));
        let names: Vec<_> = environment.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["API_KEY", "PATH"]);
    }
}
