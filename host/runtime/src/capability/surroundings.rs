//! Files and environment: what a guest sees of the machine, by its policy only.
//!
//! A directory is opened anew for every instance, so that one which was replaced is the new one.
//! wasmtime-wasi resolves every path below it by itself, and follows no link that leads out. How much
//! a guest writes into a directory is not bounded here: grant one that has a quota of its own.

use aop_core::{ErrorCode, Failure, GuestLevel};
use wasmtime_wasi::{FsPerms, WasiCtxBuilder};

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
