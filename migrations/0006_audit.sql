-- Who changed what: every change to clients and services, and what proxies refused. Only ever appended to.
-- Old code tolerates it: it adds a table and triggers.

CREATE TABLE audit_log (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at               timestamptz NOT NULL,
    who              text NOT NULL,     -- the login, whatever role it has put on
    what             text NOT NULL,     -- 'clients update', 'services truncate', 'refused certificate_revoked', …
    client_id        text,              -- of a service: ROLE/NAME
    cert_fingerprint text,
    old              jsonb,
    new              jsonb,
    reason           text
);
ALTER TABLE audit_log OWNER TO portcullis_owner;
CREATE INDEX audit_log_at ON audit_log (at);
CREATE INDEX audit_log_client ON audit_log (client_id, at);
CREATE INDEX audit_log_fingerprint ON audit_log (cert_fingerprint, at);
COMMENT ON TABLE audit_log IS 'Append-only. SELECT * FROM audit_log WHERE client_id = … ORDER BY id';

-- Whoever may append cannot say when or who.
CREATE FUNCTION audit_log_stamp() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    NEW.at := clock_timestamp();
    NEW.who := session_user;
    RETURN NEW;
END
$$;
ALTER FUNCTION audit_log_stamp() OWNER TO portcullis_owner;
CREATE TRIGGER audit_log_stamp BEFORE INSERT ON audit_log FOR EACH ROW EXECUTE FUNCTION audit_log_stamp();

CREATE FUNCTION audit_log_refuse() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is only ever appended to' USING ERRCODE = 'insufficient_privilege', TABLE = 'audit_log';
END
$$;
ALTER FUNCTION audit_log_refuse() OWNER TO portcullis_owner;
-- These stop the owner and superusers too, until they take the trigger away; ALWAYS: in a replica's session as well.
CREATE TRIGGER audit_log_refuse BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION audit_log_refuse();
ALTER TABLE audit_log ENABLE ALWAYS TRIGGER audit_log_stamp;
ALTER TABLE audit_log ENABLE ALWAYS TRIGGER audit_log_refuse;

-- One row per changed row, per statement. A row that was written and not changed is no change.
CREATE FUNCTION audit_change() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp
AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO audit_log (what, client_id, cert_fingerprint, new, reason)
            SELECT TG_TABLE_NAME || ' insert', audit_name(row), row ->> 'cert_fingerprint', row, row ->> 'revocation_reason'
            FROM (SELECT to_jsonb(n) - 'change_xid' AS row FROM new_rows n) one;
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO audit_log (what, client_id, cert_fingerprint, old)
            SELECT TG_TABLE_NAME || ' delete', audit_name(row), row ->> 'cert_fingerprint', row
            FROM (SELECT to_jsonb(o) - 'change_xid' AS row FROM old_rows o) one;
    ELSIF TG_OP = 'UPDATE' THEN
        -- a renamed client has no partner: its old and its new name get a row each
        INSERT INTO audit_log (what, client_id, cert_fingerprint, old, new, reason)
            SELECT TG_TABLE_NAME || ' update', coalesce(n.name, o.name),
                   coalesce(n.row ->> 'cert_fingerprint', o.row ->> 'cert_fingerprint'), o.row, n.row,
                   n.row ->> 'revocation_reason'
            FROM (SELECT to_jsonb(t) - 'change_xid' AS row, audit_name(to_jsonb(t)) AS name FROM old_rows t) o
            FULL JOIN (SELECT to_jsonb(t) - 'change_xid' AS row, audit_name(to_jsonb(t)) AS name FROM new_rows t) n
              ON n.name = o.name
            WHERE n.row IS DISTINCT FROM o.row;
    ELSE
        INSERT INTO audit_log (what) VALUES (TG_TABLE_NAME || ' truncate');
    END IF;
    RETURN NULL;
END
$$;
ALTER FUNCTION audit_change() OWNER TO portcullis_owner;

CREATE FUNCTION audit_name(row_of_table jsonb) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN coalesce(row_of_table ->> 'client_id', (row_of_table ->> 'role') || '/' || (row_of_table ->> 'service_id'));
ALTER FUNCTION audit_name(jsonb) OWNER TO portcullis_owner;

DO $$
DECLARE
    audited text;
BEGIN
    FOREACH audited IN ARRAY ARRAY['clients', 'services']
    LOOP
        EXECUTE format('CREATE TRIGGER audit_insert AFTER INSERT ON %I REFERENCING NEW TABLE AS new_rows
            FOR EACH STATEMENT EXECUTE FUNCTION audit_change()', audited);
        EXECUTE format('CREATE TRIGGER audit_update AFTER UPDATE ON %I
            REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
            FOR EACH STATEMENT EXECUTE FUNCTION audit_change()', audited);
        EXECUTE format('CREATE TRIGGER audit_delete AFTER DELETE ON %I REFERENCING OLD TABLE AS old_rows
            FOR EACH STATEMENT EXECUTE FUNCTION audit_change()', audited);
        EXECUTE format('CREATE TRIGGER audit_truncate AFTER TRUNCATE ON %I
            FOR EACH STATEMENT EXECUTE FUNCTION audit_change()', audited);
    END LOOP;
    -- a former certificate that begins to overlap, or stops; touching one is no change
    CREATE TRIGGER audit_insert AFTER INSERT ON former_certificates REFERENCING NEW TABLE AS new_rows
        FOR EACH STATEMENT EXECUTE FUNCTION audit_change();
    CREATE TRIGGER audit_delete AFTER DELETE ON former_certificates REFERENCING OLD TABLE AS old_rows
        FOR EACH STATEMENT EXECUTE FUNCTION audit_change();
    CREATE TRIGGER audit_insert AFTER INSERT ON revoked_fingerprints REFERENCING NEW TABLE AS new_rows
        FOR EACH STATEMENT EXECUTE FUNCTION audit_change();
END
$$;

GRANT SELECT ON audit_log TO portcullis_operator;
-- for refusals; the trigger says who and when
GRANT INSERT (what, client_id, cert_fingerprint, new, reason) ON audit_log TO portcullis_server;
