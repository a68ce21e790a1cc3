//! The only place of the whole host that reads the environment.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::PathBuf;

/// What the host's own variables begin with.
pub(crate) const PREFIX: &str = "AOP_";
/// Names the configuration file.
pub(crate) const CONFIG: &str = "AOP_CONFIG";
/// Sets the level of the log; the host has a key of that name.
pub(crate) const LOG_LEVEL: &str = "AOP_LOG_LEVEL";
/// Names the host that client commands talk to.
pub(crate) const URL: &str = "AOP_URL";

/// The API key or access token that client commands use.
pub(crate) const KEY: &str = "AOP_KEY";
/// The key that secrets are encrypted with, where no file has it.
pub(crate) const SECRETS_KEY: &str = "AOP_SECRETS_KEY";

/// Users and passwords for registries, where no file has them.
pub(crate) const REGISTRY_CREDENTIALS: &str = "AOP_REGISTRY_CREDENTIALS";

/// The host's own variables that are no key of its configuration.
pub(crate) const OTHERS: [&str; 5] = [CONFIG, URL, KEY, SECRETS_KEY, REGISTRY_CREDENTIALS];

/// Users and passwords for registries.
pub(crate) fn registry_credentials() -> Option<String> {
    variable(REGISTRY_CREDENTIALS)?.into_string().ok().filter(|text| !text.trim().is_empty())
}

/// The key that secrets are encrypted with.
pub(crate) fn secrets_key() -> Option<String> {
    variable(SECRETS_KEY)?.into_string().ok().filter(|key| !key.trim().is_empty())
}

/// Every variable that may be the host's, as name and value. One that is not UTF-8 keeps its name
/// and gets a value that no setting accepts.
pub(crate) fn variables() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| {
            let name = name.into_string().ok().filter(|name| name.starts_with(PREFIX))?;
            Some((name, value.to_string_lossy().into_owned()))
        })
        .collect()
}

/// Every variable that is text, for what the configuration names. Not what opens the host itself. Agents see less:
/// `Outside::hide_from_agents`.
pub(crate) fn texts() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| ![KEY, SECRETS_KEY, REGISTRY_CREDENTIALS].contains(&name.as_str()))
        .collect()
}

/// Whether colours are unwanted (the `NO_COLOR` convention).
pub(crate) fn refuses_colour() -> bool {
    variable("NO_COLOR").is_some_and(|value| !value.is_empty())
        || variable("TERM").is_some_and(|term| term == "dumb")
}

/// The package that cargo runs, when it runs this binary.
pub(crate) fn cargo_manifest_directory() -> Option<PathBuf> {
    variable("CARGO_MANIFEST_DIR").map(PathBuf::from)
}

/// The cargo to build with: the one that runs this binary, else the one in `PATH`.
pub(crate) fn cargo() -> PathBuf {
    variable("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from)
}

/// Where programs are looked for.
pub(crate) fn search_path() -> Vec<PathBuf> {
    variable("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default()
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
fn variable(name: impl AsRef<OsStr>) -> Option<std::ffi::OsString> {
    std::env::var_os(name)
}
