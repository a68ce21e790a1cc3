-- What the agents of each tenant remember together, so that its quota is one comparison as well.
CREATE TABLE tenant_totals (
    tenant TEXT PRIMARY KEY,
    charged_bytes INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO tenant_totals SELECT tenant, sum(charged_bytes) FROM owners GROUP BY tenant;
CREATE TRIGGER owner_added_to_tenant AFTER INSERT ON owners BEGIN
    INSERT INTO tenant_totals VALUES (new.tenant, new.charged_bytes)
    ON CONFLICT DO UPDATE SET charged_bytes = charged_bytes + excluded.charged_bytes;
END;
CREATE TRIGGER owner_changed_in_tenant AFTER UPDATE OF charged_bytes ON owners BEGIN
    UPDATE tenant_totals SET charged_bytes = charged_bytes + new.charged_bytes - old.charged_bytes
    WHERE tenant = new.tenant;
END;
CREATE TRIGGER owner_removed_from_tenant AFTER DELETE ON owners BEGIN
    UPDATE tenant_totals SET charged_bytes = charged_bytes - old.charged_bytes WHERE tenant = old.tenant;
    DELETE FROM tenant_totals WHERE tenant = old.tenant AND charged_bytes = 0;
END;
