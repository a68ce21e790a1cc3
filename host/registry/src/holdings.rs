//! What this host's own agents are to its zone.

use std::sync::Arc;

use aop_core::{BoxFuture, Digest, Held, Holdings};

use crate::registry::Registry;

impl Holdings for Registry {
    fn held(&self) -> Vec<Held> {
        self.common.all().iter().flat_map(|own| own.agents.held()).collect()
    }

    fn component(&self, digest: Digest) -> BoxFuture<'_, Option<Vec<u8>>> {
        Box::pin(async move {
            let _permit = self.common.reads.acquire().await.ok()?;
            let components = Arc::clone(&self.common.components);
            let read = tokio::task::spawn_blocking(move || components.read(&digest));
            match read.await {
                Ok(Ok(bytes)) => Some(bytes),
                Ok(Err(error)) => {
                    tracing::debug!(%digest, %error, "a component cannot be handed on");
                    None
                }
                Err(_) => None,
            }
        })
    }
}
