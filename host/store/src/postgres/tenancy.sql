-- Tenants of one name, one after another, on hosts that learn of it at different times. Whatever is kept is of the tenant that was
-- created first of those that wrote there, and ends with it. What was there before is of the one that ends first.
ALTER TABLE aop_owners ADD COLUMN since_unix_ms BIGINT NOT NULL DEFAULT 0;
-- Tenants that were created until then are gone: they read and write nothing. The row of one that is gone stays for as long as
-- a host may not have learnt of it.
ALTER TABLE aop_tenant_totals ADD COLUMN ended_unix_ms BIGINT NOT NULL DEFAULT -1;
ALTER TABLE aop_tenant_totals ADD COLUMN forgotten_unix_ms BIGINT;
