//! The keys of `[quota]`: what tenants and the node may use. What an agent may use is in its own settings, with the same
//! keys.

use std::collections::BTreeMap;

use aop_core::quota::Quota;
use aop_core::settings::keys::{Entries, Form, Key, Row, reference};
use aop_core::{TenantName, quota_key};

use super::Config;

/// Tenants with a quota of their own in a file; more belong into the store.
const TENANTS_MAX: usize = 1024;

/// What the components of a tenant may take as files, unless it is said: sixty-four of the largest, or thousands of common
/// ones. Nothing else bounds what uploads leave on the disk.
const COMPONENTS_DEFAULT_BYTES: u64 = 4 << 30;

/// What tenants and the node may use.
#[derive(Debug, Clone)]
pub(crate) struct QuotaConfig {
    /// A tenant that has none of its own.
    pub(crate) tenant: Quota,
    /// Tenants that have, with what those without say for whatever they do not say.
    pub(crate) tenants: BTreeMap<TenantName, Quota>,
    /// All of them together.
    pub(crate) node: Quota,
}

impl Default for QuotaConfig {
    fn default() -> Self {
        let components_max_bytes = Some(COMPONENTS_DEFAULT_BYTES);
        Self {
            tenant: Quota { components_max_bytes, ..Quota::default() },
            tenants: BTreeMap::new(),
            node: Quota::default(),
        }
    }
}

pub(super) static QUOTA_KEYS: &[Key<Config>] = &[
    Key::section("tenant", "What each tenant may use.", TENANT_KEYS),
    Key {
        name: "tenants",
        meaning: "What one tenant may use.",
        form: Form::Open {
            placeholder: "<tenant>",
            entries_max: TENANTS_MAX,
            read: read_tenants,
            rows: || -> Vec<Row> { reference(ONE_TENANT_KEYS) },
        },
    },
    Key::section("node", "What all tenants may use together.", NODE_KEYS),
];

static TENANT_KEYS: &[Key<Config>] = &[
    quota_key!(calls_per_second, |config| config.quota.tenant),
    quota_key!(burst, |config| config.quota.tenant),
    quota_key!(concurrency, |config| config.quota.tenant),
    quota_key!(queue, |config| config.quota.tenant),
    quota_key!(queue_wait, |config| config.quota.tenant),
    quota_key!(memory, |config| config.quota.tenant),
    quota_key!(cpu_per_minute, |config| config.quota.tenant),
    quota_key!(code, |config| config.quota.tenant),
    quota_key!(stored, |config| config.quota.tenant),
    quota_key!(components, |config| config.quota.tenant),
    quota_key!(egress_per_hour, |config| config.quota.tenant),
    quota_key!(tokens_per_day, |config| config.quota.tenant),
    quota_key!(weight, |config| config.quota.tenant),
];

/// The same for a table of its own.
static ONE_TENANT_KEYS: &[Key<Quota>] = &[
    quota_key!(calls_per_second, |quota| quota),
    quota_key!(burst, |quota| quota),
    quota_key!(concurrency, |quota| quota),
    quota_key!(queue, |quota| quota),
    quota_key!(queue_wait, |quota| quota),
    quota_key!(memory, |quota| quota),
    quota_key!(cpu_per_minute, |quota| quota),
    quota_key!(code, |quota| quota),
    quota_key!(stored, |quota| quota),
    quota_key!(components, |quota| quota),
    quota_key!(egress_per_hour, |quota| quota),
    quota_key!(tokens_per_day, |quota| quota),
    quota_key!(weight, |quota| quota),
];

static NODE_KEYS: &[Key<Config>] = &[
    quota_key!(calls_per_second, |config| config.quota.node),
    quota_key!(burst, |config| config.quota.node),
    quota_key!(concurrency, |config| config.quota.node),
    quota_key!(queue, |config| config.quota.node),
    quota_key!(queue_wait, |config| config.quota.node),
    quota_key!(memory, |config| config.quota.node),
    quota_key!(cpu_per_minute, |config| config.quota.node),
    quota_key!(egress_per_hour, |config| config.quota.node),
];

/// Tables are read in the order of their names, so `[quota.tenant]` is known here.
fn read_tenants(config: &mut Config, entries: &mut Entries<'_, '_>) {
    entries.each(|name, mut entry| {
        let tenant = TenantName::new(name).map_err(|error| error.to_string())?;
        let mut quota = config.quota.tenant.clone();
        entry.read(ONE_TENANT_KEYS, &mut quota);
        config.quota.tenants.insert(tenant, quota);
        Ok(())
    });
}
