//! Files, environment, time and chance: what a guest sees of the machine, by its policy only.
//!
//! A directory is opened anew for every instance, so that one which was replaced is the new one.
//! wasmtime-wasi resolves every path below it by itself, and follows no link that leads out. How much
//! a guest writes there is bounded by [`files`](super::files).

use std::sync::Arc;
use std::time::Duration;

use aop_core::policy::{Clock, Randomness};
use aop_core::{Asked, ErrorCode, Failure, GuestLevel};
use rand::rngs::{StdRng, Xoshiro256PlusPlus};
use rand::{Rng as _, SeedableRng as _, TryRng};
use wasmtime::StoreContextMut;
use wasmtime::component::Linker;
use wasmtime_wasi::clocks::{MonotonicClock, WallClock};
use wasmtime_wasi::{FsPerms, HostMonotonicClock, HostWallClock, WasiCtxBuilder};

use crate::engine::Model;
use crate::guest::Grants;
use crate::state::{State, Voice};

/// Gives an instance what its agent's policy grants, directories excepted.
pub(crate) fn grant(wasi: &mut WasiCtxBuilder, grants: &Grants, voice: &Arc<Voice>) {
    wasi.envs(&grants.environment);
    if voice.is_witnessed() {
        witness(wasi, voice);
    }
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
}

/// Opens the directories that its agent's policy grants.
///
/// # Errors
/// `internal` when one cannot be opened; the operator's log names it.
pub(crate) fn open_directories(
    wasi: &mut WasiCtxBuilder,
    grants: &Grants,
    voice: &Voice,
) -> Result<(), Failure> {
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

/// Links what reads the environment once more on top of wasmtime-wasi's, so that a witness sees that it is read.
pub(crate) fn add_to_linker(linker: &mut Linker<State>, model: Model) -> wasmtime::Result<()> {
    let versions: &[&str] = match model {
        Model::Sequential => &["wasi:cli/environment@0.2.12"],
        Model::Concurrent => &["wasi:cli/environment@0.2.12", "wasi:cli/environment@0.3.0"],
    };
    linker.allow_shadowing(true);
    for version in versions {
        linker.instance(version)?.func_wrap(
            "get-environment",
            |store: StoreContextMut<'_, State>, (): ()| {
                let guest = &store.data().guest;
                // One without variables is no refusal: most programs look whether there are any.
                guest.voice.saw(Asked::Environment, true);
                Ok((guest.grants.environment.clone(),))
            },
        )?;
    }
    linker.allow_shadowing(false);
    Ok(())
}

/// The machine's own clocks and chance, which tell that they are asked.
fn witness(wasi: &mut WasiCtxBuilder, voice: &Arc<Voice>) {
    wasi.wall_clock(Seen(WallClock::new(), Arc::clone(voice)))
        .monotonic_clock(Seen(MonotonicClock::new(), Arc::clone(voice)))
        .secure_random(Seen(StdRng::from_rng(&mut rand::rng()), Arc::clone(voice)));
}

/// Something that a witness sees the use of.
struct Seen<T>(T, Arc<Voice>);

impl<C: HostWallClock> HostWallClock for Seen<C> {
    fn resolution(&self) -> Duration {
        self.0.resolution()
    }

    fn now(&self) -> Duration {
        self.1.saw(Asked::Clock, true);
        self.0.now()
    }
}

impl<C: HostMonotonicClock> HostMonotonicClock for Seen<C> {
    fn resolution(&self) -> u64 {
        self.0.resolution()
    }

    fn now(&self) -> u64 {
        self.1.saw(Asked::Clock, true);
        self.0.now()
    }
}

impl<R: TryRng> TryRng for Seen<R> {
    type Error = R::Error;

    fn try_next_u32(&mut self) -> Result<u32, R::Error> {
        self.1.saw(Asked::Random, true);
        self.0.try_next_u32()
    }

    fn try_next_u64(&mut self) -> Result<u64, R::Error> {
        self.1.saw(Asked::Random, true);
        self.0.try_next_u64()
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), R::Error> {
        self.1.saw(Asked::Random, true);
        self.0.try_fill_bytes(bytes)
    }
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
