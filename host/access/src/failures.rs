//! How many invalid credentials an address may send.
//!
//! What the limit is for: a flood of wrong credentials must not cost fetched keys and log lines, and no more than one
//! thread's signatures. It is not what keeps a key from being guessed; 256 bits do that. So a valid key passes from a
//! limited address too, and a token that its issuer's keys could have signed is verified, one at a time: nobody behind
//! the same proxy can be locked out by a neighbour.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use quick_cache::sync::Cache;

/// Addresses that are remembered, those that failed last: each takes about 200 bytes.
const ADDRESSES_MAX: usize = 16_384;
/// Failures at once: a person who mistypes, or a fleet that starts with an expired key.
const BURST: NonZeroU32 = NonZeroU32::new(20).unwrap();
/// After a burst, one more failure per this time is answered as such.
const PAUSE: Duration = Duration::from_secs(3);

type Limiter<C> = RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<<C as Clock>::Instant>>;

/// See the module's documentation.
pub(crate) struct Failures<C: Clock = DefaultClock> {
    addresses: Cache<IpAddr, Arc<Address<C>>>,
    clock: C,
    pub(crate) counted: AtomicU64,
    pub(crate) limited: AtomicU64,
}

struct Address<C: Clock> {
    limiter: Limiter<C>,
    /// Until when its failures are used up, in milliseconds since the Unix epoch.
    used_up_until: AtomicU64,
}

impl Default for Failures {
    fn default() -> Self {
        Self::new(DefaultClock::default())
    }
}

impl<C: Clock + Clone> Failures<C> {
    pub(crate) fn new(clock: C) -> Self {
        Self {
            addresses: Cache::new(ADDRESSES_MAX),
            clock,
            counted: AtomicU64::new(0),
            limited: AtomicU64::new(0),
        }
    }

    /// Counts a failure. Some when the address had too many: how long to wait.
    pub(crate) fn count(&self, address: Option<IpAddr>, now_unix_ms: u64) -> Option<Duration> {
        self.counted.fetch_add(1, Ordering::Relaxed);
        let address = self.address(network(address?));
        let wait = address.limiter.check().err()?.wait_time_from(self.clock.now());
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        address.used_up_until.store(now_unix_ms.saturating_add(wait_ms), Ordering::Relaxed);
        self.limited.fetch_add(1, Ordering::Relaxed);
        Some(wait)
    }

    /// How long to wait, when the address has used up its failures.
    pub(crate) fn used_up(&self, address: Option<IpAddr>, now_unix_ms: u64) -> Option<Duration> {
        let address = self.addresses.get(&network(address?))?;
        let wait_ms = address.used_up_until.load(Ordering::Relaxed).saturating_sub(now_unix_ms);
        (wait_ms > 0).then(|| Duration::from_millis(wait_ms))
    }

    fn address(&self, address: IpAddr) -> Arc<Address<C>> {
        let make = || {
            let quota = Quota::with_period(PAUSE).unwrap_or(Quota::per_second(BURST));
            let limiter =
                RateLimiter::direct_with_clock(quota.allow_burst(BURST), self.clock.clone());
            Ok::<_, std::convert::Infallible>(Arc::new(Address {
                limiter,
                used_up_until: 0.into(),
            }))
        };
        match self.addresses.get_or_insert_with(&address, make) {
            Ok(address) => address,
            Err(never) => match never {},
        }
    }
}

/// A host of IPv6 has a whole /64 of addresses to itself.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let bits = v6.to_bits() & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from_bits(bits))
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests;
