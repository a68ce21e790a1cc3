-- What the outcomes of each tenant's tasks take, so that their bound is a sum over tenants instead of over tasks.
CREATE TABLE task_totals (
    tenant TEXT PRIMARY KEY,
    outcome_bytes INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO task_totals
    SELECT tenant, sum(octet_length(outcome)) FROM tasks WHERE outcome <> '' GROUP BY tenant;
CREATE TRIGGER outcome_added AFTER INSERT ON tasks WHEN new.outcome <> '' BEGIN
    INSERT INTO task_totals VALUES (new.tenant, octet_length(new.outcome))
    ON CONFLICT DO UPDATE SET outcome_bytes = outcome_bytes + excluded.outcome_bytes;
END;
CREATE TRIGGER outcome_changed AFTER UPDATE OF outcome ON tasks BEGIN
    INSERT INTO task_totals
    VALUES (new.tenant, coalesce(octet_length(new.outcome), 0) - coalesce(octet_length(old.outcome), 0))
    ON CONFLICT DO UPDATE SET outcome_bytes = outcome_bytes + excluded.outcome_bytes;
    DELETE FROM task_totals WHERE tenant = new.tenant AND outcome_bytes = 0;
END;
CREATE TRIGGER outcome_removed AFTER DELETE ON tasks WHEN old.outcome <> '' BEGIN
    UPDATE task_totals SET outcome_bytes = outcome_bytes - octet_length(old.outcome) WHERE tenant = old.tenant;
    DELETE FROM task_totals WHERE tenant = old.tenant AND outcome_bytes = 0;
END;
-- Tasks are counted by caller, and in their rows the subject lies behind an outcome of megabytes.
CREATE INDEX tasks_by_caller ON tasks (tenant, subject, created_unix_ms, state);
