//! What each write does inside its transaction.

use aop_core::{
    AgentName, AgentRecord, Digest, NewRevision, RevisionNumber, Store, StoreError, TenantName,
};
use rusqlite::{Connection, ErrorCode, params};
use serde::Serialize;

use super::decode;
use crate::error::failed;

pub(super) fn append(
    connection: &Connection,
    tenant: &TenantName,
    revisions: &[NewRevision],
) -> Result<Vec<AgentRecord>, StoreError> {
    revisions.iter().map(|revision| append_one(connection, tenant, revision)).collect()
}

fn append_one(
    connection: &Connection,
    tenant: &TenantName,
    revision: &NewRevision,
) -> Result<AgentRecord, StoreError> {
    let stored = decode::agent(connection, tenant, &revision.name)?;
    if stored.as_ref().is_some_and(|stored| stored.id != revision.id) {
        return Err(StoreError::Conflict);
    }
    let same = match &stored {
        Some(stored) => decode::revision(connection, tenant, &stored.name, stored.active)?
            .is_some_and(|active| {
                active.digest == revision.digest && active.settings == revision.settings
            }),
        None => false,
    };
    let number = match &stored {
        Some(stored) if same => stored.active,
        Some(_) => next_number(connection, tenant, &revision.name)?,
        None => RevisionNumber(1),
    };
    let record = AgentRecord {
        id: revision.id,
        name: revision.name.clone(),
        origin: revision.origin.clone(),
        active: number,
        pinned_against: None,
        published: revision.published.clone(),
    };
    if stored.as_ref() != Some(&record) {
        put_agent(connection, tenant, &record)?;
    }
    if !same {
        put_revision(connection, tenant, number, revision)?;
        forget_old_revisions(connection, tenant, revision)?;
    }
    Ok(record)
}

pub(super) fn activate(
    connection: &Connection,
    tenant: &TenantName,
    name: &AgentName,
    number: RevisionNumber,
    pinned_against: Option<Digest>,
) -> Result<AgentRecord, StoreError> {
    let mut record = decode::agent(connection, tenant, name)?.ok_or(StoreError::Missing)?;
    decode::revision(connection, tenant, name, number)?.ok_or(StoreError::Missing)?;
    record.active = number;
    record.pinned_against = pinned_against;
    put_agent(connection, tenant, &record)?;
    Ok(record)
}

pub(super) fn remove(
    connection: &Connection,
    tenant: &TenantName,
    name: &AgentName,
) -> Result<(), StoreError> {
    let run = || {
        let whose = [tenant.as_str(), name.as_str()];
        // What it remembers goes with it, for every tenant that it was shared with, with everything below the owner.
        connection
            .prepare_cached(
                "DELETE FROM owners
                 WHERE agent = (SELECT id FROM agents WHERE tenant = ?1 AND name = ?2)",
            )?
            .execute(whose)?;
        connection
            .prepare_cached("DELETE FROM agents WHERE tenant = ?1 AND name = ?2")?
            .execute(whose)
    };
    run().map(|_| ()).map_err(|error| failed(&error))
}

fn next_number(
    connection: &Connection,
    tenant: &TenantName,
    name: &AgentName,
) -> Result<RevisionNumber, StoreError> {
    let run = || {
        connection
            .prepare_cached("SELECT coalesce(max(number), 0) + 1 FROM revisions WHERE tenant = ?1 AND name = ?2")?
            .query_row([tenant.as_str(), name.as_str()], |row| row.get::<_, i64>(0))
    };
    run().map(|number| RevisionNumber(number.cast_unsigned())).map_err(|error| failed(&error))
}

fn put_agent(
    connection: &Connection,
    tenant: &TenantName,
    record: &AgentRecord,
) -> Result<(), StoreError> {
    let origin = json(&record.origin)?;
    let published = json(&record.published)?;
    let run = || {
        connection
            .prepare_cached(
                "INSERT INTO agents (tenant, name, id, origin, active, pinned_against, published)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                 ON CONFLICT (tenant, name) DO UPDATE SET
                     origin = excluded.origin, active = excluded.active,
                     pinned_against = excluded.pinned_against, published = excluded.published",
            )?
            .execute(params![
                tenant.as_str(),
                record.name.as_str(),
                record.id.0.as_bytes(),
                origin,
                record.active.0.cast_signed(),
                record.pinned_against.as_ref().map(Digest::as_bytes),
                published,
            ])
    };
    run().map(|_| ()).map_err(|error| match error.sqlite_error_code() {
        // The id belongs to another agent.
        Some(ErrorCode::ConstraintViolation) => StoreError::Conflict,
        _ => failed(&error),
    })
}

fn put_revision(
    connection: &Connection,
    tenant: &TenantName,
    number: RevisionNumber,
    revision: &NewRevision,
) -> Result<(), StoreError> {
    let settings = json(&revision.settings)?;
    let run = || {
        connection
            .prepare_cached(
                "INSERT INTO revisions (tenant, name, number, digest, settings, created_unix_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![
                tenant.as_str(),
                revision.name.as_str(),
                number.0.cast_signed(),
                revision.digest.as_bytes(),
                settings,
                revision.created_unix_ms.cast_signed(),
            ])
    };
    run().map(|_| ()).map_err(|error| failed(&error))
}

fn forget_old_revisions(
    connection: &Connection,
    tenant: &TenantName,
    newest: &NewRevision,
) -> Result<(), StoreError> {
    let kept = newest.kept.clamp(1, <dyn Store>::REVISIONS_KEPT);
    let run = || {
        connection
            .prepare_cached(
                "DELETE FROM revisions WHERE tenant = ?1 AND name = ?2 AND number NOT IN (
                     SELECT number FROM revisions WHERE tenant = ?1 AND name = ?2
                     ORDER BY number DESC LIMIT ?3)",
            )?
            .execute(params![tenant.as_str(), newest.name.as_str(), kept.cast_signed()])
    };
    run().map(|_| ()).map_err(|error| failed(&error))
}

fn json<T: Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value)
        .map_err(|error| StoreError::Failed(format!("a value cannot be stored: {error}")))
}
