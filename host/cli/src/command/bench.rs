//! `aop bench`: a closed loop of calls over kept-alive connections.
//!
//! Each worker has a connection of its own and sends its next call when the last one is answered, so
//! the load adapts to the host and latencies are those of the calls themselves. The client is kept
//! thin (raw HTTP/1.1 connections, bodies written once) because it shares the machine with the host.

mod connection;
mod report;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::sync::Barrier;

use self::connection::{Connection, Target};
use self::report::Report;
use crate::args::{BenchArgs, BenchProtocol};
use crate::client::Endpoint;
use crate::exit::{CommandError, CommandResult, usage};
use crate::{arguments, output};

pub(crate) async fn run(args: &BenchArgs) -> CommandResult {
    let target = Arc::new(target(args)?);
    let report = measure(args, &target).await?;
    if args.json {
        output::json(&report)?;
    } else {
        output::line(report.show())?;
    }
    if report.errors == 0 { Ok(()) } else { Err(CommandError::Reported) }
}

fn target(args: &BenchArgs) -> Result<Target, CommandError> {
    let arguments = arguments::read_json(&args.arguments)?;
    let endpoint = Endpoint::parse(&args.url).map_err(usage)?;
    let target = if args.plain {
        Target::plain(&args.url, &arguments)
    } else {
        match args.protocol {
            BenchProtocol::Stateless => Target::stateless(&endpoint.mcp, &args.tool, &arguments),
            BenchProtocol::Sessions => Target::sessions(&endpoint.mcp, &args.tool, &arguments),
        }
        .and_then(|target| target.with_key(args.key.as_deref()))
    };
    target.map_err(usage)
}

/// What one worker saw.
#[derive(Default)]
struct Tally {
    latencies: Vec<Duration>,
    errors: u64,
    first_error: Option<String>,
}

impl Tally {
    fn error(&mut self, error: &anyhow::Error) {
        self.errors += 1;
        self.first_error.get_or_insert_with(|| format!("{error:#}"));
    }
}

async fn measure(args: &BenchArgs, target: &Arc<Target>) -> anyhow::Result<Report> {
    let workers = args.concurrency.min(u32::try_from(args.calls).unwrap_or(u32::MAX));
    let remaining = Arc::new(AtomicU64::new(args.calls));
    // The measuring task is one more party: it starts the clock.
    let start = Arc::new(Barrier::new(workers as usize + 1));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..workers {
        let (target, remaining, start) =
            (Arc::clone(target), Arc::clone(&remaining), Arc::clone(&start));
        let warm_up = args.warm_up;
        tasks.spawn(async move {
            // Whatever fails, the barrier must be passed, or everybody waits for ever.
            let prepared = prepare(&target, warm_up).await;
            start.wait().await;
            let tally = match prepared {
                Ok(connection) => work(&target, connection, &remaining).await,
                Err(error) => return Err(error),
            };
            Ok(tally)
        });
    }
    start.wait().await;
    let started = Instant::now();
    let mut total = Tally::default();
    while let Some(tally) = tasks.join_next().await {
        let tally = tally.context("a worker broke")??;
        total.latencies.extend(tally.latencies);
        total.errors += tally.errors;
        total.first_error = total.first_error.or(tally.first_error);
    }
    Ok(Report::new(
        args,
        workers,
        started.elapsed(),
        total.latencies,
        total.errors,
        total.first_error,
    ))
}

async fn prepare(target: &Target, warm_up: u32) -> anyhow::Result<Connection> {
    let mut connection = Connection::open(target).await?;
    for _ in 0..warm_up {
        connection.call(target).await.context("the first call failed")?;
    }
    Ok(connection)
}

/// Calls until none are left. A connection that broke is opened again, which counts as one error.
async fn work(target: &Target, connection: Connection, remaining: &AtomicU64) -> Tally {
    let mut tally = Tally::default();
    let mut open = Some(connection);
    let take = || {
        remaining
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
            .is_ok()
    };
    while take() {
        let mut connection = match open.take() {
            Some(connection) => connection,
            None => match Connection::open(target).await {
                Ok(connection) => connection,
                Err(error) => {
                    tally.error(&error);
                    continue;
                }
            },
        };
        let started = Instant::now();
        match connection.call(target).await {
            Ok(()) => tally.latencies.push(started.elapsed()),
            Err(error) => tally.error(&error),
        }
        if connection.is_usable() {
            open = Some(connection);
        }
    }
    if let Some(connection) = open {
        connection.close(target).await;
    }
    tally
}

#[cfg(test)]
mod tests;
