//! The keys of `[tenants.NAME]`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use aop_core::TenantName;
use aop_core::settings::keys::{Entries, Form, Key, Row, reference};

use super::Config;

/// Tenants with settings of their own; more are created over the API.
const TENANTS_MAX: usize = 1_000;
/// Directories of one tenant.
const DIRECTORIES_MAX: usize = 256;

/// What the configuration says of one tenant.
#[derive(Debug, Clone, Default)]
pub(crate) struct TenantSettings {
    pub(crate) agents: Vec<PathBuf>,
}

pub(super) const TENANTS_KEY: Key<Config> = Key {
    name: "tenants",
    meaning: "Tenants with directories of their own.",
    form: Form::Open { placeholder: "<tenant>", entries_max: TENANTS_MAX, read, rows },
};

/// By name.
pub(crate) type TenantsSettings = BTreeMap<TenantName, TenantSettings>;

static TENANT_KEYS: &[Key<TenantSettings>] = &[Key {
    name: "agents",
    meaning: "Directories of components that are this tenant's, each watched. The tenant is created. In a file they are relative to it.",
    form: Form::Texts {
        count_max: DIRECTORIES_MAX,
        get: |tenant| tenant.agents.iter().map(|path| path.display().to_string()).collect(),
        set: |tenant, paths| {
            tenant.agents = paths.into_iter().map(PathBuf::from).collect();
            Ok(())
        },
    },
}];

fn rows() -> Vec<Row> {
    reference(TENANT_KEYS)
}

fn read(config: &mut Config, entries: &mut Entries<'_, '_>) {
    entries.each(|name, mut entry| {
        let tenant = TenantName::new(name).map_err(|error| error.to_string())?;
        if tenant == TenantName::default_tenant() {
            return Err(
                "the agents of `default` are in `agents` above the first `[table]`".to_owned()
            );
        }
        let mut settings = TenantSettings::default();
        entry.read(TENANT_KEYS, &mut settings);
        config.tenants.insert(tenant, settings);
        Ok(())
    });
}
