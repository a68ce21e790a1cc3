-- Ids are unique by themselves; the tenant in the key keeps those of one tenant together, to count them.
CREATE TABLE tasks (
    tenant TEXT NOT NULL,
    id TEXT NOT NULL,
    state TEXT NOT NULL,
    created_unix_ms INTEGER NOT NULL,
    updated_unix_ms INTEGER NOT NULL,
    expires_unix_ms INTEGER NOT NULL,
    outcome TEXT,
    PRIMARY KEY (tenant, id)
) STRICT;
CREATE INDEX tasks_by_expiry ON tasks (expires_unix_ms);
CREATE INDEX tasks_that_work ON tasks (state) WHERE state = 'working';
