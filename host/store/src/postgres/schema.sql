-- What agents remember, for all hosts that use this database. Whoever writes holds the row of its owner from the
-- beginning to the end of its transaction, and that of the tenant only at its end: always in this order, so
-- that no two writes wait for each other.
CREATE TABLE aop_tenant_totals (
    tenant TEXT PRIMARY KEY,
    charged_bytes BIGINT NOT NULL
);
CREATE TABLE aop_owners (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant TEXT NOT NULL,
    -- Empty for what the agents of a tenant share.
    agent BYTEA NOT NULL,
    charged_bytes BIGINT NOT NULL DEFAULT 0,
    UNIQUE (tenant, agent)
);
CREATE TABLE aop_buckets (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    owner BIGINT NOT NULL REFERENCES aop_owners (id) ON DELETE CASCADE,
    -- Empty for what is not of one conversation.
    session TEXT NOT NULL,
    touched_unix_ms BIGINT NOT NULL,
    keys BIGINT NOT NULL DEFAULT 0,
    bytes BIGINT NOT NULL DEFAULT 0,
    UNIQUE (owner, session)
);
CREATE INDEX aop_sessions_by_touch ON aop_buckets (touched_unix_ms) WHERE session <> '';
CREATE TABLE aop_entries (
    bucket BIGINT NOT NULL REFERENCES aop_buckets (id) ON DELETE CASCADE,
    -- Bytes, because keys may hold a zero, and are in the order of their bytes.
    key BYTEA NOT NULL,
    value BYTEA NOT NULL,
    PRIMARY KEY (bucket, key)
);
