//! Room for messages that are still on their way.
//!
//! A message may have megabytes, and its sender half a minute for it: many that are half sent would fill the memory of the
//! host, and cost whoever sends them next to nothing. So what is not here at once takes its room before it is read.

use aop_core::TenantName;
use aop_core::fair::{Parts, Place};

/// What messages on their way may take together: a small part of a server's memory, and a hundred of the largest.
const BYTES_MAX: usize = 512 << 20;
/// What is counted. Smaller messages are not: a connection buffers as much anyway.
const UNIT_BYTES: usize = 64 << 10;
/// Of the largest messages there is always room for some, whatever is configured.
const LARGEST_MIN: usize = 8;

/// See the module's documentation. No tenant has all of it.
pub(crate) struct Bodies(Parts<TenantName>);

impl Bodies {
    pub(crate) fn new(body_max_bytes: usize) -> Self {
        let bytes = BYTES_MAX.max(body_max_bytes.saturating_mul(LARGEST_MIN));
        Self(Parts::new(bytes / UNIT_BYTES))
    }

    /// Room for a message, until it is dropped; none while there is none for this tenant.
    pub(crate) fn room(&self, tenant: &TenantName, bytes: usize) -> Option<Vec<Place>> {
        (0..bytes / UNIT_BYTES).map(|_| self.0.try_place(tenant)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_messages_of_a_tenant_leave_room_to_others_and_small_ones_take_none() {
        const LARGEST: usize = 4 << 20;
        let bodies = Bodies::new(LARGEST);
        let tenant = |name: &str| TenantName::new(name).unwrap();
        let (greedy, other) = (tenant("greedy"), tenant("other"));
        let held: Vec<_> = std::iter::from_fn(|| bodies.room(&greedy, LARGEST)).collect();
        assert!((100..128).contains(&held.len()), "{}", held.len());
        assert!(bodies.room(&greedy, UNIT_BYTES - 1).is_some());
        assert!(bodies.room(&other, LARGEST).is_some());
        drop(held);
        assert_eq!(bodies.0.whole().held(), 0);
    }

    #[test]
    fn the_largest_message_always_has_room() {
        for largest in [1 << 10, 4 << 20, 1 << 30] {
            let tenant = TenantName::default_tenant();
            assert!(Bodies::new(largest).room(&tenant, largest).is_some(), "{largest}");
        }
    }
}
