//! Lists that are put together from what many agents say.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use aop_core::interface::Feature;
use aop_core::{AgentName, Caller};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::StreamExt as _;
use rmcp::ErrorData;
use serde_json::value::RawValue;

use crate::content::BadContent;
use crate::edge::{Edge, FeatureCall, is_unknown};
use crate::list::BadCursor;

/// Agents that are asked at a time: enough that a hung one does not hold up the others, few enough that a list
/// is no burden for the host.
const AGENTS_AT_ONCE: usize = 16;

/// How long a whole page may take, however many agents are slow: less than clients wait for an answer. What was
/// listed by then is the page.
pub(super) const PAGE_TIME_MAX: Duration = Duration::from_secs(10);

/// What an agent lists is read at once up to here, which takes less than a millisecond.
const READ_AT_ONCE_BYTES: usize = 64 << 10;

/// A page of a list.
pub(crate) struct Paged<T> {
    pub(crate) items: Vec<T>,
    pub(crate) next: Option<String>,
}

/// An entry and what orders it among those of its agent.
pub(super) struct Entry<T> {
    pub(super) key: String,
    pub(super) item: T,
}

/// Reads what an agent says: every entry, or the rule that it breaks.
pub(super) type Read<T> =
    fn(&AgentName, &str) -> Result<Vec<Result<Entry<T>, BadContent>>, BadContent>;

/// What an agent is asked for its part of a list, and how its answer is read.
pub(super) struct Source<T> {
    pub(super) feature: Feature,
    pub(super) read: Read<T>,
}

// Derived, they would ask for entries that can be copied.
impl<T> Clone for Source<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Source<T> {}

/// The last entry of a page: the next one begins after it, whoever came or went meanwhile.
struct Last {
    agent: String,
    key: String,
}

impl Last {
    fn decode(cursor: &str) -> Result<Self, BadCursor> {
        let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| BadCursor)?;
        let text = String::from_utf8(bytes).map_err(|_| BadCursor)?;
        let (agent, key) = text.split_once('\n').ok_or(BadCursor)?;
        Ok(Self { agent: agent.to_owned(), key: key.to_owned() })
    }

    fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(format!("{}\n{}", self.agent, self.key))
    }
}

/// A page of what the caller's agents list.
///
/// # Errors
/// A cursor that this server did not give out.
pub(super) async fn page<T: Send + 'static>(
    edge: &Edge,
    caller: &Caller,
    sources: &[Source<T>],
    cursor: Option<&str>,
) -> Result<Paged<T>, ErrorData> {
    let after = cursor.map(Last::decode).transpose();
    let after = after.map_err(|bad| ErrorData::invalid_params(bad.to_string(), None))?;
    let mut agents: BTreeMap<AgentName, Vec<Source<T>>> = BTreeMap::new();
    for source in sources {
        for agent in edge.parts.catalog.offering(&caller.tenant, source.feature) {
            agents.entry(agent).or_default().push(*source);
        }
    }
    if let Some(after) = &after {
        agents.retain(|agent, _| agent.as_str() >= after.agent.as_str());
    }
    let page_size = edge.config.page_size.get();
    let deadline = deadline();
    let mut items = Vec::new();
    let mut last: Option<Last> = None;
    let asked = agents.into_iter().map(|(agent, sources)| async move {
        // One after another: an agent may take one call at a time.
        let mut all = Vec::new();
        for source in sources {
            all.extend(entries(edge, caller, (&agent, source), deadline).await);
        }
        all.sort_by(|a, b| a.key.cmp(&b.key));
        (agent, all)
    });
    let mut answers = futures::stream::iter(asked).buffered(AGENTS_AT_ONCE);
    while let Some((agent, entries)) = answers.next().await {
        for Entry { key, item } in entries {
            let is_before = |after: &Last| after.agent == agent.as_str() && key <= after.key;
            if after.as_ref().is_some_and(is_before) {
                continue;
            }
            if items.len() == page_size {
                return Ok(Paged { items, next: last.map(|last| last.encode()) });
            }
            items.push(item);
            last = Some(Last { agent: agent.to_string(), key });
        }
    }
    Ok(Paged { items, next: None })
}

/// When a list that is asked for now has to be there.
pub(super) fn deadline() -> tokio::time::Instant {
    tokio::time::Instant::now() + PAGE_TIME_MAX
}

/// What one agent lists, in order; nothing when it cannot say, or not in time.
pub(super) async fn entries<T: Send + 'static>(
    edge: &Edge,
    caller: &Caller,
    (agent, Source { feature, read }): (&AgentName, Source<T>),
    deadline: tokio::time::Instant,
) -> Vec<Entry<T>> {
    let left = deadline.saturating_duration_since(tokio::time::Instant::now());
    if left.is_zero() {
        tracing::warn!(agent_name = %agent, feature = feature.as_str(), "too late to ask an agent for a list");
        return Vec::new();
    }
    let call = FeatureCall {
        caller,
        agent,
        feature,
        arguments: "{}",
        received: Instant::now(),
        timeout: Some(edge.config.list_timeout.min(left)),
        progress: None,
        client: None,
    };
    let reply = edge.feature(call).await;
    if is_unknown(&reply) {
        // It left meanwhile.
        return Vec::new();
    }
    let listed = match reply.result {
        Ok(output) => read_beside(read, agent, output.json).await,
        Err(failure) => Err(BadContent::new(failure.message)),
    };
    let listed = match listed {
        Ok(listed) => listed,
        Err(error) => {
            let feature = feature.as_str();
            tracing::warn!(agent_name = %agent, feature, %error, "left an agent out of a list");
            return Vec::new();
        }
    };
    let (mut entries, mut refused) = (Vec::with_capacity(listed.len()), Vec::new());
    for entry in listed {
        match entry {
            Ok(entry) => entries.push(entry),
            Err(error) => refused.push(error),
        }
    }
    entries.sort_by(|a, b| a.key.cmp(&b.key));
    entries.dedup_by(|a, b| a.key == b.key);
    if let Some(error) = refused.first() {
        let (feature, count) = (feature.as_str(), refused.len());
        tracing::warn!(agent_name = %agent, feature, count, %error, "left entries out of a list");
    }
    entries
}

/// Reads what an agent lists. Much of it is read where nobody else waits for it.
async fn read_beside<T: Send + 'static>(
    read: Read<T>,
    agent: &AgentName,
    json: Box<RawValue>,
) -> Result<Vec<Result<Entry<T>, BadContent>>, BadContent> {
    if json.get().len() <= READ_AT_ONCE_BYTES {
        return read(agent, json.get());
    }
    let agent = agent.clone();
    let reading = tokio::task::spawn_blocking(move || read(&agent, json.get()));
    reading
        .await
        .unwrap_or_else(|error| Err(BadContent::new(format!("it cannot be read: {error}"))))
}
