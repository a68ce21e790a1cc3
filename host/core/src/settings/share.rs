//! With whom an agent is shared.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::TenantName;

/// What stands for every tenant.
const EVERYONE: &str = "*";

/// Tenants that see and call an agent of another one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub enum Share {
    /// None.
    #[default]
    Nobody,
    /// These.
    With(BTreeSet<TenantName>),
    /// Every one, those that come later included.
    Everyone,
}

impl Share {
    /// Whether it is shared with none.
    #[must_use]
    pub const fn is_nobody(&self) -> bool {
        matches!(self, Self::Nobody)
    }

    /// Whether a tenant sees it.
    #[must_use]
    pub fn is_with(&self, tenant: &TenantName) -> bool {
        match self {
            Self::Nobody => false,
            Self::With(tenants) => tenants.contains(tenant),
            Self::Everyone => true,
        }
    }
}

impl TryFrom<Vec<String>> for Share {
    type Error = String;

    fn try_from(names: Vec<String>) -> Result<Self, String> {
        if names.iter().any(|name| name == EVERYONE) {
            return match names.len() {
                1 => Ok(Self::Everyone),
                _ => Err("`*` is every tenant: name none beside it".to_owned()),
            };
        }
        let tenants = names.iter().map(|name| TenantName::new(name)).collect::<Result<_, _>>();
        let tenants: BTreeSet<_> = tenants.map_err(|error| error.to_string())?;
        Ok(if tenants.is_empty() { Self::Nobody } else { Self::With(tenants) })
    }
}

impl From<Share> for Vec<String> {
    fn from(share: Share) -> Self {
        match share {
            Share::Nobody => Vec::new(),
            Share::With(tenants) => tenants.iter().map(ToString::to_string).collect(),
            Share::Everyone => vec![EVERYONE.to_owned()],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings;

    #[test]
    fn it_is_read_and_kept() {
        let tenant = |name: &str| TenantName::new(name).unwrap();
        let some = Settings::from_toml("share = [\"acme\", \"beta\"]\n").unwrap().share;
        assert!(some.is_with(&tenant("acme")) && !some.is_with(&tenant("other")));
        let all = Settings::from_toml("share = [\"*\"]\n").unwrap().share;
        assert!(all.is_with(&tenant("other")) && !all.is_nobody());
        for share in [Share::Nobody, some, all] {
            let kept = serde_json::to_string(&share).unwrap();
            assert_eq!(serde_json::from_str::<Share>(&kept).unwrap(), share, "{kept}");
        }
        for wrong in ["share = [\"*\", \"acme\"]", "share = [\"A b\"]", "share = [\"default/..\"]"]
        {
            assert!(Settings::from_toml(wrong).is_err(), "{wrong}");
        }
        assert!(Settings::from_toml("share = [\"acme\"]\n").unwrap().grant_anything());
    }
}
