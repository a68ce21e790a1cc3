//! Authentication for a host without identities.

use aop_core::{Authenticate, AuthenticateError, Caller, TenantName};

/// Everybody is a caller of the tenant `default`; there is no other tenant.
#[derive(Debug, Clone)]
pub struct Open {
    tenant: TenantName,
}

impl Open {
    /// Authentication that asks for no credential.
    #[must_use]
    pub fn new() -> Self {
        Self { tenant: TenantName::default_tenant() }
    }
}

impl Default for Open {
    fn default() -> Self {
        Self::new()
    }
}

impl Authenticate for Open {
    fn authenticate(&self, tenant: Option<&str>) -> Result<Caller, AuthenticateError> {
        if tenant.is_none_or(|named| named == self.tenant.as_str()) {
            Ok(Caller::local(self.tenant.clone()))
        } else {
            Err(AuthenticateError::UnknownTenant)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_is_the_default_tenant_however_it_is_named() {
        let expected = Ok(Caller::local(TenantName::default_tenant()));
        assert_eq!(Open::new().authenticate(None), expected);
        assert_eq!(Open::new().authenticate(Some("default")), expected);
    }

    #[test]
    fn no_other_tenant_exists() {
        for tenant in ["", "acme", "Default", "default/..", "default "] {
            assert_eq!(
                Open::new().authenticate(Some(tenant)),
                Err(AuthenticateError::UnknownTenant),
                "{tenant:?}"
            );
        }
    }
}
