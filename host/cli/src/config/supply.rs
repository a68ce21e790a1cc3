//! The keys of `[supply]`: where components may come from and who may sign them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use aop_core::settings::keys::{Entries, Form, Key, Row, reference};
use aop_supply::Signer;

use super::Config;

/// Registries of one host.
const REGISTRIES_MAX: usize = 64;
/// Signers of one host.
const SIGNERS_MAX: usize = 256;
/// Longest host with its port.
const HOST_CHARS_MAX: usize = 253 + 6;
/// Longest URL or path.
const TEXT_CHARS_MAX: usize = 2048;

/// Where components may come from and who may sign them.
#[derive(Debug, Clone, Default)]
pub(crate) struct SupplySettings {
    pub(crate) registries: Vec<String>,
    pub(crate) plain_http: Vec<String>,
    pub(crate) credentials_file: Option<PathBuf>,
    pub(crate) require_signature: bool,
    pub(crate) trusted_root: Option<PathBuf>,
    pub(crate) signers: BTreeMap<String, Signer>,
}

pub(super) static SUPPLY_KEYS: &[Key<Config>] = &[
    Key {
        name: "registries",
        meaning: "The OCI registries that `aop agent load oci://…` may ask, each as in its references: `ghcr.io`, `registry.example.com:5000`. Hosts where a registry has its tokens made belong here, too: they see its password.",
        form: Form::Texts {
            count_max: REGISTRIES_MAX,
            get: |config| config.supply.registries.clone(),
            set: |config, hosts| {
                hosts.iter().try_for_each(|host| check_host(host))?;
                config.supply.registries = hosts;
                Ok(())
            },
        },
    },
    Key {
        name: "plain_http",
        meaning: "Those of them that are asked without TLS, so that whoever is on the way sees passwords and decides what a tag means. Registries on 127.0.0.1 and ::1 always are.",
        form: Form::Texts {
            count_max: REGISTRIES_MAX,
            get: |config| config.supply.plain_http.clone(),
            set: |config, hosts| {
                hosts.iter().try_for_each(|host| check_host(host))?;
                config.supply.plain_http = hosts;
                Ok(())
            },
        },
    },
    Key {
        name: "credentials_file",
        meaning: "Users and passwords for registries, in the layout of Docker's `config.json`. Without it, what `AOP_REGISTRY_CREDENTIALS` holds, in the same layout.",
        form: Form::Text {
            chars_max: TEXT_CHARS_MAX,
            get: |config| shown(config.supply.credentials_file.as_ref()),
            set: |config, text| {
                config.supply.credentials_file = Some(PathBuf::from(text));
                Ok(())
            },
        },
    },
    Key::flag(
        "require_signature",
        "Run only components that one of `signers` signed, wherever they come from.",
        |config| Some(config.supply.require_signature),
        |config, flag| config.supply.require_signature = flag,
    ),
    Key {
        name: "trusted_root",
        meaning: "A Sigstore trusted root (JSON), for an instance of one's own or for newer keys. Without it, that of the public good instance as this release has it.",
        form: Form::Text {
            chars_max: TEXT_CHARS_MAX,
            get: |config| shown(config.supply.trusted_root.as_ref()),
            set: |config, text| {
                config.supply.trusted_root = Some(PathBuf::from(text));
                Ok(())
            },
        },
    },
    Key {
        name: "signers",
        meaning: "Who may sign components.",
        form: Form::Open {
            placeholder: "<signer>",
            entries_max: SIGNERS_MAX,
            read: read_signers,
            rows: || -> Vec<Row> { reference(SIGNER_KEYS) },
        },
    },
];

fn shown(path: Option<&PathBuf>) -> Option<String> {
    path.map(|path| path.display().to_string())
}

fn check_host(host: &str) -> Result<(), String> {
    let reference = format!("oci://{host}/name").parse::<aop_core::supply::OciReference>();
    if reference.is_ok() && host.len() <= HOST_CHARS_MAX {
        return Ok(());
    }
    Err(format!(
        "`{host}` is not a registry: write it like `ghcr.io` or `registry.example.com:5000`"
    ))
}

/// A signer while it is read.
#[derive(Default)]
struct Draft {
    issuer: Option<String>,
    identity: Option<String>,
    source_repository: Option<String>,
}

static SIGNER_KEYS: &[Key<Draft>] = &[
    Key {
        name: "issuer",
        meaning: "Who knows the signer, such as `https://token.actions.githubusercontent.com`. Must be given.",
        form: Form::Text {
            chars_max: TEXT_CHARS_MAX,
            get: |draft| draft.issuer.clone(),
            set: |draft, text| {
                draft.issuer = Some(text.to_owned());
                Ok(())
            },
        },
    },
    Key {
        name: "identity",
        meaning: "Who the signer is there: a workflow's URL with its branch or tag, or an e-mail address. A star at the end, behind `/` or `@`, stands for everything that begins like it. Must be given.",
        form: Form::Text {
            chars_max: TEXT_CHARS_MAX,
            get: |draft| draft.identity.clone(),
            set: |draft, text| {
                draft.identity = Some(text.to_owned());
                Ok(())
            },
        },
    },
    Key {
        name: "source_repository",
        meaning: "The repository that was built, such as `https://github.com/acme/textkit`. Needed where the identity is a workflow that others may use.",
        form: Form::Text {
            chars_max: TEXT_CHARS_MAX,
            get: |draft| draft.source_repository.clone(),
            set: |draft, text| {
                draft.source_repository = Some(text.to_owned());
                Ok(())
            },
        },
    },
];

fn read_signers(config: &mut Config, entries: &mut Entries<'_, '_>) {
    entries.each(|name, mut entry| {
        let mut draft = Draft::default();
        entry.read(SIGNER_KEYS, &mut draft);
        let issuer = draft.issuer.ok_or("`issuer` is missing: it says who knows the signer")?;
        let identity = draft.identity.ok_or("`identity` is missing: it says who signs")?;
        let signer = Signer::new(issuer, identity, draft.source_repository)?;
        config.supply.signers.insert(name.to_owned(), signer);
        Ok(())
    });
}
