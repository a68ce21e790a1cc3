//! Headers that a policy adds to a request, with the secrets of the agent's tenant in them.

use aop_core::egress::EgressError;
use aop_core::policy::http_grant::{InjectedHeader, Piece};
use aop_core::{Secret, Secrets, TenantName};
use http::header::{ACCEPT_ENCODING, IF_RANGE, RANGE};
use http::{HeaderMap, HeaderName, HeaderValue};

/// Headers that are ready to be sent, and the secrets in them.
#[derive(Default)]
pub(super) struct Injected {
    headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) secrets: Vec<Secret>,
}

impl Injected {
    /// Fetches what the headers of a grant need.
    ///
    /// # Errors
    /// [`EgressError::Header`] with the name of a secret that cannot be had.
    pub(super) async fn fetch(
        headers: &[InjectedHeader],
        secrets: &dyn Secrets,
        tenant: &TenantName,
    ) -> Result<Self, EgressError> {
        let mut injected = Self::default();
        for InjectedHeader { name, value } in headers {
            let mut text = zeroize::Zeroizing::new(String::new());
            for piece in value.pieces() {
                match piece {
                    Piece::Text(plain) => text.push_str(plain),
                    Piece::Secret(name) => {
                        let secret = secrets.get(tenant, name).await;
                        let secret =
                            secret.map_err(|error| EgressError::Header(error.to_string()))?;
                        text.push_str(secret.expose());
                        injected.secrets.push(secret);
                    }
                }
            }
            let mut value = HeaderValue::from_str(&text).map_err(|_| {
                EgressError::Header(format!(
                    "the secret in the header `{name}` has characters that no header may have"
                ))
            })?;
            value.set_sensitive(true);
            injected.headers.push((name.clone(), value));
        }
        Ok(injected)
    }

    /// Puts them in the place of whatever the guest wrote.
    pub(super) fn apply(self, headers: &mut HeaderMap) {
        if !self.secrets.is_empty() {
            // What comes back compressed could not be searched for them.
            headers.remove(ACCEPT_ENCODING);
            // What comes back in parts could have half of one in each.
            headers.remove(RANGE);
            headers.remove(IF_RANGE);
        }
        for (name, value) in self.headers {
            headers.insert(name, value);
        }
    }
}
