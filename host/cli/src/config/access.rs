//! The keys of `[access]`: who may call.

use std::collections::BTreeMap;
use std::path::PathBuf;

use aop_access::{ALGORITHMS, IssuerConfig, TenantRule, check_url};
use aop_core::settings::keys::{Entries, Form, Key, Row, reference};
use aop_core::{Scopes, TenantName};

use super::Config;

/// Issuers of one host.
const ISSUERS_MAX: usize = 32;
/// Entries of a list.
const LIST_MAX: usize = 256;
/// Longest URL or path.
const TEXT_CHARS_MAX: usize = 2048;
/// Longest name of a claim.
const CLAIM_CHARS_MAX: usize = 256;

/// Who may call.
#[derive(Debug, Clone, Default)]
pub(crate) struct AccessSettings {
    pub(crate) required: bool,
    pub(crate) public_url: Option<String>,
    pub(crate) secrets_key_file: Option<PathBuf>,
    pub(crate) issuers: BTreeMap<String, IssuerConfig>,
}

pub(super) static ACCESS_KEYS: &[Key<Config>] = &[
    Key::flag(
        "required",
        "Ask every caller for a credential although there is no key and no issuer yet. With one of those, callers are asked anyway.",
        |config| Some(config.access.required),
        |config, flag| config.access.required = flag,
    ),
    Key {
        name: "public_url",
        meaning: "What the host's URL begins with where clients see it, such as `https://aop.example.com` behind a proxy. Clients that want a token are told so. Without it, `http://` and the host that a request names.",
        form: Form::Text {
            chars_max: TEXT_CHARS_MAX,
            get: |config| config.access.public_url.clone(),
            set: |config, text| {
                let is_url = text.starts_with("https://") || text.starts_with("http://");
                let is_plain =
                    !text.contains(['"', '?', '#']) && text.chars().all(|c| c.is_ascii_graphic());
                if !is_url || !is_plain {
                    return Err(format!(
                        "`{text}` is not a URL: write it like `https://aop.example.com`"
                    ));
                }
                config.access.public_url = Some(text.to_owned());
                Ok(())
            },
        },
    },
    Key {
        name: "secrets_key_file",
        meaning: "The file with the key that secrets are encrypted with: 64 hexadecimal digits, as `openssl rand -hex 32` makes them. Further lines are older keys, which still decrypt. Without it, the variable `AOP_SECRETS_KEY`, and without that no secret can be set. In a file it is relative to it.",
        form: Form::Text {
            chars_max: TEXT_CHARS_MAX,
            get: |config| {
                config.access.secrets_key_file.as_ref().map(|path| path.display().to_string())
            },
            set: |config, text| {
                config.access.secrets_key_file = Some(PathBuf::from(text));
                Ok(())
            },
        },
    },
    Key {
        name: "issuers",
        meaning: "Whose access tokens are believed.",
        form: Form::Open {
            placeholder: "<issuer>",
            entries_max: ISSUERS_MAX,
            read: read_issuers,
            rows: || -> Vec<Row> { reference(ISSUER_KEYS) },
        },
    },
];

/// An issuer while it is read.
#[derive(Default)]
struct Draft {
    issuer: Option<String>,
    audience: Vec<String>,
    jwks_url: Option<String>,
    algorithms: Vec<String>,
    tenant: Option<TenantName>,
    tenant_claim: Option<String>,
    scope_claim: Option<String>,
    scopes: BTreeMap<String, Scopes>,
    grant: Scopes,
}

static ISSUER_KEYS: &[Key<Draft>] = &[
    Key {
        name: "issuer",
        meaning: "The issuer, exactly as its tokens name it (`iss`). Must be given.",
        form: Form::Text {
            chars_max: TEXT_CHARS_MAX,
            get: |draft| draft.issuer.clone(),
            set: |draft, text| {
                check_url(text)?;
                draft.issuer = Some(text.to_owned());
                Ok(())
            },
        },
    },
    Key {
        name: "audience",
        meaning: "What tokens must be meant for (`aud`), one of these: usually this host's URL with `/mcp`. Must be given.",
        form: Form::Texts {
            count_max: LIST_MAX,
            get: |draft| draft.audience.clone(),
            set: |draft, audience| {
                draft.audience = audience;
                Ok(())
            },
        },
    },
    Key {
        name: "jwks_url",
        meaning: "Where its public keys are. Without it, where its metadata says.",
        form: Form::Text {
            chars_max: TEXT_CHARS_MAX,
            get: |draft| draft.jwks_url.clone(),
            set: |draft, text| {
                check_url(text)?;
                draft.jwks_url = Some(text.to_owned());
                Ok(())
            },
        },
    },
    Key {
        name: "algorithms",
        meaning: "How its tokens may be signed, some of `RS256`, `RS384`, `RS512`, `PS256`, `PS384`, `PS512`, `ES256`, `ES384` and `EdDSA`. Without it, all of these.",
        form: Form::Texts {
            count_max: ALGORITHMS.len(),
            get: |draft| draft.algorithms.clone(),
            set: |draft, algorithms| match algorithms
                .iter()
                .find(|name| !ALGORITHMS.contains(&name.as_str()))
            {
                Some(other) => Err(format!("`{other}` is none of {}", ALGORITHMS.join(", "))),
                None => {
                    draft.algorithms = algorithms;
                    Ok(())
                }
            },
        },
    },
    Key {
        name: "tenant",
        meaning: "The tenant that its tokens speak for. Without it and `tenant_claim`, `default`.",
        form: Form::Text {
            chars_max: 63,
            get: |draft| draft.tenant.as_ref().map(ToString::to_string),
            set: |draft, text| {
                draft.tenant = Some(TenantName::new(text).map_err(|error| error.to_string())?);
                Ok(())
            },
        },
    },
    Key {
        name: "tenant_claim",
        meaning: "The claim that names the tenant; a dot leads into an object. Tokens that name none, or one that does not exist, are refused.",
        form: Form::Text {
            chars_max: CLAIM_CHARS_MAX,
            get: |draft| draft.tenant_claim.clone(),
            set: |draft, text| {
                draft.tenant_claim = Some(text.to_owned());
                Ok(())
            },
        },
    },
    Key {
        name: "scope_claim",
        meaning: "The claim that holds the scopes, text with spaces or a list; a dot leads into an object. Without it, `scope`.",
        form: Form::Text {
            chars_max: CLAIM_CHARS_MAX,
            get: |draft| draft.scope_claim.clone(),
            set: |draft, text| {
                draft.scope_claim = Some(text.to_owned());
                Ok(())
            },
        },
    },
    Key {
        name: "scopes",
        meaning: "What the values of that claim mean, each as `value=scope scope`, such as `admins=tenant:admin agents:write`. Without it, `tools:call` to `tenant:admin` mean themselves; `cluster:admin` is only ever mapped.",
        form: Form::Texts {
            count_max: LIST_MAX,
            get: |draft| {
                draft.scopes.iter().map(|(value, scopes)| format!("{value}={scopes}")).collect()
            },
            set: |draft, entries| {
                for entry in entries {
                    // A value may hold `=`, a scope cannot.
                    let (value, scopes) = entry.rsplit_once('=').ok_or_else(|| {
                        format!("`{entry}` is not a mapping: write it like `admins=tenant:admin`")
                    })?;
                    draft.scopes.insert(value.trim().to_owned(), parse_scopes(scopes)?);
                }
                Ok(())
            },
        },
    },
    Key {
        name: "grant",
        meaning: "Scopes that every token of it has besides, such as `tools:call` and `tools:list` of an issuer that knows no scopes.",
        form: Form::Texts {
            count_max: aop_core::Scope::ALL.len(),
            get: |draft| draft.grant.iter().map(|scope| scope.to_string()).collect(),
            set: |draft, scopes| {
                draft.grant = parse_scopes(&scopes.join(" "))?;
                Ok(())
            },
        },
    },
];

fn parse_scopes(text: &str) -> Result<Scopes, String> {
    let scopes = text.split_whitespace().map(str::parse).collect::<Result<Vec<_>, _>>();
    scopes.map(Scopes::from).map_err(|error: aop_core::UnknownScope| error.to_string())
}

fn read_issuers(config: &mut Config, entries: &mut Entries<'_, '_>) {
    entries.each(|name, mut entry| {
        let mut draft = Draft::default();
        entry.read(ISSUER_KEYS, &mut draft);
        let issuer = draft.finish()?;
        config.access.issuers.insert(name.to_owned(), issuer);
        Ok(())
    });
}

impl Draft {
    fn finish(self) -> Result<IssuerConfig, String> {
        let issuer = self.issuer.ok_or("`issuer` is missing: the URL in `iss` of its tokens")?;
        if self.audience.is_empty() {
            return Err(
                "`audience` is missing: a token for another service must not open this one"
                    .to_owned(),
            );
        }
        let tenant = match (self.tenant, self.tenant_claim) {
            (Some(_), Some(_)) => {
                return Err("`tenant` and `tenant_claim` exclude each other".to_owned());
            }
            (None, Some(claim)) => TenantRule::Claim(claim),
            (tenant, None) => TenantRule::Fixed(tenant.unwrap_or_else(TenantName::default_tenant)),
        };
        let algorithms = match self.algorithms.is_empty() {
            true => ALGORITHMS.map(str::to_owned).to_vec(),
            false => self.algorithms,
        };
        Ok(IssuerConfig {
            issuer,
            audiences: self.audience,
            jwks_url: self.jwks_url,
            algorithms,
            tenant,
            scope_claim: self.scope_claim.unwrap_or_else(|| "scope".to_owned()),
            scopes: self.scopes,
            grant: self.grant,
        })
    }
}
