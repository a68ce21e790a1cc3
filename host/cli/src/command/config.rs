//! `aop config check|reference`

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use aop_core::Settings;
use aop_core::settings::agent_reference;
use aop_core::settings::keys::Row;

use crate::access::key_among_secrets;
use crate::args::{ConfigCommand, LocalArgs};
use crate::config::{self, Config, File, Flags};
use crate::exit::{CommandError, CommandResult, failure, misuse};
use crate::local::Local;
use crate::{arguments, output};

pub(crate) async fn run(command: &ConfigCommand) -> CommandResult {
    match command {
        ConfigCommand::Check { config } => check(config.as_deref()).await,
        ConfigCommand::Reference => Ok(output::line(reference())?),
    }
}

async fn check(named: Option<&Path>) -> CommandResult {
    let file = File::find(named)?;
    let config = Config::load(file.as_ref(), &Flags::default())?;
    match &file {
        Some(file) => output::line(format_args!("{}: no mistakes", file.path.display()))?,
        None => output::line("no aop.toml here: defaults and environment only, no mistakes")?,
    }
    if let Some(warning) = key_among_secrets(&config) {
        output::note(format_args!("warning: {warning}"));
    }
    let mut said = Config::default().differences(&config);
    let named = config.written.iter().filter(|(key, _)| is_of_names(key));
    said.extend(named.map(|(key, value)| (key.clone(), value.to_string())));
    if !said.is_empty() {
        output::line(format_args!(
            "\n{}",
            output::table(["KEY", "VALUE"], said.into_iter().map(|(k, v)| [k, v]))
        ))?;
    }
    check_agents(&config).await
}

/// Keys of tables that the operator names, which are no keys of their own: who may have what.
fn is_of_names(key: &str) -> bool {
    ["tenants.", "quota.tenants.", "ceiling.", "ceilings."].iter().any(|of| key.starts_with(of))
}

/// The settings of every agent in the configured directories.
async fn check_agents(config: &Config) -> CommandResult {
    let (mut checked, mut mistakes, mut failures) = (0, Vec::new(), Vec::new());
    // What is compiled to check it is not kept: whoever checks may be another user than the host.
    let place = tempfile::tempdir().context("cannot make a temporary directory")?;
    for directory in &config.agents {
        let entries = match std::fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) => {
                output::note(format_args!("warning: cannot read {}: {error}", directory.display()));
                continue;
            }
        };
        let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths.iter().filter(|path| is_settings(path)) {
            checked += 1;
            match mistakes_in(config, path, place.path()).await {
                Ok(found) => mistakes.extend(found),
                Err(failed) => {
                    let why = failed.conclusion().0.unwrap_or_default();
                    failures.push(format!("{}: {why}", path.display()));
                }
            }
        }
    }
    let told = |heading: &str, lines: &[String]| format!("{heading}:\n  {}", lines.join("\n  "));
    let unchecked = told("the settings of agents could not be checked", &failures);
    let mistaken = told("the settings of agents have mistakes", &mistakes);
    match (mistakes.is_empty(), failures.is_empty()) {
        (true, true) if checked == 0 => Ok(()),
        (true, true) => {
            Ok(output::line(format_args!("settings of {checked} agents: no mistakes"))?)
        }
        (false, true) => Err(misuse(mistaken)),
        (true, false) => Err(failure(unchecked)),
        (false, false) => Err(misuse(format!("{mistaken}\n{unchecked}"))),
    }
}

/// Other TOML files may lie there too; settings have a component beside them.
fn is_settings(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "toml")
        && path.with_extension("wasm").is_file()
}

async fn mistakes_in(
    config: &Config,
    path: &Path,
    place: &Path,
) -> Result<Vec<String>, CommandError> {
    let text = arguments::read_file(path)?;
    let said = |mistake: &dyn std::fmt::Display| format!("{}: {mistake}", path.display());
    let settings = match Settings::from_toml(&text) {
        Ok(settings) => settings,
        Err(mistakes) => return Ok(mistakes.iter().map(|mistake| said(mistake)).collect()),
    };
    if settings.tools.is_empty() {
        return Ok(Vec::new());
    }
    // Only the component knows its functions, and to ask it takes compiling it.
    let args = LocalArgs { settings: Some(path.to_owned()), data: Some(place.to_owned()) };
    let (component, ground) = (path.with_extension("wasm"), (config, Arc::default()));
    match Local::prepare_to_run(&component, &args, ground, |_| ()).await {
        Ok(_) => Ok(Vec::new()),
        Err(CommandError::Usage(reason)) => Ok(vec![said(&format_args!("{reason:#}"))]),
        Err(failed) => Err(failed),
    }
}

/// Everything that can be configured, as a page of Markdown.
fn reference() -> String {
    let mut page = String::from(
        "# Configuration\n\n\
         This page is generated from the code by `aop config reference`.\n\n\
         Durations and sizes have units: `\"30s\"`, `\"250ms\"`, `\"64MiB\"`. Unknown keys and values out of bounds\n\
         are mistakes; all of them are reported at once, with their lines.\n\n\
         ## The host: `aop.toml`\n\n\
         Flags win over environment variables, which win over the file (`--config`, `AOP_CONFIG`, or `aop.toml` in\n\
         the current directory), which wins over the defaults. Lists in variables are separated by commas.\n\
         `aop config check` reads it all without starting a host.\n\n\
         | Key | Variable | Type | Default | Bounds | Meaning |\n|---|---|---|---|---|---|\n",
    );
    for (row, variable) in config::reference() {
        page.push_str(&cells(&[
            &code(&row.key),
            &code(&variable),
            &row.form,
            &code(&row.default),
            &row.bounds,
            &row.meaning,
        ]));
    }
    page.push_str(
        "\n## An agent: `NAME.toml` beside `NAME.wasm`\n\n\
         | Key | Type | Default | Bounds | Meaning |\n|---|---|---|---|---|\n",
    );
    for Row { key, form, default, bounds, meaning } in agent_reference() {
        page.push_str(&cells(&[&code(&key), &form, &code(&default), &bounds, &meaning]));
    }
    page
}

fn code(text: &str) -> String {
    match text {
        "" => String::new(),
        text if text.contains('`') => format!("`` {text} ``"),
        text => format!("`{text}`"),
    }
}

fn cells(cells: &[&str]) -> String {
    let escaped: Vec<_> =
        cells.iter().map(|cell| cell.replace('|', "\\|").replace('\n', " ")).collect();
    format!("| {} |\n", escaped.join(" | "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_has_a_row_for_every_key() {
        let page = reference();
        for expected in [
            "| `listen` | `AOP_LISTEN` | text |",
            "| `timeout` | duration | `\"30s\"` |",
            "| `compile.cpu` |",
        ] {
            assert!(page.contains(expected), "{expected}\n{page}");
        }
        let columns = |line: &str| line.replace("\\|", "").matches('|').count();
        for line in page.lines().filter(|line| line.starts_with('|')) {
            assert!(matches!(columns(line), 6 | 7), "{line}");
        }
    }

    #[tokio::test]
    async fn settings_of_agents_are_checked_too() {
        let directory = tempfile::tempdir().unwrap();
        let write =
            |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
        write("a.wasm", "");
        write("a.toml", "timout = \"3s\"\n");
        write("b.wasm", "");
        std::fs::create_dir(directory.path().join("b.toml")).unwrap();
        write("c.wasm", "");
        write("c.toml", "memroy = \"3MiB\"\n");
        write("other.toml", "[package]\n");
        let config = Config { agents: vec![directory.path().to_owned()], ..Config::default() };
        let message = check_agents(&config).await.unwrap_err().conclusion().0.unwrap();
        assert!(message.contains("a.toml: line 1: unknown key \"timout\""), "{message}");
        assert!(message.contains("could not be checked:\n"), "{message}");
        assert!(message.contains("b.toml: "), "{message}");
        assert!(message.contains("c.toml: line 1: unknown key \"memroy\""), "{message}");
        assert!(!message.contains("other.toml"), "{message}");
    }

    #[tokio::test]
    async fn to_check_settings_writes_nothing_into_the_data_directory() {
        let directory = tempfile::tempdir().unwrap();
        let (agents, data) = (directory.path().join("agents"), directory.path().join("data"));
        std::fs::create_dir(&agents).unwrap();
        std::fs::write(agents.join("a.wasm"), "no component").unwrap();
        std::fs::write(agents.join("a.toml"), "[tools.run]\ndescription = \"Runs.\"\n").unwrap();
        let config = Config { agents: vec![agents], data: Some(data.clone()), ..Config::default() };
        let message = check_agents(&config).await.unwrap_err().conclusion().0.unwrap();
        assert!(message.contains("a.toml: "), "{message}");
        assert!(!data.exists());
    }
}
