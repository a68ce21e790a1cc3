//! What a node remembers of placements over a restart: one small file in the data directory. A damaged or missing one
//! costs nothing but that memory, since the other nodes have the records.

use std::path::Path;

use aop_core::Digest;
use serde::{Deserialize, Serialize};

use super::placement::{Key, Placement};
use crate::durable;

/// What is kept over restarts.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) records: Vec<Placement>,
    /// The version of each placed agent that this node last had as a replica.
    pub(super) applied: Vec<(Key, (Digest, Digest))>,
}

pub(super) fn read(file: &Path) -> Kept {
    let text = match std::fs::read(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Kept::default(),
        Err(error) => {
            tracing::warn!(%error, file = %file.display(), "remembered placements cannot be read");
            return Kept::default();
        }
    };
    serde_json::from_slice(&text).unwrap_or_else(|error| {
        tracing::warn!(%error, file = %file.display(), "remembered placements are damaged; the other nodes have them");
        Kept::default()
    })
}

/// Writes the file off the runtime's threads; a failure costs the memory only, so it is logged.
pub(super) async fn write(file: &Path, text: Vec<u8>) {
    let path = file.to_owned();
    let written = tokio::task::spawn_blocking(move || durable::write(&path, &text)).await;
    if let Ok(Err(error)) = written {
        tracing::warn!(%error, file = %file.display(), "placements cannot be remembered over a restart");
    }
}
