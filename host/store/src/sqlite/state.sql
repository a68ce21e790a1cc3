-- What agents remember. The triggers keep every sum in step with what it sums up, cascading deletions
-- included: a quota is one comparison, however much a bucket holds. When a parent goes first, its own
-- trigger subtracts the whole, and those of its children find nothing to update.
CREATE TABLE state_total (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    charged_bytes INTEGER NOT NULL
) STRICT;
INSERT INTO state_total VALUES (1, 0);
CREATE TABLE owners (
    id INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL,
    -- Empty for what the agents of a tenant share.
    agent BLOB NOT NULL,
    charged_bytes INTEGER NOT NULL DEFAULT 0,
    UNIQUE (tenant, agent)
) STRICT;
CREATE TABLE buckets (
    id INTEGER PRIMARY KEY,
    owner INTEGER NOT NULL REFERENCES owners (id) ON DELETE CASCADE,
    -- Empty for what is not of one conversation.
    session TEXT NOT NULL,
    touched_unix_ms INTEGER NOT NULL,
    keys INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0,
    UNIQUE (owner, session)
) STRICT;
CREATE INDEX sessions_by_touch ON buckets (touched_unix_ms) WHERE session <> '';
-- Values are large: rows without an id would keep them in the tree that is searched.
CREATE TABLE entries (
    bucket INTEGER NOT NULL REFERENCES buckets (id) ON DELETE CASCADE,
    key TEXT NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (bucket, key)
) STRICT;
CREATE TRIGGER entry_added AFTER INSERT ON entries BEGIN
    UPDATE buckets SET keys = keys + 1, bytes = bytes + octet_length(new.key) + octet_length(new.value)
    WHERE id = new.bucket;
END;
CREATE TRIGGER entry_changed AFTER UPDATE ON entries BEGIN
    UPDATE buckets SET bytes = bytes + octet_length(new.value) - octet_length(old.value)
    WHERE id = new.bucket;
END;
CREATE TRIGGER entry_removed AFTER DELETE ON entries BEGIN
    UPDATE buckets SET keys = keys - 1, bytes = bytes - octet_length(old.key) - octet_length(old.value)
    WHERE id = old.bucket;
END;
CREATE TRIGGER bucket_added AFTER INSERT ON buckets BEGIN
    UPDATE owners SET charged_bytes = charged_bytes + 512 WHERE id = new.owner;
END;
CREATE TRIGGER bucket_changed AFTER UPDATE OF keys, bytes ON buckets BEGIN
    UPDATE owners SET charged_bytes = charged_bytes + new.bytes - old.bytes + 128 * (new.keys - old.keys)
    WHERE id = new.owner;
END;
CREATE TRIGGER bucket_removed AFTER DELETE ON buckets BEGIN
    UPDATE owners SET charged_bytes = charged_bytes - 512 - old.bytes - 128 * old.keys
    WHERE id = old.owner;
END;
CREATE TRIGGER owner_changed AFTER UPDATE OF charged_bytes ON owners BEGIN
    UPDATE state_total SET charged_bytes = charged_bytes + new.charged_bytes - old.charged_bytes;
END;
CREATE TRIGGER owner_removed AFTER DELETE ON owners BEGIN
    UPDATE state_total SET charged_bytes = charged_bytes - old.charged_bytes;
END;
-- Tokens that agents spent with language models. Only the days that still count are kept.
CREATE TABLE spent_tokens (
    day INTEGER NOT NULL,
    tenant TEXT NOT NULL,
    agent BLOB NOT NULL,
    tokens INTEGER NOT NULL,
    PRIMARY KEY (day, tenant, agent)
) STRICT, WITHOUT ROWID;
