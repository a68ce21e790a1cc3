-- Tenants own everything else. `default` is always there.
CREATE TABLE tenants (
    name TEXT NOT NULL PRIMARY KEY,
    created_unix_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO tenants VALUES ('default', 0);
-- Tenants that were served before there was this table.
INSERT OR IGNORE INTO tenants SELECT DISTINCT tenant, 0 FROM agents;
-- What opens a key is not here: only its hash.
CREATE TABLE api_keys (
    id TEXT NOT NULL PRIMARY KEY,
    tenant TEXT NOT NULL REFERENCES tenants (name) ON DELETE CASCADE,
    subject TEXT NOT NULL,
    name TEXT NOT NULL,
    scopes TEXT NOT NULL,
    hash BLOB NOT NULL,
    created_unix_ms INTEGER NOT NULL,
    expires_unix_ms INTEGER,
    revoked_unix_ms INTEGER,
    last_used_unix_ms INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX api_keys_by_tenant ON api_keys (tenant);
-- One row once there was a key: a host that asked for keys does not open when the last one goes.
CREATE TABLE had_keys (one INTEGER PRIMARY KEY CHECK (one = 1)) STRICT;
CREATE TRIGGER key_added AFTER INSERT ON api_keys BEGIN
    INSERT OR IGNORE INTO had_keys VALUES (1);
END;
CREATE TABLE secrets (
    tenant TEXT NOT NULL REFERENCES tenants (name) ON DELETE CASCADE,
    name TEXT NOT NULL,
    updated_unix_ms INTEGER NOT NULL,
    sealed BLOB NOT NULL,
    PRIMARY KEY (tenant, name)
) STRICT, WITHOUT ROWID;
-- Whose a task is within its tenant. Of tasks from before, nobody knows; they were everybody's.
ALTER TABLE tasks ADD COLUMN subject TEXT NOT NULL DEFAULT 'local';
