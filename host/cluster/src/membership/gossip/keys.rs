//! What a node says of itself, as the keys and values that gossip carries, and how others read it.
//!
//! | key | value |
//! |---|---|
//! | `load` | percent |
//! | `capacity` | a number |
//! | `labels` | a JSON object of texts |
//! | `drain`, `left`, `authority` | `1`, or the key is not there |
//! | `quota:N` | what it wants and used of quotas, see [`quota`](crate::quota) |
//! | `doc:NAME` | `SERIAL;HEX`, a document's state |
//!
//! Unknown keys are ignored and missing ones have defaults, so that two adjacent releases understand
//! each other.

use std::collections::BTreeMap;

use aop_core::Digest;

use crate::membership::{DocumentVersion, Load, MembershipError};
use crate::quota;

pub(crate) const LOAD: &str = "load";
pub(crate) const CAPACITY: &str = "capacity";
pub(crate) const LABELS: &str = "labels";
pub(crate) const DRAIN: &str = "drain";
pub(crate) const LEFT: &str = "left";
pub(crate) const AUTHORITY: &str = "authority";
const DOCUMENT: &str = "doc:";

/// The value of a key that only can be there or not.
pub(crate) const YES: &str = "1";

/// The longest value. A value over 65 kB would silently stop every later key of its node from reaching
/// anybody, and everything large travels as a document.
pub(crate) const VALUE_MAX_BYTES: usize = 1024;
/// The most documents of one node.
pub(crate) const DOCUMENTS_MAX: usize = 16;
/// The longest name of a document.
const NAME_MAX_BYTES: usize = 32;

/// What a node says of itself.
pub(crate) type Keys = BTreeMap<String, String>;

/// Sets a key.
///
/// # Errors
/// [`MembershipError::TooLarge`] above [`VALUE_MAX_BYTES`].
pub(crate) fn set(
    keys: &mut Keys,
    key: &str,
    value: impl Into<String>,
) -> Result<(), MembershipError> {
    let value = value.into();
    if value.len() > VALUE_MAX_BYTES {
        return Err(MembershipError::TooLarge {
            what: "what a node says of itself",
            bytes: value.len(),
            max: VALUE_MAX_BYTES,
        });
    }
    keys.insert(key.to_owned(), value);
    Ok(())
}

/// The key of a document.
pub(crate) fn document_key(name: &str) -> String {
    format!("{DOCUMENT}{name}")
}

/// Sets what is said of quotas, in place of what was.
pub(crate) fn set_quotas(
    keys: &mut Keys,
    said: BTreeMap<u8, String>,
) -> Result<(), MembershipError> {
    keys.retain(|key, _| !key.starts_with(quota::PREFIX));
    said.into_iter()
        .try_for_each(|(number, value)| set(keys, &format!("{}{number}", quota::PREFIX), value))
}

/// A document's state as it is gossiped.
pub(crate) fn write_version(version: DocumentVersion) -> String {
    format!("{};{}", version.serial, version.digest.hex())
}

fn read_version(text: &str) -> Option<DocumentVersion> {
    let (serial, hex) = text.split_once(';')?;
    let digest: Digest = format!("sha256:{hex}").parse().ok()?;
    Some(DocumentVersion { serial: serial.parse().ok()?, digest })
}

/// What a node's keys say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) load: Load,
    pub(crate) capacity: u32,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) draining: bool,
    pub(crate) left: bool,
    pub(crate) holds_authority: bool,
    pub(crate) documents: BTreeMap<String, DocumentVersion>,
    pub(crate) quotas: BTreeMap<u8, String>,
}

impl Said {
    /// Reads the keys of a node. What makes no sense is as if it were not there.
    pub(crate) fn read<'a>(keys: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut said = Self { capacity: 1, ..Self::default() };
        for (key, value) in keys.filter(|(_, value)| value.len() <= VALUE_MAX_BYTES) {
            match key {
                LOAD => said.load = Load::of_percent(value.parse().unwrap_or(0)),
                CAPACITY => said.capacity = value.parse().unwrap_or(1).max(1),
                LABELS => said.labels = serde_json::from_str(value).unwrap_or_default(),
                DRAIN => said.draining = true,
                LEFT => said.left = true,
                AUTHORITY => said.holds_authority = true,
                _ if key.starts_with(quota::PREFIX) => {
                    let number = key[quota::PREFIX.len()..].parse().ok();
                    if let Some(number) = number.filter(|number| *number < quota::KEYS_MAX) {
                        said.quotas.insert(number, value.to_owned());
                    }
                }
                _ => {
                    let name = key.strip_prefix(DOCUMENT).filter(|name| is_document_name(name));
                    if let (Some(name), Some(version)) = (name, read_version(value))
                        && said.documents.len() < DOCUMENTS_MAX
                    {
                        said.documents.insert(name.to_owned(), version);
                    }
                }
            }
        }
        said
    }
}

/// Whether a document can have this name.
pub(crate) fn is_document_name(name: &str) -> bool {
    (1..=NAME_MAX_BYTES).contains(&name.len())
        && name.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_said_is_heard(
            load in 0_u32..200,
            capacity in 1_u32..,
            labels in prop::collection::btree_map("[a-z]{1,8}", ".{0,20}", 0..4),
            serial in any::<u64>(),
            content in any::<Vec<u8>>(),
            draining in any::<bool>(),
        ) {
            let version = DocumentVersion { serial, digest: Digest::of(&content) };
            let mut keys = Keys::new();
            set(&mut keys, LOAD, load.to_string()).unwrap();
            set(&mut keys, CAPACITY, capacity.to_string()).unwrap();
            set(&mut keys, LABELS, serde_json::to_string(&labels).unwrap()).unwrap();
            set(&mut keys, &document_key("cat"), write_version(version)).unwrap();
            if draining {
                set(&mut keys, DRAIN, YES).unwrap();
            }
            let said = Said::read(keys.iter().map(|(key, value)| (key.as_str(), value.as_str())));
            prop_assert_eq!(said, Said {
                load: Load::of_percent(load),
                capacity,
                labels,
                draining,
                left: false,
                holds_authority: false,
                documents: BTreeMap::from([("cat".to_owned(), version)]),
                quotas: BTreeMap::new(),
            });
        }

        #[test]
        fn nonsense_is_as_if_it_were_not_there(keys in prop::collection::btree_map(".{0,40}", ".{0,40}", 0..40)) {
            let said = Said::read(keys.iter().map(|(key, value)| (key.as_str(), value.as_str())));
            prop_assert!(said.documents.len() <= DOCUMENTS_MAX);
            prop_assert!(said.capacity >= 1);
        }
    }

    #[test]
    fn long_values_are_refused_when_they_are_set_and_ignored_when_they_arrive() {
        let mut keys = Keys::new();
        set(&mut keys, LABELS, "x".repeat(VALUE_MAX_BYTES)).unwrap();
        let error = set(&mut keys, LABELS, "x".repeat(VALUE_MAX_BYTES + 1)).unwrap_err();
        assert!(matches!(error, MembershipError::TooLarge { .. }), "{error}");
        let long = "1".repeat(VALUE_MAX_BYTES + 1);
        let said = Said::read([(DRAIN, long.as_str())].into_iter());
        assert!(!said.draining);
    }
}
