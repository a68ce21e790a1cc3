//! The host's configuration: flags over environment over file over defaults, read once into one
//! [`Config`]. No other crate reads any of the three.
//!
//! What may be said, within which bounds and why is declared in [`keys`]. The environment variable
//! of a key is its path in capitals: `mcp.page_size` is `AOP_MCP_PAGE_SIZE`.

mod access;
mod cluster;
mod keys;
mod policy;
mod quota;
mod runtime;
mod servers;
mod services;
mod supply;
mod tenants;
#[cfg(test)]
mod tests;
mod zone;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use aop_access::audit::AuditConfig;
use aop_core::TenantName;
use aop_core::settings::Lines;
use aop_core::settings::keys::{Document, Form, Row, leaves, nearest, reference as rows_of};
use aop_mcp::McpConfig;
use aop_registry::RegistryConfig;
use aop_runtime::{CompileLimits, HandleBounds, RuntimeConfig};
use aop_web::{ServerConfig, UPLOAD_MAX_BYTES};

use crate::args::ServeArgs;
use crate::exit::{CommandError, usage};
use crate::{arguments, environment};
pub(crate) use access::AccessSettings;
pub(crate) use cluster::ClusterConfig;
use keys::KEYS;
pub(crate) use quota::QuotaConfig;
pub(crate) use servers::Server;
#[cfg(test)]
pub(crate) use services::Provider;
pub(crate) use services::{ServicesConfig, StateDatabase};
pub(crate) use supply::SupplySettings;
use tenants::TenantsSettings;
pub(crate) use zone::{Reach, ZoneConfig};

/// The file that is read when nobody names one.
const DEFAULT_FILE: &str = "aop.toml";
/// The default of `server_name`, also the directory below the platform's data directory.
const DEFAULT_NAME: &str = "aop";
/// The default of `listen`: this machine only.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8000);
/// The default of `drain_grace`: as long as the default timeout of a call, within the 90 s that
/// service managers give a process to stop.
const DEFAULT_DRAIN_GRACE: Duration = Duration::from_secs(30);

/// Everything a host can be told.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) listen: SocketAddr,
    pub(crate) agents: Vec<PathBuf>,
    /// None is the platform's data directory.
    pub(crate) data: Option<PathBuf>,
    pub(crate) server_name: String,
    pub(crate) log_level: String,
    pub(crate) log_format: LogFormat,
    pub(crate) allow_unauthenticated: bool,
    pub(crate) drain_grace: Duration,
    pub(crate) mcp: McpConfig,
    pub(crate) web: Web,
    pub(crate) registry: RegistryConfig,
    pub(crate) instances_max: u32,
    pub(crate) handles: HandleBounds,
    pub(crate) cache_max_bytes: u64,
    pub(crate) compile: CompileLimits,
    pub(crate) services: ServicesConfig,
    pub(crate) audit: AuditConfig,
    pub(crate) cluster: ClusterConfig,
    pub(crate) zone: ZoneConfig,
    pub(crate) quota: QuotaConfig,
    pub(crate) access: AccessSettings,
    pub(crate) tenants: TenantsSettings,
    pub(crate) supply: SupplySettings,
    /// What the file says, by the path of each key: what is declared by name has no key of its own to be compared by.
    pub(crate) written: BTreeMap<String, toml::Value>,
}

/// The part of the configuration that is about HTTP.
#[derive(Debug, Clone)]
pub(crate) struct Web {
    pub(crate) allowed_hosts: Vec<String>,
    pub(crate) allowed_origins: Vec<String>,
    pub(crate) server: ServerConfig,
    pub(crate) upload_max_bytes: usize,
    pub(crate) uploads_may_grant: bool,
}

/// How logs look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// Human on a terminal, JSON otherwise.
    Auto,
    Human,
    Json,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: DEFAULT_LISTEN,
            agents: Vec::new(),
            data: None,
            server_name: DEFAULT_NAME.to_owned(),
            log_level: "info".to_owned(),
            log_format: LogFormat::Auto,
            allow_unauthenticated: false,
            drain_grace: DEFAULT_DRAIN_GRACE,
            mcp: McpConfig::default(),
            web: Web {
                allowed_hosts: Vec::new(),
                allowed_origins: Vec::new(),
                server: ServerConfig::default(),
                upload_max_bytes: UPLOAD_MAX_BYTES,
                uploads_may_grant: false,
            },
            registry: RegistryConfig::new(PathBuf::new(), Vec::new()),
            instances_max: RuntimeConfig::INSTANCES_MAX,
            handles: HandleBounds::default(),
            cache_max_bytes: RuntimeConfig::CACHE_MAX_BYTES,
            compile: CompileLimits::default(),
            services: ServicesConfig::default(),
            audit: AuditConfig::default(),
            cluster: ClusterConfig::default(),
            zone: ZoneConfig::default(),
            quota: QuotaConfig::default(),
            access: AccessSettings::default(),
            tenants: TenantsSettings::new(),
            supply: SupplySettings::default(),
            written: BTreeMap::new(),
        }
    }
}

/// Every mistake of every source, each with its place.
#[derive(Debug)]
pub(crate) struct Mistakes(Vec<String>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration has mistakes:")?;
        self.0.iter().try_for_each(|mistake| write!(f, "\n  {mistake}"))
    }
}

impl std::error::Error for Mistakes {}

/// What the command line says.
#[derive(Debug, Clone, Default)]
pub(crate) struct Flags {
    agents: Vec<PathBuf>,
    data: Option<PathBuf>,
    allow_unauthenticated: bool,
    join: Vec<String>,
    token: Option<String>,
    /// A key, the flag that sets it, and the text.
    texts: Vec<(&'static str, &'static str, String)>,
}

impl Flags {
    pub(crate) fn new(args: &ServeArgs) -> Self {
        let texts = [
            ("listen", "--listen", &args.listen),
            ("log_format", "--log-format", &args.log_format),
            ("log_level", "--log-level", &args.log_level),
            ("server_name", "--server-name", &args.server_name),
        ];
        Self {
            agents: args.agents.clone(),
            data: args.data.clone(),
            allow_unauthenticated: args.allow_unauthenticated,
            join: args.join.clone(),
            token: args.token.clone(),
            texts: texts
                .into_iter()
                .filter_map(|(key, flag, text)| Some((key, flag, text.clone()?)))
                .collect(),
        }
    }
}

/// A configuration file as it was found.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) path: PathBuf,
    text: String,
}

impl File {
    /// The file that was named by flag or environment, else `aop.toml` when there is one.
    pub(crate) fn find(named: Option<&Path>) -> Result<Option<Self>, CommandError> {
        Self::find_in(Path::new(""), named)
    }

    /// The same, with `aop.toml` in another directory than this.
    pub(crate) fn find_in(
        directory: &Path,
        named: Option<&Path>,
    ) -> Result<Option<Self>, CommandError> {
        let default = directory.join(DEFAULT_FILE);
        let from_environment =
            environment::variables().into_iter().find(|(name, _)| name == environment::CONFIG);
        let path = match (named, from_environment) {
            (Some(path), _) => path.to_owned(),
            (None, Some((_, path))) => PathBuf::from(path),
            (None, None) if default.is_file() => default,
            (None, None) => return Ok(None),
        };
        let text = arguments::read_file(&path)?;
        Ok(Some(Self { path, text }))
    }
}

impl Config {
    /// Reads every source.
    pub(crate) fn load(file: Option<&File>, flags: &Flags) -> Result<Self, CommandError> {
        Self::combine(file, &environment::variables(), flags).map_err(usage)
    }

    /// Flags over environment over file over defaults. Reports the mistakes of all of them.
    fn combine(
        file: Option<&File>,
        variables: &[(String, String)],
        flags: &Flags,
    ) -> Result<Self, Mistakes> {
        let mut config = Self::default();
        let mut mistakes = Vec::new();
        if let Some(file) = file {
            config.apply_file(file, &mut mistakes);
        }
        config.apply_environment(variables, &mut mistakes);
        config.apply_flags(flags, &mut mistakes);
        mistakes.extend(config.zones_differ());
        mistakes.extend(config.zone.elsewhere());
        if mistakes.is_empty() { Ok(config.consistent()) } else { Err(Mistakes(mistakes)) }
    }

    /// The hosts of a zone and what other zones call it are one zone, with one name.
    fn zones_differ(&self) -> Option<String> {
        let (hosts, name) = (self.cluster.zone()?, self.zone.name.as_ref()?);
        (hosts != name).then(|| {
            format!(
                "`zone` of [cluster] is {hosts} and `name` of [zone] is {name}: they name the same zone; write the same name, or leave `zone` of [cluster] out of hosts that are in their zone already"
            )
        })
    }

    fn apply_file(&mut self, file: &File, mistakes: &mut Vec<String>) {
        let found = match Document::parse(&file.text) {
            Ok(document) => document.read(KEYS, self),
            Err(found) => found,
        };
        if let Ok(table) = file.text.parse() {
            flatten("", &table, &mut self.written);
        }
        let path = file.path.display();
        policy::place(&mut self.registry.ceilings, &path.to_string(), &Lines::in_text(&file.text));
        mistakes.extend(found.iter().map(|mistake| format!("{path}: {mistake}")));
        // Paths in a file are relative to it, wherever the host is started.
        let directory = file.path.parent().unwrap_or_else(|| Path::new(""));
        let key_file = &mut self.access.secrets_key_file;
        let supply = self.supply.credentials_file.iter_mut().chain(&mut self.supply.trusted_root);
        let of_tenants = self.tenants.values_mut().flat_map(|tenant| &mut tenant.agents);
        let of_database = self.services.state_database.password_file.as_mut();
        let of_servers =
            self.cluster.servers.iter_mut().filter_map(|server| server.directory.as_mut());
        let own = self.agents.iter_mut().chain(&mut self.data).chain(key_file).chain(supply);
        for path in own.chain(of_tenants).chain(of_servers).chain(of_database) {
            *path = directory.join(&*path);
        }
    }

    fn apply_environment(&mut self, variables: &[(String, String)], mistakes: &mut Vec<String>) {
        let known: Vec<_> =
            leaves(KEYS).into_iter().map(|(path, key)| (variable_of(&path), key)).collect();
        let others = environment::OTHERS;
        for (name, text) in variables {
            if let Some((_, key)) = known.iter().find(|(known, _)| known == name) {
                if let Err(message) = key.set_text(self, text) {
                    mistakes.push(format!("{name}: {message}"));
                }
            } else if !others.contains(&name.as_str())
                // Others may own such names too: Kubernetes sets AOP_PORT for a service called aop.
                && let Some(meant) = nearest(name, known.iter().map(|(known, _)| known.as_str()))
                && !is_of_kubernetes(name)
            {
                mistakes.push(format!("{name}: unknown variable, did you mean {meant}?"));
            }
        }
    }

    fn apply_flags(&mut self, flags: &Flags, mistakes: &mut Vec<String>) {
        for (path, flag, text) in &flags.texts {
            let key = KEYS.iter().find(|key| key.name == *path);
            if let Some(Err(message)) = key.map(|key| key.set_text(self, text)) {
                mistakes.push(format!("{flag}: {message}"));
            }
        }
        if !flags.agents.is_empty() {
            self.agents.clone_from(&flags.agents);
        }
        if let Some(data) = &flags.data {
            self.data = Some(data.clone());
        }
        self.allow_unauthenticated |= flags.allow_unauthenticated;
        if !flags.join.is_empty()
            && let Err(message) = self.cluster.set_join(flags.join.clone())
        {
            mistakes.push(format!("--join: {message}"));
        }
        if let Some(token) = &flags.token {
            self.cluster.token = Some(token.clone());
        }
    }

    /// Says in the parts what is said once in the whole.
    pub(crate) fn consistent(mut self) -> Self {
        self.mcp.server_name.clone_from(&self.server_name);
        self.registry.component_max_bytes = self.compile.component_max_bytes;
        let of_tenants =
            self.tenants.iter().map(|(name, tenant)| (name.clone(), tenant.agents.clone()));
        let default = (TenantName::default_tenant(), self.agents.clone());
        self.registry.agent_dirs = of_tenants.chain([default]).collect();
        self
    }

    /// The data directory: the configured one, else the platform's.
    pub(crate) fn data_directory(&self) -> anyhow::Result<PathBuf> {
        self.data.clone().map_or_else(platform_data_directory, Ok)
    }

    /// The keys whose values differ, with the value in `other`.
    pub(crate) fn differences(&self, other: &Self) -> Vec<(String, String)> {
        leaves(KEYS)
            .into_iter()
            .filter(|(_, key)| key.show(self) != key.show(other))
            .map(|(path, key)| (path, key.show(other)))
            .collect()
    }

    /// Whether a key of that path can be shown.
    pub(crate) fn has_key(&self, path: &str) -> bool {
        leaves::<Self>(KEYS).iter().any(|(known, _)| known == path)
    }

    /// What was done to keys of the file that changed: `added`, `changed` or `removed`.
    pub(crate) fn rewritten(&self, other: &Self) -> BTreeMap<String, &'static str> {
        let keys = self.written.keys().chain(other.written.keys());
        let done = keys.filter_map(|key| {
            let done = match (self.written.get(key), other.written.get(key)) {
                (Some(old), Some(new)) if old == new => return None,
                (Some(_), Some(_)) => "changed",
                (None, _) => "added",
                (_, None) => "removed",
            };
            Some((key.clone(), done))
        });
        done.collect()
    }
}

/// Every value of a table by its path.
fn flatten(path: &str, table: &toml::Table, into: &mut BTreeMap<String, toml::Value>) {
    for (name, value) in table {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match value {
            toml::Value::Table(table) if !table.is_empty() => flatten(&path, table, into),
            value => drop(into.insert(path, value.clone())),
        }
    }
}

/// Where data goes when nobody says.
pub(crate) fn platform_data_directory() -> anyhow::Result<PathBuf> {
    use etcetera::BaseStrategy as _;
    let strategy = etcetera::choose_base_strategy()
        .context("cannot find the platform's data directory: name one with --data")?;
    Ok(strategy.data_dir().join(DEFAULT_NAME))
}

/// The environment variable of a key.
fn variable_of(path: &str) -> String {
    format!("{}{}", environment::PREFIX, path.replace('.', "_").to_uppercase())
}

fn is_of_kubernetes(name: &str) -> bool {
    name.contains("_SERVICE_") || name.contains("_PORT")
}

/// Every key of `aop.toml` with its environment variable; empty for those below a name that the operator
/// chooses, which only a file can set.
pub(crate) fn reference() -> Vec<(Row, String)> {
    // No variable holds a list of tables.
    let texts = leaves(KEYS).into_iter().filter(|(_, key)| !matches!(key.form, Form::Items { .. }));
    let names: BTreeSet<_> = texts.map(|(path, _)| path).collect();
    rows_of(KEYS)
        .into_iter()
        .map(|row| {
            let variable =
                if names.contains(&row.key) { variable_of(&row.key) } else { String::new() };
            (row, variable)
        })
        .collect()
}
