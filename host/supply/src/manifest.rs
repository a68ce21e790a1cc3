//! The manifests that hold components: those of the CNCF's wasm working group, and what `oras push` makes of a file.

use aop_core::Digest;
use serde::Deserialize;

/// What a manifest is called.
pub(crate) const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
/// What a list of manifests is called.
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// How the layer that is a component is called: by the working group, and by tools that are older than it.
const LAYERS: [&str; 3] = [
    "application/wasm",
    "application/vnd.wasm.content.layer.v1+wasm",
    "application/vnd.bytecodealliance.wasm.component.layer.v0+wasm",
];
/// What the type of a bundle begins with; its version follows.
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle";

/// A manifest, or a list of such.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest {
    media_type: Option<String>,
    #[serde(default)]
    layers: Vec<Descriptor>,
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

/// What something is, how large, and its digest.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    media_type: String,
    /// Other algorithms than SHA-256 are not used for components.
    pub(crate) digest: String,
    pub(crate) size: u64,
    artifact_type: Option<String>,
}

impl Manifest {
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(bytes).map_err(|error| format!("its manifest is malformed: {error}"))
    }

    /// The one layer that is a component.
    pub(crate) fn component(&self) -> Result<&Descriptor, String> {
        if self.media_type.as_deref() == Some(INDEX) || !self.manifests.is_empty() {
            let digests: Vec<_> =
                self.manifests.iter().take(8).map(|entry| printable(&entry.digest)).collect();
            return Err(format!(
                "it is a list of manifests: name one of them with @ ({})",
                digests.join(", ")
            ));
        }
        let mut components =
            self.layers.iter().filter(|layer| LAYERS.contains(&layer.media_type.as_str()));
        match (components.next(), components.next()) {
            (Some(component), None) => Ok(component),
            (None, _) => {
                let types: Vec<_> =
                    self.layers.iter().take(8).map(|layer| printable(&layer.media_type)).collect();
                Err(format!(
                    "none of its layers is a component: they are {}, and a component is application/wasm",
                    if types.is_empty() { "none at all".to_owned() } else { types.join(", ") }
                ))
            }
            (Some(_), Some(_)) => {
                Err("it holds several components, and an agent is one".to_owned())
            }
        }
    }

    /// The manifests in a list that hold bundles.
    pub(crate) fn bundles(&self) -> impl Iterator<Item = &Descriptor> {
        self.manifests.iter().filter(|entry| {
            entry.artifact_type.as_deref().is_some_and(|kind| kind.starts_with(BUNDLE))
        })
    }

    /// The one layer of a manifest that is a bundle.
    pub(crate) fn bundle(&self) -> Option<&Descriptor> {
        self.layers.iter().find(|layer| layer.media_type.starts_with(BUNDLE))
    }
}

impl Descriptor {
    /// Its digest, which was written by a stranger.
    pub(crate) fn sha256(&self) -> Result<Digest, String> {
        self.digest.parse().map_err(|_| {
            format!(
                "its manifest names the digest {}, which is not SHA-256",
                printable(&self.digest)
            )
        })
    }
}

/// A stranger's text, short enough for a line and without anything that moves a terminal.
fn printable(text: &str) -> String {
    text.chars().take(128).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn component(text: &str) -> Result<String, String> {
        Manifest::read(text.as_bytes())?.component().map(|layer| layer.digest.clone())
    }

    fn layer(kind: &str) -> String {
        format!(r#"{{"mediaType":"{kind}","digest":"sha256:00","size":3}}"#)
    }

    #[test]
    fn a_component_is_the_one_layer_of_its_kind() {
        for kind in LAYERS {
            let text = format!(r#"{{"layers":[{},{}]}}"#, layer("text/plain"), layer(kind));
            assert_eq!(component(&text).unwrap(), "sha256:00");
        }
    }

    #[test]
    fn what_is_none_says_what_it_is() {
        let refused = |text: &str| component(text).unwrap_err();
        let tar = layer("application/vnd.oci.image.layer.v1.tar+gzip");
        assert!(
            refused(&format!(r#"{{"layers":[{tar}]}}"#))
                .contains("v1.tar+gzip, and a component is")
        );
        assert!(refused("{}").contains("none at all"));
        let wasm = layer(LAYERS[0]);
        assert!(refused(&format!(r#"{{"layers":[{wasm},{wasm}]}}"#)).contains("several"));
        let index = format!(r#"{{"mediaType":"{INDEX}","manifests":[{wasm}]}}"#);
        assert!(refused(&index).contains("name one of them with @ (sha256:00)"));
        assert!(refused("[1").contains("malformed"));
        let odd = layer("a\\u001b[2Jb");
        assert!(!refused(&format!(r#"{{"layers":[{odd}]}}"#)).contains('\u{1b}'));
    }
}
