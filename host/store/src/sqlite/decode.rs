//! Rows to records, each value checked as it is read.

use aop_core::{
    AgentId, AgentName, AgentRecord, Digest, Origin, RevisionNumber, RevisionRecord, StoreError,
    TenantName,
};
use rusqlite::{Connection, OptionalExtension, Row, params};
use uuid::Uuid;

use crate::error::failed;

const AGENT_COLUMNS: &str = "name, id, origin, active, pinned_against, published";

pub(super) fn agents(
    connection: &Connection,
    tenant: &TenantName,
) -> Result<Vec<AgentRecord>, StoreError> {
    let sql = format!("SELECT {AGENT_COLUMNS} FROM agents WHERE tenant = ?1 ORDER BY name");
    let read = || {
        let mut statement = connection.prepare_cached(&sql)?;
        let rows = statement.query_map([tenant.as_str()], AgentRow::read)?;
        rows.collect::<Result<Vec<_>, _>>()
    };
    read().map_err(|error| failed(&error))?.into_iter().map(AgentRow::decode).collect()
}

pub(super) fn agent(
    connection: &Connection,
    tenant: &TenantName,
    name: &AgentName,
) -> Result<Option<AgentRecord>, StoreError> {
    let sql = format!("SELECT {AGENT_COLUMNS} FROM agents WHERE tenant = ?1 AND name = ?2");
    let read = || {
        let mut statement = connection.prepare_cached(&sql)?;
        statement.query_row([tenant.as_str(), name.as_str()], AgentRow::read).optional()
    };
    read().map_err(|error| failed(&error))?.map(AgentRow::decode).transpose()
}

pub(super) fn revisions(
    connection: &Connection,
    tenant: &TenantName,
    name: &AgentName,
) -> Result<Vec<RevisionRecord>, StoreError> {
    let read = || {
        let mut statement = connection.prepare_cached(
            "SELECT number, digest, settings, created_unix_ms FROM revisions
             WHERE tenant = ?1 AND name = ?2 ORDER BY number DESC",
        )?;
        let rows = statement.query_map([tenant.as_str(), name.as_str()], RevisionRow::read)?;
        rows.collect::<Result<Vec<_>, _>>()
    };
    let rows = read().map_err(|error| failed(&error))?;
    rows.into_iter().map(|row| row.decode(name)).collect()
}

pub(super) fn revision(
    connection: &Connection,
    tenant: &TenantName,
    name: &AgentName,
    number: RevisionNumber,
) -> Result<Option<RevisionRecord>, StoreError> {
    let read = || {
        let mut statement = connection.prepare_cached(
            "SELECT number, digest, settings, created_unix_ms FROM revisions
             WHERE tenant = ?1 AND name = ?2 AND number = ?3",
        )?;
        let key = params![tenant.as_str(), name.as_str(), number.0.cast_signed()];
        statement.query_row(key, RevisionRow::read).optional()
    };
    read().map_err(|error| failed(&error))?.map(|row| row.decode(name)).transpose()
}

pub(super) fn digests(connection: &Connection) -> Result<Vec<Digest>, StoreError> {
    let read = || {
        let mut statement = connection.prepare_cached("SELECT DISTINCT digest FROM revisions")?;
        let rows = statement.query_map([], |row| row.get::<_, Vec<u8>>(0))?;
        rows.collect::<Result<Vec<_>, _>>()
    };
    read().map_err(|error| failed(&error))?.iter().map(|bytes| digest(bytes)).collect()
}

pub(super) fn uploaded(
    connection: &Connection,
    tenant: &TenantName,
    except: &AgentName,
) -> Result<Vec<Digest>, StoreError> {
    let origin = serde_json::to_string(&Origin::Api)
        .map_err(|error| StoreError::Failed(format!("an origin cannot be written: {error}")))?;
    let read = || {
        let mut statement = connection.prepare_cached(
            "SELECT DISTINCT digest FROM revisions JOIN agents USING (tenant, name)
             WHERE tenant = ?1 AND origin = ?2 AND name <> ?3",
        )?;
        let values = [tenant.as_str(), &origin, except.as_str()];
        let rows = statement.query_map(values, |row| row.get::<_, Vec<u8>>(0))?;
        rows.collect::<Result<Vec<_>, _>>()
    };
    read().map_err(|error| failed(&error))?.iter().map(|bytes| digest(bytes)).collect()
}

struct AgentRow {
    name: String,
    id: Uuid,
    origin: String,
    active: i64,
    pinned_against: Option<Vec<u8>>,
    published: String,
}

impl AgentRow {
    fn read(row: &Row<'_>) -> Result<Self, rusqlite::Error> {
        Ok(Self {
            name: row.get(0)?,
            id: Uuid::from_bytes(row.get(1)?),
            origin: row.get(2)?,
            active: row.get(3)?,
            pinned_against: row.get(4)?,
            published: row.get(5)?,
        })
    }

    fn decode(self) -> Result<AgentRecord, StoreError> {
        let unreadable =
            |what: &str, error: &dyn std::fmt::Display| unreadable(&self.name, what, error);
        Ok(AgentRecord {
            id: AgentId(self.id),
            name: AgentName::new(&self.name).map_err(|error| unreadable("name", &error))?,
            origin: serde_json::from_str(&self.origin)
                .map_err(|error| unreadable("origin", &error))?,
            active: RevisionNumber(self.active.cast_unsigned()),
            pinned_against: self.pinned_against.as_deref().map(digest).transpose()?,
            published: serde_json::from_str(&self.published)
                .map_err(|error| unreadable("published names", &error))?,
        })
    }
}

struct RevisionRow {
    number: i64,
    digest: Vec<u8>,
    settings: String,
    created_unix_ms: i64,
}

impl RevisionRow {
    fn read(row: &Row<'_>) -> Result<Self, rusqlite::Error> {
        Ok(Self {
            number: row.get(0)?,
            digest: row.get(1)?,
            settings: row.get(2)?,
            created_unix_ms: row.get(3)?,
        })
    }

    fn decode(self, agent: &AgentName) -> Result<RevisionRecord, StoreError> {
        Ok(RevisionRecord {
            number: RevisionNumber(self.number.cast_unsigned()),
            digest: digest(&self.digest)?,
            settings: serde_json::from_str(&self.settings)
                .map_err(|error| unreadable(agent, "settings", &error))?,
            created_unix_ms: self.created_unix_ms.cast_unsigned(),
        })
    }
}

fn digest(bytes: &[u8]) -> Result<Digest, StoreError> {
    let hex = bytes.iter().fold(String::from("sha256:"), |mut text, byte| {
        use std::fmt::Write as _;
        // Writing into a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    });
    hex.parse()
        .map_err(|error| StoreError::Failed(format!("a stored digest cannot be read: {error}")))
}

fn unreadable(agent: &str, what: &str, error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Failed(format!(
        "the stored {what} of agent `{agent}` cannot be read ({error}): another release wrote them, or the store is damaged"
    ))
}
