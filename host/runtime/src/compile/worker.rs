//! The compile worker: a child process that limits itself, derives the interface of one component,
//! compiles it, writes the code to a file and the interface to standard output.
//!
//! The limits bound what an untrusted component can cost. The process is not a trust boundary for
//! the code it produces: that is wasmtime's compiler, here as anywhere.

use std::io::{Read, Write};
use std::path::PathBuf;

use aop_core::{Digest, Interface};
use rustix::process::{Resource, Rlimit};
use serde::{Deserialize, Serialize};

use crate::derive;
use crate::engine::Model;

/// Open files: standard streams, the input, the output, and what threads need.
const OPEN_FILES_MAX: u64 = 64;
/// Seconds between the signal that the CPU limit raises and the one that cannot be ignored.
const CPU_GRACE_SECONDS: u64 = 1;

/// What to compile, as one JSON argument.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    pub(crate) component: PathBuf,
    pub(crate) digest: Digest,
    pub(crate) output: PathBuf,
    pub(crate) cpu_max_seconds: u64,
    pub(crate) memory_max_bytes: u64,
    pub(crate) component_max_bytes: u64,
    pub(crate) code_max_bytes: u64,
}

/// What became of it, as JSON on standard output.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub(crate) enum Outcome {
    Compiled(Box<Derived>),
    Refused { reason: String },
    Failed { reason: String },
}

/// What the host keeps beside the code.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Derived {
    /// What the component exports.
    pub(crate) interface: Interface,
    /// What the code was compiled for.
    pub(crate) model: Model,
    /// How many parts of it may compute or wait at one time.
    pub(crate) parts: u32,
}

/// The whole life of a worker process. `request` is its last argument.
///
/// # Errors
/// When the request is not one (somebody ran the hidden command by hand) or the answer cannot be
/// written. A component that cannot be compiled is an answer, not an error.
pub fn main(request: &str) -> Result<(), crate::RuntimeError> {
    let request: Request = serde_json::from_str(request)
        .map_err(|error| crate::RuntimeError::Worker(format!("not a compile request: {error}")))?;
    limit_self(&request)?;
    let outcome = compile(&request);
    let mut stdout = std::io::stdout().lock();
    serde_json::to_writer(&mut stdout, &outcome)
        .map_err(|error| crate::RuntimeError::Worker(error.to_string()))?;
    stdout.flush()?;
    Ok(())
}

fn limit_self(request: &Request) -> Result<(), crate::RuntimeError> {
    let cpu = request.cpu_max_seconds;
    let limits = [
        (Resource::Cpu, cpu, cpu + CPU_GRACE_SECONDS),
        (Resource::As, request.memory_max_bytes, request.memory_max_bytes),
        (Resource::Fsize, request.code_max_bytes, request.code_max_bytes),
        (Resource::Nofile, OPEN_FILES_MAX, OPEN_FILES_MAX),
        (Resource::Core, 0, 0),
    ];
    for (resource, soft, hard) in limits {
        let limit = Rlimit { current: Some(soft), maximum: Some(hard) };
        rustix::process::setrlimit(resource, limit).map_err(|error| {
            crate::RuntimeError::Worker(format!("cannot limit itself: {error}"))
        })?;
    }
    // A worker must not outlive a host that was killed.
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .map_err(|error| crate::RuntimeError::Worker(error.to_string()))?;
    Ok(())
}

fn compile(request: &Request) -> Outcome {
    let bytes = match read(request) {
        Ok(bytes) => bytes,
        Err(outcome) => return outcome,
    };
    let interface = match derive::interface(&bytes) {
        Ok(interface) => interface,
        Err(error) => return Outcome::Refused { reason: error.to_string() },
    };
    let (code, model) = match precompile(&bytes, &interface) {
        Ok(compiled) => compiled,
        Err(outcome) => return outcome,
    };
    match std::fs::write(&request.output, code) {
        Ok(()) => {
            let parts = derive::parts::count(&bytes);
            Outcome::Compiled(Box::new(Derived { interface, model, parts }))
        }
        Err(error) => {
            Outcome::Failed { reason: format!("cannot write the compiled code: {error}") }
        }
    }
}

/// Compiles for the cheapest model that the component fits. What does not fit is found while it is validated,
/// before anything is compiled; but WASI 0.3, of which a component may import plain functions only, is all of it the
/// concurrent model's.
fn precompile(bytes: &[u8], interface: &Interface) -> Result<(Vec<u8>, Model), Outcome> {
    let mut reason = String::new();
    let needs_concurrency = interface.imports.iter().any(|import| is_wasi_0_3(import));
    let models =
        Model::ALL.into_iter().filter(|model| !needs_concurrency || *model == Model::Concurrent);
    for model in models {
        let engine =
            model.compiling().map_err(|error| Outcome::Failed { reason: error.to_string() })?;
        match engine.precompile_component(bytes) {
            Ok(code) => return Ok((code, model)),
            Err(error) => reason = format!("the component does not compile: {error:#}"),
        }
    }
    Err(Outcome::Refused { reason })
}

fn is_wasi_0_3(import: &str) -> bool {
    import.starts_with("wasi:")
        && import.split_once('@').is_some_and(|(_, version)| version.starts_with("0.3."))
}

fn read(request: &Request) -> Result<Vec<u8>, Outcome> {
    let failed = |error: std::io::Error| Outcome::Failed {
        reason: format!("cannot read {}: {error}", request.component.display()),
    };
    let file = std::fs::File::open(&request.component).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(request.component_max_bytes + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > request.component_max_bytes {
        return Err(Outcome::Refused {
            reason: format!(
                "the component is larger than {} MiB: strip it, or raise `compile.component`",
                request.component_max_bytes >> 20
            ),
        });
    }
    // What is compiled is sealed under this digest, so it must be what the digest says.
    if Digest::of(&bytes) != request.digest {
        return Err(Outcome::Failed {
            reason: format!(
                "{} does not hold {}: it is damaged",
                request.component.display(),
                request.digest
            ),
        });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
