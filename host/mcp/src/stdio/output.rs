//! What goes out on a pipe besides answers, and how everything is written.

use std::sync::Arc;

use rmcp::model::ServerJsonRpcMessage;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Connection, Era};
use crate::changes::Subscription;

/// A write is sent once it is this large: as much as a pipe holds on Linux.
const WRITE_BYTES: usize = 64 << 10;

/// Tells a client of the revisions with sessions what changed.
pub(super) async fn announce(
    connection: Arc<Connection>,
    mut changes: Subscription,
    draining: CancellationToken,
) {
    let mut known = changes.versions();
    loop {
        let versions = tokio::select! {
            () = connection.stop.cancelled() => return,
            () = draining.cancelled() => return,
            versions = changes.after(known, connection.edge.config.list_changed_window) => versions,
        };
        let news = connection.following.news(known, versions);
        known = versions;
        if *connection.era() != Era::Session {
            continue;
        }
        for notification in news {
            let message = ServerJsonRpcMessage::notification(notification);
            // Names and URIs: serializing them cannot fail.
            let message = serde_json::to_vec(&message).unwrap_or_default();
            if connection.output.send(message).await.is_err() {
                return;
            }
        }
    }
}

/// Writes queued messages, as many as are ready in one write.
pub(super) async fn write<W: AsyncWrite + Unpin>(
    mut output: W,
    mut messages: mpsc::Receiver<Vec<u8>>,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let mut buffer = Vec::with_capacity(WRITE_BYTES);
    while let Some(message) = messages.recv().await {
        buffer.extend_from_slice(&message);
        buffer.push(b'\n');
        while buffer.len() < WRITE_BYTES
            && let Ok(message) = messages.try_recv()
        {
            buffer.extend_from_slice(&message);
            buffer.push(b'\n');
        }
        let written = async {
            output.write_all(&buffer).await?;
            output.flush().await
        };
        let written = written.await;
        if written.is_err() {
            // Nobody reads: nothing needs to run for them.
            stop.cancel();
            return written;
        }
        buffer.clear();
        buffer.shrink_to(WRITE_BYTES);
    }
    Ok(())
}
