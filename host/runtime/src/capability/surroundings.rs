//! Files, environment, time and chance: what a guest sees of the machine, by its policy only.
//!
//! A directory is opened anew for every instance, so that one which was replaced is the new one.
//! wasmtime-wasi resolves every path below it by itself, and follows no link that leads out. How much
//! a guest writes there is bounded by [`files`](super::files).

use std::time::Duration;

use aop_core::policy::{Clock, Randomness};
use aop_core::{ErrorCode, Failure, GuestLevel};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng as _, SeedableRng as _};
use wasmtime_wasi::{FsPerms, HostMonotonicClock, HostWallClock, WasiCtxBuilder};

use crate::guest::Grants;
use crate::state::Voice;

/// Gives an instance what its agent's policy grants.
///
/// # Errors
/// `internal` when a directory cannot be opened; the operator's log names it.
pub(crate) fn grant(
    wasi: &mut WasiCtxBuilder,
    grants: &Grants,
    voice: &Voice,
) -> Result<(), Failure> {
    wasi.envs(&grants.environment);
    if let Clock::Fixed(time) = grants.policy.clock {
        wasi.wall_clock(Stopped(time)).monotonic_clock(Stopped(Duration::ZERO));
    }
    if let Randomness::Seeded(seed) = grants.policy.random {
        // One that is the same on every machine and in every release; nothing here has to be secret.
        let mut numbers = Xoshiro256PlusPlus::seed_from_u64(seed);
        wasi.insecure_random_seed(u128::from(numbers.next_u64()))
            .insecure_random(numbers.clone())
            .secure_random(numbers);
    }
    for directory in &grants.policy.directories {
        let access = if directory.writable { FsPerms::ReadWrite } else { FsPerms::ReadOnly };
        if let Err(error) = wasi.preopened_dir(&directory.host, &directory.guest, access) {
            let text = format!("cannot open the directory of `{directory}`: {error:#}");
            voice.say("policy", GuestLevel::Error, &text);
            return Err(Failure::before_execution(
                ErrorCode::Internal,
                format!("the agent's directory {} cannot be opened", directory.guest),
            ));
        }
    }
    Ok(())
}

/// A clock that stands still.
struct Stopped(Duration);

impl HostWallClock for Stopped {
    fn resolution(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn now(&self) -> Duration {
        self.0
    }
}

impl HostMonotonicClock for Stopped {
    fn resolution(&self) -> u64 {
        1
    }

    fn now(&self) -> u64 {
        u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX)
    }
}
