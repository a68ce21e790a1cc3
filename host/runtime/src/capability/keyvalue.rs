//! `wasi:keyvalue`: what an agent remembers, over the host's [`Buckets`].
//!
//! A guest names one of three buckets of its own and never a path, an agent or a session, so there is
//! nothing to forge: whose bucket it is follows from the call. Both drafts of the proposal are served,
//! since toolchains import either; they share everything but how they page and what is atomic.

mod draft;
mod draft2;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use aop_core::bucket::{
    Bucket, BucketError, BucketQuota, BucketScope, Buckets, KEY_MAX_BYTES, KeyPage, PAGE_KEYS_MAX,
    VALUE_MAX_BYTES,
};
use aop_core::quota::{self, Payer};
use aop_core::{Asked, CallContext};
use tokio::sync::OwnedSemaphorePermit;
use wasmtime::component::{Resource, ResourceTableError};

use crate::guest::{Guest, conversation, services};
use crate::state::State;

/// Keys of one batch.
const BATCH_MAX: usize = 1000;
/// What one batch reads: it is held by the host until the guest has it.
const BATCH_MAX_BYTES: usize = 16 << 20;
/// How often a sum is tried again while others change the number.
const INCREMENT_TRIES_MAX: u32 = 32;

/// A bucket that the guest opened.
#[expect(unreachable_pub, reason = "bindings name it publicly, inside a private module")]
pub struct Opened {
    whose: Whose,
    /// Where the newest page ended: how many keys came before, and the last of them.
    listed: Option<(u64, String)>,
}

/// Which of the agent's buckets. Whose it is follows from the call that uses it, so that a warm instance
/// which keeps a bucket open never writes into the conversation of an earlier call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    Session,
    Agent,
    Tenant,
}

/// A bucket during one call.
struct Shared {
    buckets: Arc<dyn Buckets>,
    bucket: Bucket,
    quota: BucketQuota,
    payer: Arc<Payer>,
}

/// An attempt to change one value.
#[expect(unreachable_pub, reason = "bindings name it publicly, inside a private module")]
pub struct Attempt {
    whose: Whose,
    key: String,
    seen: Option<Vec<u8>>,
    place: OwnedSemaphorePermit,
}

/// Why something could not be done, before either draft has words for it.
#[derive(Debug)]
#[expect(unreachable_pub, reason = "bindings name it publicly, inside a private module")]
pub enum Refusal {
    NoSuchStore,
    AccessDenied,
    Other(String),
    /// The guest cannot go on.
    Trap(wasmtime::Error),
}

impl From<wasmtime::Error> for Refusal {
    fn from(error: wasmtime::Error) -> Self {
        Self::Trap(error)
    }
}

impl From<ResourceTableError> for Refusal {
    fn from(error: ResourceTableError) -> Self {
        Self::Trap(error.into())
    }
}

impl From<BucketError> for Refusal {
    fn from(error: BucketError) -> Self {
        Self::Other(error.to_string())
    }
}

impl Whose {
    /// The bucket of a name.
    fn named(guest: &Guest, name: &str) -> Result<Self, Refusal> {
        let is_permitted = guest.grants.policy.shared_state;
        if name == "tenant" {
            guest.voice.saw(Asked::SharedState, is_permitted);
        }
        match name {
            "" | "session" => Ok(Self::Session),
            "agent" => Ok(Self::Agent),
            "tenant" if is_permitted => Ok(Self::Tenant),
            "tenant" => {
                let rule = "the agent's policy does not permit state that all agents share";
                guest.voice.refuse(rule, &["policy.shared_state"]);
                Err(Refusal::AccessDenied)
            }
            _ => Err(Refusal::NoSuchStore),
        }
    }

    /// What a tenant's agents share is for its own agents: another tenant's policy says nothing over it. Asked at every
    /// use, since a warm instance keeps a bucket open from one caller to the next.
    fn check_owner(self, guest: &Guest, context: &CallContext) -> Result<(), Refusal> {
        if self != Self::Tenant || !context.is_shared() {
            return Ok(());
        }
        let rule =
            "an agent that another tenant shares has no part in what the caller's agents share";
        guest.voice.refuse(rule, &["policy.shared_state"]);
        Err(Refusal::AccessDenied)
    }

    /// The bucket during a call.
    fn during(self, guest: &Guest, context: &CallContext) -> Result<Shared, Refusal> {
        self.check_owner(guest, context)?;
        let services = services(context).map_err(|failure| Refusal::Other(failure.message))?;
        let scope = match self {
            Self::Session => BucketScope::Session(
                context.agent_id,
                context.caller.subject.clone(),
                conversation(context).map_err(Refusal::Other)?,
            ),
            Self::Agent => BucketScope::Agent(context.agent_id),
            Self::Tenant => BucketScope::Tenant,
        };
        let limits = &guest.grants.settings.limits;
        Ok(Shared {
            buckets: Arc::clone(&services.buckets),
            bucket: Bucket { tenant: context.caller.tenant.clone(), scope },
            quota: BucketQuota {
                keys_max: limits.state_keys_max,
                bytes_max: limits.state_max_bytes,
                agent_bytes_max: context.payer.agent.limit(quota::Resource::Stored),
                tenant_bytes_max: context.payer.tenant.limit(quota::Resource::Stored),
            },
            payer: Arc::clone(&context.payer),
        })
    }
}

impl Shared {
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Refusal> {
        check_key(key)?;
        Ok(self.buckets.get(&self.bucket, key).await?)
    }

    async fn exists(&self, key: &str) -> Result<bool, Refusal> {
        check_key(key)?;
        Ok(self.buckets.exists(&self.bucket, key).await?)
    }

    async fn set(&self, entries: &[(String, Vec<u8>)]) -> Result<(), Refusal> {
        check_batch(entries.len())?;
        for (key, value) in entries {
            check_key(key)?;
            check_value(value)?;
        }
        let set = self.buckets.set(&self.bucket, self.quota, entries).await;
        Ok(self.counted(set)?)
    }

    async fn delete(&self, keys: &[String]) -> Result<(), Refusal> {
        check_batch(keys.len())?;
        keys.iter().try_for_each(|key| check_key(key))?;
        Ok(self.buckets.delete(&self.bucket, keys).await?)
    }

    async fn get_many(&self, keys: Vec<String>) -> Result<Vec<Option<(String, Vec<u8>)>>, Refusal> {
        check_batch(keys.len())?;
        let mut room = BATCH_MAX_BYTES;
        let mut found = Vec::with_capacity(keys.len());
        for key in keys {
            let value = self.get(&key).await?;
            let size = value.as_ref().map_or(0, Vec::len);
            room = room.checked_sub(size).ok_or_else(|| {
                Refusal::Other(format!(
                    "the values have more than {} MiB together: ask for fewer keys",
                    BATCH_MAX_BYTES >> 20
                ))
            })?;
            found.push(value.map(|value| (key, value)));
        }
        Ok(found)
    }

    /// Counts a write that did not fit.
    fn counted(&self, written: Result<(), BucketError>) -> Result<(), BucketError> {
        if matches!(written, Err(BucketError::Quota(_))) {
            self.payer.agent.count_refusal(quota::Resource::Stored);
        }
        written
    }

    async fn page(&self, after: Option<&str>) -> Result<KeyPage, Refusal> {
        Ok(self.buckets.keys(&self.bucket, after, PAGE_KEYS_MAX).await?)
    }

    /// Adds to a number, which is decimal text so that other languages read it too.
    async fn increment<N: Number>(&self, key: &str, delta: N) -> Result<N, Refusal> {
        check_key(key)?;
        for _ in 0..INCREMENT_TRIES_MAX {
            let value = self.buckets.get(&self.bucket, key).await?;
            let sum = N::read(value.as_deref())?.plus(delta)?;
            let text = sum.to_string().into_bytes();
            let bucket = (&self.bucket, self.quota);
            let swapped = self.buckets.swap(bucket.0, bucket.1, key, value.as_deref(), text).await;
            match swapped {
                Ok(()) => return Ok(sum),
                Err(BucketError::Conflict) => {}
                refused => return Ok(self.counted(refused).map(|()| sum)?),
            }
        }
        Err(Refusal::Other("too many others change the number: try again".to_owned()))
    }
}

impl Opened {
    /// The page after `count` keys, and how many keys there are up to its end; none when it is the last.
    async fn list(
        &mut self,
        shared: &Shared,
        count: u64,
    ) -> Result<(Vec<String>, Option<u64>), Refusal> {
        let known = self.listed.take().filter(|(listed, _)| *listed == count);
        let mut after = known.map(|(_, key)| key);
        // Keys that came and went meanwhile shift the rest; the guest was told that it may be so.
        let mut skipped = if after.is_some() { count } else { 0 };
        loop {
            let page = shared.page(after.as_deref()).await?;
            let length = page.keys.len() as u64;
            let end = skipped + length;
            let Some(last) = page.keys.last().filter(|_| page.next.is_some()) else {
                let missing = usize::try_from(count - skipped.min(count)).unwrap_or(usize::MAX);
                return Ok((page.keys.into_iter().skip(missing).collect(), None));
            };
            if end > count {
                self.listed = Some((end, last.clone()));
                let missing = usize::try_from(count - skipped).unwrap_or(usize::MAX);
                return Ok((page.keys.into_iter().skip(missing).collect(), Some(end)));
            }
            (after, skipped) = (Some(last.clone()), end);
        }
    }
}

impl Attempt {
    /// Reads the value.
    async fn begin(
        shared: &Shared,
        whose: Whose,
        key: String,
        place: OwnedSemaphorePermit,
    ) -> Result<Self, Refusal> {
        let seen = shared.get(&key).await?;
        Ok(Self { whose, key, seen, place })
    }

    /// Sets the value; another attempt when somebody else did meanwhile.
    async fn swap(self, shared: &Shared, value: Vec<u8>) -> Result<Option<Self>, Refusal> {
        check_value(&value)?;
        let seen = self.seen.as_deref();
        let swap = shared.buckets.swap(&shared.bucket, shared.quota, &self.key, seen, value);
        match swap.await {
            Ok(()) => Ok(None),
            Err(BucketError::Conflict) => {
                Self::begin(shared, self.whose, self.key, self.place).await.map(Some)
            }
            refused => Ok(shared.counted(refused).map(|()| None)?),
        }
    }
}

/// What a draft counts with.
trait Number: Copy + ToString {
    fn read(value: Option<&[u8]>) -> Result<Self, Refusal>;
    fn plus(self, delta: Self) -> Result<Self, Refusal>;
}

macro_rules! numbers {
    ($($type:ty),*) => {$(
        impl Number for $type {
            fn read(value: Option<&[u8]>) -> Result<Self, Refusal> {
                let Some(value) = value else { return Ok(0) };
                let text = std::str::from_utf8(value).ok();
                text.and_then(|text| text.parse().ok()).ok_or_else(|| {
                    Refusal::Other("the value is not a whole number as decimal text".to_owned())
                })
            }

            fn plus(self, delta: Self) -> Result<Self, Refusal> {
                self.checked_add(delta)
                    .ok_or_else(|| Refusal::Other("the sum has more than 64 bits".to_owned()))
            }
        }
    )*};
}

numbers!(u64, i64);

fn check_key(key: &str) -> Result<(), Refusal> {
    if (1..=KEY_MAX_BYTES).contains(&key.len()) {
        return Ok(());
    }
    Err(Refusal::Other(format!("a key has 1 to {KEY_MAX_BYTES} bytes, not {}", key.len())))
}

fn check_value(value: &[u8]) -> Result<(), Refusal> {
    if value.len() <= VALUE_MAX_BYTES {
        return Ok(());
    }
    Err(Refusal::Other(format!("a value has {} MiB at most", VALUE_MAX_BYTES >> 20)))
}

fn check_batch(count: usize) -> Result<(), Refusal> {
    if count <= BATCH_MAX {
        return Ok(());
    }
    Err(Refusal::Other(format!("one batch has {BATCH_MAX} keys at most")))
}

impl State {
    fn shared(&mut self, whose: Whose) -> Result<Shared, Refusal> {
        let context = self.guest.context()?;
        whose.during(&self.guest, &context)
    }

    fn bucket(&mut self, bucket: &Resource<Opened>) -> Result<Shared, Refusal> {
        let whose = self.table.get(bucket)?.whose;
        self.shared(whose)
    }
}

/// The parts of a draft that are the same in both: everything but paging and what is atomic.
macro_rules! common {
    ($binding:path) => {
        use wasmtime::component::Resource;

        use $binding::{batch, store};

        use super::{Opened, Refusal, Shared, Whose};
        use crate::state::State;

        impl store::Host for State {
            async fn open(&mut self, identifier: String) -> Result<Resource<Opened>, Refusal> {
                let whose = Whose::named(&self.guest, &identifier)?;
                if let Some(context) = self.guest.peek() {
                    whose.check_owner(&self.guest, context)?;
                }
                Ok(self.table.push(Opened { whose, listed: None })?)
            }

            fn convert_error(&mut self, refusal: Refusal) -> wasmtime::Result<store::Error> {
                match refusal {
                    Refusal::NoSuchStore => Ok(store::Error::NoSuchStore),
                    Refusal::AccessDenied => Ok(store::Error::AccessDenied),
                    Refusal::Other(why) => Ok(store::Error::Other(why)),
                    Refusal::Trap(error) => Err(error),
                }
            }
        }

        impl batch::Host for State {
            async fn get_many(
                &mut self,
                bucket: Resource<Opened>,
                keys: Vec<String>,
            ) -> Result<Vec<Option<(String, Vec<u8>)>>, Refusal> {
                self.bucket(&bucket)?.get_many(keys).await
            }

            async fn set_many(
                &mut self,
                bucket: Resource<Opened>,
                entries: Vec<(String, Vec<u8>)>,
            ) -> Result<(), Refusal> {
                self.bucket(&bucket)?.set(&entries).await
            }

            async fn delete_many(
                &mut self,
                bucket: Resource<Opened>,
                keys: Vec<String>,
            ) -> Result<(), Refusal> {
                self.bucket(&bucket)?.delete(&keys).await
            }
        }

        impl store::HostBucket for State {
            async fn get(
                &mut self,
                bucket: Resource<Opened>,
                key: String,
            ) -> Result<Option<Vec<u8>>, Refusal> {
                self.bucket(&bucket)?.get(&key).await
            }

            async fn set(
                &mut self,
                bucket: Resource<Opened>,
                key: String,
                value: Vec<u8>,
            ) -> Result<(), Refusal> {
                self.bucket(&bucket)?.set(&[(key, value)]).await
            }

            async fn delete(
                &mut self,
                bucket: Resource<Opened>,
                key: String,
            ) -> Result<(), Refusal> {
                self.bucket(&bucket)?.delete(&[key]).await
            }

            async fn exists(
                &mut self,
                bucket: Resource<Opened>,
                key: String,
            ) -> Result<bool, Refusal> {
                self.bucket(&bucket)?.exists(&key).await
            }

            async fn list_keys(
                &mut self,
                bucket: Resource<Opened>,
                cursor: Option<Cursor>,
            ) -> Result<store::KeyResponse, Refusal> {
                let shared = self.bucket(&bucket)?;
                list(self.table.get_mut(&bucket)?, &shared, cursor).await
            }

            async fn drop(&mut self, bucket: Resource<Opened>) -> wasmtime::Result<()> {
                self.table.delete(bucket)?;
                Ok(())
            }
        }
    };
}

use common;
