//! The keys that say which component an agent is.

use super::super::keys::{Form, Key};
use super::Draft;
use crate::ParseDigestError;
use crate::supply::{BUNDLE_MAX_BYTES, OciReference};

/// What `sha256:` and 64 digits have.
const DIGEST_CHARS: usize = 71;

pub(super) const DIGEST_KEY: Key<Draft> = Key {
    name: "digest",
    meaning: "The component that these settings are for, as `sha256:…`. Any other is refused.",
    form: Form::Text {
        chars_max: DIGEST_CHARS,
        get: |draft| draft.settings.pinned.map(|digest| digest.to_string()),
        set: |draft, text| {
            let digest = text.parse().map_err(|error: ParseDigestError| error.to_string())?;
            draft.settings.pinned = Some(digest);
            Ok(())
        },
    },
};

pub(super) const COMPONENT_KEY: Key<Draft> = Key {
    name: "component",
    meaning: "Where `aop agent load NAME.toml` gets the component: `oci://HOST/NAME[:TAG]@sha256:…`. Shown by `aop agent show`.",
    form: Form::Text {
        chars_max: OciReference::CHARS_MAX,
        get: |draft| draft.settings.component.as_ref().map(ToString::to_string),
        set: |draft, text| {
            draft.settings.component = Some(text.parse()?);
            Ok(())
        },
    },
};

pub(super) const SIGNATURE_KEY: Key<Draft> = Key {
    name: "signature",
    meaning: "The Sigstore bundle (JSON) that vouches for the component. Without it, the file `NAME.wasm.sigstore.json` beside the component.",
    form: Form::Text {
        chars_max: BUNDLE_MAX_BYTES,
        get: |draft| draft.settings.signature.as_ref().map(ToString::to_string),
        set: |draft, text| {
            draft.settings.signature = Some(text.into());
            Ok(())
        },
    },
};
