//! `wasi:keyvalue@0.2.0-draft2`: pages by key, adds with a sign, and has compare-and-swap.

use super::Attempt;
use crate::binding::keyvalue_draft2::atomics::{self, CasError};
use crate::guest::Bounded;

super::common!(crate::binding::keyvalue_draft2);

type Cursor = String;

async fn list(
    _: &mut Opened,
    shared: &Shared,
    cursor: Option<Cursor>,
) -> Result<store::KeyResponse, Refusal> {
    let page = shared.page(cursor.as_deref()).await?;
    let cursor = page.next.and_then(|_| page.keys.last().cloned());
    Ok(store::KeyResponse { keys: page.keys, cursor })
}

impl State {
    async fn swap_attempt(
        &mut self,
        attempt: Resource<Attempt>,
        value: Vec<u8>,
    ) -> Result<Option<Resource<Attempt>>, Refusal> {
        let attempt = self.table.delete(attempt)?;
        let shared = self.shared(attempt.whose)?;
        match attempt.swap(&shared, value).await? {
            Some(again) => Ok(Some(self.table.push(again)?)),
            None => Ok(None),
        }
    }
}

impl atomics::Host for State {
    async fn increment(
        &mut self,
        bucket: Resource<Opened>,
        key: String,
        delta: i64,
    ) -> Result<i64, Refusal> {
        self.bucket(&bucket)?.increment(&key, delta).await
    }

    async fn swap(
        &mut self,
        attempt: Resource<Attempt>,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), CasError>> {
        Ok(match self.swap_attempt(attempt, value).await {
            Ok(None) => Ok(()),
            Ok(Some(again)) => Err(CasError::CasFailed(again)),
            Err(refusal) => Err(CasError::StoreError(store::Host::convert_error(self, refusal)?)),
        })
    }
}

impl atomics::HostCas for State {
    async fn new(
        &mut self,
        bucket: Resource<Opened>,
        key: String,
    ) -> Result<Resource<Attempt>, Refusal> {
        let whose = self.table.get(&bucket)?.whose;
        let shared = self.shared(whose)?;
        let place = self.guest.place(Bounded::Attempts).map_err(Refusal::Other)?;
        let attempt = Attempt::begin(&shared, whose, key, place).await?;
        Ok(self.table.push(attempt)?)
    }

    async fn current(&mut self, attempt: Resource<Attempt>) -> Result<Option<Vec<u8>>, Refusal> {
        Ok(self.table.get(&attempt)?.seen.clone())
    }

    async fn drop(&mut self, attempt: Resource<Attempt>) -> wasmtime::Result<()> {
        self.table.delete(attempt)?;
        Ok(())
    }
}
