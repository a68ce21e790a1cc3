//! `wasi:keyvalue@0.2.0-draft`: pages by a count, adds without a sign.

use crate::binding::keyvalue_draft::atomics;

super::common!(crate::binding::keyvalue_draft);

type Cursor = u64;

async fn list(
    bucket: &mut Opened,
    shared: &Shared,
    cursor: Option<Cursor>,
) -> Result<store::KeyResponse, Refusal> {
    let (keys, cursor) = bucket.list(shared, cursor.unwrap_or(0)).await?;
    Ok(store::KeyResponse { keys, cursor })
}

impl atomics::Host for State {
    async fn increment(
        &mut self,
        bucket: Resource<Opened>,
        key: String,
        delta: u64,
    ) -> Result<u64, Refusal> {
        self.bucket(&bucket)?.increment(&key, delta).await
    }
}
