//! The key that a completion is sent with: that of the tenant whose agent asks, where it has one, else the host's.
//!
//! A tenant's is read for every completion, so that another one counts from the next on, and it is held no longer than
//! that takes.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use aop_core::model::ModelError;
use aop_core::{Secret, SecretError, SecretName, Secrets, TenantName};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use super::cover::{self, COVERED, Cover};
use super::{ModelProvider, UNUSABLE};

/// How often the operator is told that a tenant's key cannot be had: an agent may ask a thousand times a second.
const TOLD_PER_MINUTE: NonZeroU32 = NonZeroU32::MIN;

/// The same for that the host's key is used instead, which an operator may well want.
const INSTEAD_TOLD_PER_HOUR: NonZeroU32 = NonZeroU32::MIN;

/// Where keys come from.
pub(super) struct Keys {
    secrets: Arc<dyn Secrets>,
    told: DefaultKeyedRateLimiter<TenantName>,
    /// Apart, so that one never keeps the other from being told.
    instead_told: DefaultKeyedRateLimiter<TenantName>,
}

impl Keys {
    pub(super) fn of(secrets: Arc<dyn Secrets>) -> Self {
        Self {
            secrets,
            told: RateLimiter::keyed(Quota::per_minute(TOLD_PER_MINUTE)),
            instead_told: RateLimiter::keyed(Quota::per_hour(INSTEAD_TOLD_PER_HOUR)),
        }
    }

    /// The key for what an agent of a tenant asks a provider.
    ///
    /// # Errors
    /// [`ModelError::Denied`] where nobody has one, [`ModelError::Unavailable`] where it cannot be had. They are for the
    /// guest, which learns neither the secret's name nor what is wrong with it; the operator's log has both.
    pub(super) async fn find(
        &self,
        provider: &ModelProvider,
        tenant: &TenantName,
    ) -> Result<Key, ModelError> {
        let of_host = || Key { value: provider.key.clone(), of: None };
        let Some(name) = &provider.key_secret else { return Ok(of_host()) };
        let found = self.secrets.get(tenant, name).await;
        let set = format_args!("`aop secret set {name} --tenant {tenant}`");
        let of = format_args!("the model provider `{}`", provider.name);
        let unusable = || {
            ModelError::Unavailable(format!(
                "the key of the agent's tenant for {of} cannot be used: its operator sees why in the host's log"
            ))
        };
        let (why, error) = match found {
            Ok(value) if is_key(&value) => {
                return Ok(Key { value: Some(value), of: Some((tenant.clone(), name.clone())) });
            }
            Err(SecretError::Missing(_)) if provider.key.is_some() => {
                // It may also be on its way from another node.
                if self.instead_told.check_key(tenant).is_ok() {
                    let provider = &provider.name;
                    tracing::info!(
                        provider, %tenant, secret = %name,
                        "the host's key is used, because the tenant has none on this node: set it with {set}"
                    );
                }
                return Ok(of_host());
            }
            Err(SecretError::Missing(_)) => {
                let refusal = format!(
                    "the agent's tenant has no key for {of}: its operator sees in the host's log how to set one"
                );
                (format!("there is none: set it with {set}"), ModelError::Denied(refusal))
            }
            Ok(_) => (format!("{UNUSABLE}: set another one with {set}"), unusable()),
            Err(error) => (error.to_string(), unusable()),
        };
        if self.told.check_key(tenant).is_ok() {
            let provider = &provider.name;
            tracing::error!(provider, %tenant, secret = %name, why, "no key for the model provider");
        }
        Err(error)
    }

    /// Forgets the tenants that nobody was told about lately.
    pub(super) fn tidy(&self) {
        for told in [&self.told, &self.instead_told] {
            told.retain_recent();
            told.shrink_to_fit();
        }
    }
}

/// A key, and whose it is.
#[derive(Default)]
pub(super) struct Key {
    /// None for a server that asks for none.
    value: Option<Secret>,
    /// The tenant and its secret that it is; none for the host's own.
    of: Option<(TenantName, SecretName)>,
}

impl Key {
    pub(super) fn expose(&self) -> &str {
        self.value.as_ref().map(Secret::expose).unwrap_or_default()
    }

    /// What keeps it out of what agents read.
    pub(super) fn cover(&self) -> Cover {
        Cover::of(self.expose())
    }

    /// A text of the provider without it, however short it is.
    pub(super) fn hide_in(&self, text: &str) -> String {
        match self.expose() {
            "" => text.to_owned(),
            key => text.replace(&cover::in_json(key), COVERED).replace(key, COVERED),
        }
    }

    /// Whose it is, for the guest.
    pub(super) fn whose(&self) -> &'static str {
        if self.of.is_some() { "the key of the agent's tenant" } else { "this host's key" }
    }
}

/// For the operator.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.of {
            Some((tenant, name)) => write!(f, "`aop secret set {name} --tenant {tenant}`"),
            None => f.write_str("the host's own"),
        }
    }
}

/// Whether a text can be sent as a key. Servers strip blanks around a header's value, and what they repeat would then not be
/// the key that is looked for.
pub(super) fn is_key(text: &Secret) -> bool {
    let bytes = text.expose().as_bytes();
    !bytes.is_empty() && bytes.iter().all(u8::is_ascii_graphic)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        Key { value: Some(Secret::new(text.to_owned())), of: None }
    }

    #[test]
    fn a_key_is_what_servers_read_as_it_was_sent() {
        for (text, expected) in [
            ("sk-1", true),
            (r#"quoted"key\of"#, true),
            ("", false),
            (" ", false),
            (" sk-1", false),
            ("sk-1 ", false),
            ("sk-1\t", false),
            ("sk 1", false),
            ("sk-1\n", false),
            ("schlüssel", false),
        ] {
            assert_eq!(is_key(&Secret::new(text.to_owned())), expected, "{text:?}");
        }
    }

    #[test]
    fn a_key_is_hidden_as_it_is_and_as_json_writes_it() {
        let text = r#"quoted"key\of"#;
        let said = format!("{text} in {}", serde_json::json!({ "key": text }));
        assert_eq!(key(text).hide_in(&said), r#"[key] in {"key":"[key]"}"#);
        assert_eq!(key("sk").hide_in("it was sk"), "it was [key]");
        assert_eq!(Key::default().hide_in("it was sk"), "it was sk");
    }
}
