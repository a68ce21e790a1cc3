//! The `aop` binary: the command line, the configuration, and the wiring of every other crate.
//!
//! It is the only place that reads the environment, handles signals, and knows more than one of the
//! middle crates. Its exit codes are in [`exit`].

mod access;
mod allowed;
mod args;
mod arguments;
mod audit;
mod client;
mod cluster;
mod command;
mod config;
mod environment;
mod exit;
mod local;
mod log;
mod mounts;
mod output;
mod services;
mod stage;
mod state;
mod supply;
mod wire;
mod zone;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;

use args::{Arguments, Command};
use exit::CommandResult;

/// Halves what a fresh instance costs on top of wasmtime.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let Arguments { command } = Arguments::parse();
    let result = match &command {
        // Before any thread starts: the worker limits itself first.
        Command::CompileWorker { request } => {
            aop_runtime::worker::main(request).map_err(Into::into)
        }
        command => block_on(command),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let (message, code) = error.conclusion();
            if let Some(message) = message {
                output::error(message);
            }
            code
        }
    }
}

fn block_on(command: &Command) -> CommandResult {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the asynchronous runtime")?;
    let result = runtime.block_on(run(command));
    // Whatever still blocks (a second signal, a read of stdin) must not hold up the end.
    runtime.shutdown_background();
    result
}

async fn run(command: &Command) -> CommandResult {
    match command {
        Command::Serve(args) => command::serve::run(args).await,
        Command::Demo(args) => command::demo::run(args).await,
        Command::New(args) => command::new::run(args),
        Command::Wit(args) => command::wit::run(args),
        Command::Build(args) => command::build::run(args).await,
        Command::Dev(args) => command::dev::run(args).await,
        Command::Inspect(args) => command::inspect::run(args).await,
        Command::Run(args) => command::run::run(args).await,
        Command::Tools(args) => command::tools::run(args).await,
        Command::Call(args) => command::call::run(args).await,
        Command::Agent(command) => command::agent::run(command).await,
        Command::Audit(command) => command::audit::run(command),
        Command::Cluster(command) => command::cluster::run(command).await,
        Command::Discover(args) => command::discover::run(args).await,
        Command::Zone(command) => command::zone::run(command).await,
        Command::Tenant(command) => command::tenant::run(command).await,
        Command::Key(command) => command::key::run(command).await,
        Command::Secret(command) => command::secret::run(command).await,
        Command::Config(command) => command::config::run(command).await,
        Command::Policy(command) => command::policy::run(command).await,
        Command::McpConfig(args) => command::mcp_config::run(args),
        Command::Bench(args) => command::bench::run(args).await,
        Command::Completions(args) => command::completions::run(args),
        Command::CompileWorker { request } => {
            aop_runtime::worker::main(request).map_err(Into::into)
        }
    }
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
