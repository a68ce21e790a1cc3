//! Ranked full-text search over tools, in memory.
//!
//! SQLite's FTS5 does the indexing and the bm25 ranking: it is in the binary anyway, and a search
//! library that is kept well beats one of our own. A word in a tool's name weighs more than one in
//! its description, and that more than one in its parameters. Every tenant has an index of its own,
//! so that neither hits nor ranking of one say anything about the tools of another. Only words are
//! kept, not texts (`content=''`), so 10,000 tools take a few megabytes.
//!
//! An index is behind one mutex. What a search costs is ranking every tool that matches, so in a
//! large catalogue words that many tools have do not count when there are rarer ones (they would
//! hardly change the order anyway): a search stays at a few milliseconds with 10,000 tools.

mod query;
mod words;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use aop_core::{AgentName, Hit, Query, Search, SearchError, TenantName, Tool, ToolName};
use rusqlite::{Connection, OptionalExtension, Row, params};

use self::query::{Meaning, Word};

/// See the module's documentation.
#[derive(Default)]
pub struct ToolIndex {
    tenants: RwLock<HashMap<TenantName, Arc<Mutex<Connection>>>>,
}

// `contentless_delete` lets the words of a tool go by its row alone. The weights are those of the
// columns in order; `prefix` keeps the index of two and three letters that search-as-you-type asks.
const SCHEMA: &str = "
    CREATE TABLE tools (id INTEGER PRIMARY KEY, agent TEXT NOT NULL, name TEXT NOT NULL) STRICT;
    CREATE INDEX tools_by_agent ON tools (agent);
    CREATE INDEX tools_by_name ON tools (name);
    CREATE VIRTUAL TABLE words USING fts5 (
        name, description, parameters,
        content = '', contentless_delete = 1,
        tokenize = 'unicode61 remove_diacritics 2', prefix = '2 3'
    );
    INSERT INTO words (words, rank) VALUES ('rank', 'bm25(10.0, 4.0, 1.0)');
    CREATE VIRTUAL TABLE vocabulary USING fts5vocab (words, row);";

/// Tools above which words that many of them have are left out. Fewer are ranked in no time.
const LARGE_FROM_TOOLS: u64 = 1000;

/// In a large catalogue, a word that more than one in so many tools has is left out.
const COMMON_ONE_IN_TOOLS: u64 = 10;

impl ToolIndex {
    /// An empty index.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn existing(&self, tenant: &TenantName) -> Option<Arc<Mutex<Connection>>> {
        self.tenants.read().unwrap_or_else(PoisonError::into_inner).get(tenant).cloned()
    }

    fn existing_or_new(
        &self,
        tenant: &TenantName,
    ) -> Result<Arc<Mutex<Connection>>, rusqlite::Error> {
        if let Some(index) = self.existing(tenant) {
            return Ok(index);
        }
        let mut tenants = self.tenants.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = tenants.get(tenant) {
            return Ok(Arc::clone(index));
        }
        let connection = Connection::open_in_memory()?;
        connection.execute_batch(SCHEMA)?;
        let index = Arc::new(Mutex::new(connection));
        tenants.insert(tenant.clone(), Arc::clone(&index));
        Ok(index)
    }
}

impl Search for ToolIndex {
    fn publish(
        &self,
        tenant: &TenantName,
        agent: &AgentName,
        tools: &[Arc<Tool>],
    ) -> Result<(), SearchError> {
        let index = match self.existing(tenant) {
            None if tools.is_empty() => return Ok(()),
            _ => self.existing_or_new(tenant).map_err(|error| broken(&error))?,
        };
        replace(&mut lock(&index), agent, tools).map_err(|error| broken(&error))
    }

    fn search(&self, tenant: &TenantName, query: &Query) -> Result<Vec<Hit>, SearchError> {
        let Some(index) = self.existing(tenant) else { return Ok(Vec::new()) };
        let connection = lock(&index);
        let rows = match query::parse(&query.text) {
            Meaning::Everything => list(&connection, query),
            Meaning::Words(words) => ranked(&connection, words, query),
            Meaning::Nothing => return Ok(Vec::new()),
        };
        rows.map_err(|error| broken(&error))?.into_iter().map(FoundRow::decode).collect()
    }
}

fn lock(index: &Mutex<Connection>) -> MutexGuard<'_, Connection> {
    index.lock().unwrap_or_else(PoisonError::into_inner)
}

fn broken(error: &rusqlite::Error) -> SearchError {
    SearchError(format!("the tool index is broken: {error}"))
}

fn replace(
    connection: &mut Connection,
    agent: &AgentName,
    tools: &[Arc<Tool>],
) -> Result<(), rusqlite::Error> {
    let transaction = connection.transaction()?;
    transaction
        .prepare_cached("DELETE FROM words WHERE rowid IN (SELECT id FROM tools WHERE agent = ?1)")?
        .execute([agent.as_str()])?;
    transaction.prepare_cached("DELETE FROM tools WHERE agent = ?1")?.execute([agent.as_str()])?;
    for tool in tools {
        transaction
            .prepare_cached("INSERT INTO tools (agent, name) VALUES (?1, ?2)")?
            .execute([agent.as_str(), tool.name.as_str()])?;
        transaction
            .prepare_cached(
                "INSERT INTO words (rowid, name, description, parameters) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(params![
                transaction.last_insert_rowid(),
                words::of_name(agent, tool),
                words::of_description(tool),
                words::of_parameters(tool),
            ])?;
    }
    transaction.commit()
}

struct FoundRow {
    tool: String,
    agent: String,
    rank: f64,
}

impl FoundRow {
    fn read(row: &Row<'_>) -> Result<Self, rusqlite::Error> {
        Ok(Self { tool: row.get(0)?, agent: row.get(1)?, rank: row.get(2)? })
    }

    fn decode(self) -> Result<Hit, SearchError> {
        let foreign = |error| SearchError(format!("the tool index is broken: {error}"));
        Ok(Hit {
            tool: ToolName::new(&self.tool).map_err(foreign)?,
            agent: AgentName::new(&self.agent).map_err(foreign)?,
            // FTS5 ranks the best lowest.
            score: -self.rank,
        })
    }
}

fn list(connection: &Connection, query: &Query) -> Result<Vec<FoundRow>, rusqlite::Error> {
    let mut statement = connection.prepare_cached(
        "SELECT name, agent, 0.0 FROM tools WHERE ?1 IS NULL OR agent = ?1 ORDER BY name LIMIT ?2",
    )?;
    let rows = statement.query_map(params![query.agent.as_deref(), query.limit], FoundRow::read)?;
    rows.collect()
}

/// The words that tell tools apart: all of them, in a large catalogue only those that few have, and
/// of those that many have the rarest when there is nothing else.
fn telling<'a>(
    connection: &Connection,
    mut words: Vec<Word<'a>>,
) -> Result<Vec<Word<'a>>, rusqlite::Error> {
    let tools: u64 = connection
        .prepare_cached("SELECT count(*) FROM tools")?
        .query_row([], |row| row.get::<_, i64>(0))?
        .cast_unsigned();
    if tools <= LARGE_FROM_TOOLS || words.len() < 2 {
        return Ok(words);
    }
    let mut statement = connection.prepare_cached("SELECT doc FROM vocabulary WHERE term = ?1")?;
    let mut counted = Vec::with_capacity(words.len());
    for word in &words {
        let row = |row: &Row<'_>| row.get::<_, i64>(0);
        let found = statement.query_row([word.text.to_lowercase()], row).optional()?;
        counted.push((found.unwrap_or(0).cast_unsigned(), *word));
    }
    words.clear();
    let is_rare = |count: u64| count <= tools / COMMON_ONE_IN_TOOLS;
    words.extend(counted.iter().filter(|(count, _)| is_rare(*count)).map(|(_, word)| *word));
    if words.is_empty() {
        words.extend(counted.iter().min_by_key(|(count, _)| *count).map(|(_, word)| *word));
    }
    Ok(words)
}

fn ranked(
    connection: &Connection,
    words: Vec<Word<'_>>,
    query: &Query,
) -> Result<Vec<FoundRow>, rusqlite::Error> {
    let expression = query::expression(&telling(connection, words)?);
    let mut statement = connection.prepare_cached(
        "SELECT tools.name, tools.agent, words.rank FROM words JOIN tools ON tools.id = words.rowid
         WHERE words MATCH ?1 AND (?2 IS NULL OR tools.agent = ?2)
         ORDER BY words.rank, tools.name LIMIT ?3",
    )?;
    let rows = statement
        .query_map(params![expression, query.agent.as_deref(), query.limit], FoundRow::read)?;
    rows.collect()
}

#[cfg(test)]
mod tests;
