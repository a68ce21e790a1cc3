//! What buckets are held to, in the same words whatever keeps them.

use std::sync::Arc;

use aop_core::bucket::{
    Bucket, BucketError, BucketQuota, BucketScope, KEY_MAX_BYTES, VALUE_MAX_BYTES, WRITE_MAX_BYTES,
};

use crate::turns::{Owner, Taken, Turns};

/// What a bucket costs beside its keys and values, in bytes of its owner's quota.
pub(crate) const BUCKET_CHARGE_BYTES: i64 = 512;
/// The same for each key.
pub(crate) const KEY_CHARGE_BYTES: i64 = 128;

/// What one tenant may have of what all have together: so nobody fills the store alone, and a tenant that has it to itself
/// still has most of it.
pub(crate) const fn part_of_tenant(all_max_bytes: u64) -> u64 {
    all_max_bytes / 4 * 3
}

/// What all buckets together are held to. One tenant has a [part](part_of_tenant) of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ceilings {
    pub(crate) all_max_bytes: u64,
    pub(crate) agent_max_bytes: u64,
}

/// A bucket as the tables know it.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) tenant: String,
    /// Empty for what the agents of a tenant share.
    pub(crate) agent: Vec<u8>,
    /// Empty for what is not of one conversation; else its id and its caller, apart by a space, which no id has.
    pub(crate) session: String,
}

impl Place {
    /// Whose turn it takes to work there: the agent's, or that of all agents that share the bucket.
    pub(crate) fn owner(&self) -> Owner {
        (self.tenant.clone(), self.agent.clone())
    }

    /// Who has a part of what tenants share.
    pub(crate) fn of_tenant(&self) -> Owner {
        (self.tenant.clone(), Vec::new())
    }
}

impl From<&Bucket> for Place {
    fn from(bucket: &Bucket) -> Self {
        let (agent, session) = match &bucket.scope {
            BucketScope::Tenant => (Vec::new(), String::new()),
            BucketScope::Agent(agent) => (agent.0.as_bytes().to_vec(), String::new()),
            BucketScope::Session(agent, subject, session) => {
                (agent.0.as_bytes().to_vec(), format!("{session} {subject}"))
            }
        };
        Self { tenant: bucket.tenant.as_str().to_owned(), agent, session }
    }
}

/// What a write leaves behind.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sums {
    /// Of the bucket.
    pub(crate) keys: u64,
    /// Keys and values of the bucket.
    pub(crate) bytes: u64,
    /// What the agent is charged for all of its buckets.
    pub(crate) agent: u64,
    /// The same of its tenant's agents.
    pub(crate) tenant: u64,
    /// The same of all agents.
    pub(crate) all: u64,
}

impl Sums {
    /// Whether it is within every limit.
    pub(crate) fn check(self, quota: BucketQuota, ceilings: Ceilings) -> Result<(), BucketError> {
        let Self { keys, bytes, agent, tenant, all } = self;
        let full = |message: String| Err(BucketError::Quota(message));
        if keys > quota.keys_max {
            return full(format!(
                "the bucket would hold {keys} keys, and {} are its limit",
                quota.keys_max
            ));
        }
        if bytes > quota.bytes_max {
            return full(format!(
                "the bucket would hold {bytes} bytes of keys and values, and {} are its limit",
                quota.bytes_max
            ));
        }
        if let Some(max) = quota.agent_bytes_max.filter(|max| agent > *max) {
            return full(format!(
                "what the agent remembers over all conversations reached its quota of {max} bytes: delete what is not needed any more"
            ));
        }
        if let Some(max) = quota.tenant_bytes_max.filter(|max| tenant > *max) {
            return full(format!(
                "what the tenant's agents remember reached its quota of {max} bytes: delete what is not needed any more"
            ));
        }
        if agent > ceilings.agent_max_bytes {
            return full(format!(
                "what the agent remembers over all conversations reached the host's limit of {} bytes: delete what is not needed any more",
                ceilings.agent_max_bytes
            ));
        }
        if all > ceilings.all_max_bytes || tenant > part_of_tenant(ceilings.all_max_bytes) {
            // In both cases the same: how much others remember is not the caller's to know.
            return full(
                "this host has no more room for what the tenant's agents remember: delete what is not needed any more, or ask its operator for more".to_owned(),
            );
        }
        Ok(())
    }
}

/// Keys and values of a tenant's writes that wait or are made, in KiB: calls hold them in memory meanwhile, and thousands may
/// write at once. Sixty-four of the largest values.
const WAITING_OF_TENANT_MAX_KIB: usize = 64 << 10;

/// What tenants' writes that are under way hold in memory. Beyond its part a tenant is refused: waiting for room would need
/// the room.
pub(crate) struct Waiting(Arc<Turns>);

impl Waiting {
    pub(crate) fn new() -> Self {
        Self(Turns::new(WAITING_OF_TENANT_MAX_KIB))
    }

    /// So much for a write there.
    ///
    /// # Errors
    /// When what the tenant may hold is in use.
    pub(crate) fn hold(&self, place: &Place, kib: u32) -> Result<Taken, BucketError> {
        self.0.try_take(&place.of_tenant(), kib).ok_or_else(|| {
            BucketError::Busy(format!(
                "writes of the tenant's agents with {} MiB wait already: try again shortly, or write less at once",
                WAITING_OF_TENANT_MAX_KIB >> 10
            ))
        })
    }
}

/// The KiB of one write, unless it is too large for one.
pub(crate) fn kib_of_write(bytes: usize) -> Result<u32, BucketError> {
    let too_large = || {
        BucketError::Quota(format!(
            "the write has {bytes} bytes of keys and values, and one may have {} MiB: write in several steps",
            WRITE_MAX_BYTES >> 20
        ))
    };
    let fits = Some(bytes).filter(|bytes| *bytes <= WRITE_MAX_BYTES).ok_or_else(too_large)?;
    u32::try_from(fits.div_ceil(1 << 10)).map_err(|_| too_large())
}

/// Keys and values of one write together, unless no bucket of this quota could hold them.
pub(crate) fn total_bytes(
    entries: &[(String, Vec<u8>)],
    quota: BucketQuota,
) -> Result<usize, BucketError> {
    let bytes: usize = entries.iter().map(|(key, value)| key.len() + value.len()).sum();
    if bytes as u64 > quota.bytes_max {
        return Err(BucketError::Quota(format!(
            "the entries have {bytes} bytes, and the bucket may hold {}",
            quota.bytes_max
        )));
    }
    Ok(bytes)
}

pub(crate) fn check_sizes<'a>(
    mut entries: impl Iterator<Item = (&'a str, &'a [u8])>,
) -> Result<(), BucketError> {
    entries.try_for_each(|(key, value)| {
        if key.len() > KEY_MAX_BYTES {
            return Err(BucketError::Quota(format!(
                "the key has {} bytes, and {KEY_MAX_BYTES} are the limit",
                key.len()
            )));
        }
        if value.len() > VALUE_MAX_BYTES {
            return Err(BucketError::Quota(format!(
                "the value has {} bytes, and {VALUE_MAX_BYTES} are the limit",
                value.len()
            )));
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_tenant_has_all_of_it_and_none_learns_what_others_have() {
        let quota = BucketQuota {
            keys_max: 9,
            bytes_max: 1000,
            agent_bytes_max: None,
            tenant_bytes_max: None,
        };
        let ceilings = Ceilings { all_max_bytes: 1000, agent_max_bytes: 1000 };
        let check = |tenant: u64, others: u64| {
            let sums = Sums { keys: 1, bytes: 1, agent: tenant, tenant, all: tenant + others };
            sums.check(quota, ceilings).map_err(|error| error.to_string())
        };
        check(750, 0).unwrap();
        check(750, 250).unwrap();
        check(250, 750).unwrap();
        let part = check(751, 0).unwrap_err();
        assert_eq!(check(251, 750).unwrap_err(), part);
        assert!(!part.contains(|c: char| c.is_ascii_digit()), "{part}");
    }
}
