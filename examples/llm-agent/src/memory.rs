//! What was said before in this conversation: the client's, by its session (`_meta["aop/session"]`).
//!
//! Off unless the settings say how much to remember (`[config] memory`), since a conversation that is
//! remembered costs its tokens again with every task.

use aop_agent::config;
use aop_agent::model::Request;
use aop_agent::state::{Bucket, StateError};
use serde::{Deserialize, Serialize};

/// Exchanges that are remembered at most: their tokens are paid again each time.
const EXCHANGES_MAX: usize = 100;
/// Under which they are kept.
const KEY: &str = "exchanges";

/// A task and its answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Exchange {
    task: String,
    answer: String,
}

/// See the module's documentation.
pub(crate) struct Memory(Option<Kept>);

struct Kept {
    bucket: Bucket,
    exchanges: Vec<Exchange>,
    count_max: usize,
}

impl Memory {
    /// Opens the conversation's memory, if there is to be one.
    pub(crate) fn open() -> Result<Self, String> {
        let Some(text) = config::get("memory")? else { return Ok(Self(None)) };
        let count_max = text.parse().ok().filter(|count| *count <= EXCHANGES_MAX);
        let count_max = count_max.ok_or_else(|| {
            format!("`memory` in the agent's [config] must be a number up to {EXCHANGES_MAX}")
        })?;
        if count_max == 0 {
            return Ok(Self(None));
        }
        let bucket = Bucket::session().map_err(in_words)?;
        let exchanges = bucket.get(KEY).map_err(in_words)?.unwrap_or_default();
        Ok(Self(Some(Kept { bucket, exchanges, count_max })))
    }

    /// Begins a request with what was said before.
    pub(crate) fn recall(&self, request: Request) -> Request {
        let exchanges = self.0.iter().flat_map(|kept| &kept.exchanges);
        exchanges.fold(request, |request, exchange| {
            request.user(exchange.task.as_str()).assistant(exchange.answer.as_str())
        })
    }

    /// Adds an exchange, and forgets the oldest.
    pub(crate) fn keep(&mut self, task: &str, answer: &str) -> Result<(), String> {
        let Some(kept) = &mut self.0 else { return Ok(()) };
        kept.exchanges.push(Exchange { task: task.to_owned(), answer: answer.to_owned() });
        let surplus = kept.exchanges.len().saturating_sub(kept.count_max);
        kept.exchanges.drain(..surplus);
        kept.bucket.set(KEY, &kept.exchanges).map_err(in_words)
    }
}

fn in_words(error: StateError) -> String {
    format!("the conversation cannot be remembered: {error}")
}

#[cfg(test)]
mod tests;
