use std::path::PathBuf;

use aop_core::TenantName;
use clap::Parser as _;

use super::*;
use crate::args::{Arguments, Command};

fn args(line: &[&str]) -> DevArgs {
    match Arguments::try_parse_from([&["aop", "dev"][..], line].concat()).unwrap().command {
        Command::Dev(args) => args,
        other => panic!("{other:?}"),
    }
}

/// The configuration of a project with this `aop.toml`.
fn config(text: &str, line: &[&str]) -> (tempfile::TempDir, Config) {
    let project = tempfile::tempdir().unwrap();
    std::fs::write(project.path().join("aop.toml"), text).unwrap();
    let args = args(line);
    let file = File::find_in(project.path(), args.config.as_deref()).unwrap();
    let given = Config::load(file.as_ref(), &Flags::default()).unwrap();
    let config = private(given, &args, Path::new("/built"), PathBuf::from("/data"));
    (project, config)
}

const HOST: &str = r#"
listen = "127.0.0.1:9999"
agents = ["others"]
data = "kept"
log_level = "debug"

[access]
required = true

[supply]
require_signature = true

[cluster]
zone = "eu.acme.example"

[[cluster.server]]
name = "files"
url = "http://127.0.0.1:1/mcp"

[model.providers.mine]
kind = "openai"
url = "http://127.0.0.1:1/v1"

[state.database]
url = "postgres://aop@127.0.0.1:5432/aop"
"#;

#[test]
fn what_an_agent_works_with_is_configured_and_what_the_host_is_is_not() {
    let (project, config) = config(HOST, &[]);
    assert_eq!(config.agents, [PathBuf::from("/built"), project.path().join("others")]);
    assert_eq!(config.registry.agent_dirs[&TenantName::default_tenant()], config.agents);
    assert!(config.services.providers.contains_key("mine"));
    assert_eq!(config.cluster.servers.len(), 1);
    assert!(!config.cluster.is_wanted() && config.zone.name.is_none());
    assert!(!config.supply.require_signature);
    assert!(!config.access.required && config.services.state_database.url.is_none());
    assert_eq!(config.data, Some(PathBuf::from("/data")));
    assert_eq!(config.listen.to_string(), "127.0.0.1:8000");
    assert_eq!(config.log_level, LOG_LEVEL);
}

#[test]
fn agents_of_the_command_line_come_instead_of_those_of_the_file() {
    let line = ["--agents", "one", "--agents", "two", "--listen", "127.0.0.1:0"];
    let (_project, config) = config(HOST, &line);
    assert_eq!(config.agents, ["/built", "one", "two"].map(PathBuf::from));
    assert_eq!(config.listen.port(), 0);
}

#[test]
fn a_file_that_is_named_comes_instead_of_that_of_the_project() {
    let elsewhere = tempfile::tempdir().unwrap();
    let named = elsewhere.path().join("host.toml");
    std::fs::write(&named, "agents = [\"named\"]").unwrap();
    let (_project, config) = config(HOST, &["--config", named.to_str().unwrap()]);
    assert_eq!(config.agents[1..], [elsewhere.path().join("named")]);
    assert!(config.services.providers.is_empty());
}

#[test]
fn a_build_that_fails_says_what_comes_next() {
    let address = "127.0.0.1:8000".parse().unwrap();
    let first = outlook(false, address);
    assert!(first.contains("waiting") && first.contains("http://127.0.0.1:8000/mcp"), "{first}");
    assert!(outlook(true, address).contains("keeps serving"));
}
