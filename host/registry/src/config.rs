//! What the registry may use, and how patient it is.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use aop_core::TenantName;
use aop_core::policy::Ceilings;

/// Settings of the registry. [`RegistryConfig::new`] has the defaults.
#[derive(Debug, Clone)]
pub struct RegistryConfig {
    /// Where components are kept, in `components/`. The store's lock guards it.
    pub data_dir: PathBuf,
    /// Directories of `NAME.wasm` with an optional `NAME.toml`, by the tenant whose agents they hold. Of two with the
    /// same agent, the first wins. They need not exist yet.
    pub agent_dirs: BTreeMap<TenantName, Vec<PathBuf>>,
    /// What agents may have at most.
    pub ceilings: Ceilings,
    /// The model providers of the host, each with the variable of the environment that it cannot be asked without, where
    /// that is not set. None where nobody knows them, and settings may name any.
    pub model_providers: Option<BTreeMap<String, Option<String>>>,
    /// The largest component that is read. Default 64 MiB: three times the largest that any
    /// language makes today (Python, 18 MB), and what one load may hold in memory.
    pub component_max_bytes: u64,
    /// The largest `NAME.toml` that is read. Default 256 KiB: a thousand tools with a description
    /// each.
    pub settings_max_bytes: u64,
    /// Agents at once, of all tenants, from files and the API together. Default 20,000: a loaded agent takes about
    /// 100 KiB, so these fill 2 GB.
    pub agents_max: usize,
    /// Agents that are prepared at once. Default 64: most of them wait for the compiler, which takes
    /// one at a time, and must not keep those from loading that are compiled already.
    pub prepares_max: usize,
    /// How long a file must stay as it is before it is read, so that a half-written one is not.
    /// Default 100 ms: a copy that pauses longer is read again when it goes on.
    pub settle: Duration,
    /// How often the directories are read although the operating system reported nothing. Default
    /// 3 s: it does not report everything (network file systems, symbolic links, overflow).
    pub rescan: Duration,
    /// How long after a failure of the host itself (not of the component) a file is tried again.
    /// Default 10 s: a full disk does not empty faster.
    pub retry_after_host_failure: Duration,
}

impl RegistryConfig {
    /// The defaults for a data directory and directories of the agents of `default`.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>, agent_dirs: Vec<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            agent_dirs: [(TenantName::default_tenant(), agent_dirs)].into(),
            ceilings: Ceilings::default(),
            model_providers: None,
            component_max_bytes: 64 << 20,
            settings_max_bytes: 256 << 10,
            agents_max: 20_000,
            prepares_max: 64,
            settle: Duration::from_millis(100),
            rescan: Duration::from_secs(3),
            retry_after_host_failure: Duration::from_secs(10),
        }
    }
}
