-- A revoked fingerprint stays revoked, whatever runs at the same moment.
-- Why: the trigger that refuses one looks before the row's place in the unique index is free. A session that
-- waits there for a revocation, or whose snapshot is older than it, had looked too early, and its row counted.
-- Old code tolerates it: the views keep their columns.

-- After the wait, and before the commit: whoever waited sees the revocation now.
CREATE FUNCTION refuse_revoked() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp
AS $$
DECLARE
    final revoked_fingerprints;
BEGIN
    SELECT r.* INTO final FROM new_rows n JOIN revoked_fingerprints r USING (cert_fingerprint)
        WHERE n.status <> 'revoked' LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'fingerprint % was revoked at % and stays revoked', final.cert_fingerprint, final.revoked_at
            USING ERRCODE = 'check_violation', TABLE = TG_TABLE_NAME, COLUMN = 'cert_fingerprint',
                  HINT = 'issue a new certificate; use status ''suspended'' for a refusal that can be undone';
    END IF;
    RETURN NULL;
END
$$;
ALTER FUNCTION refuse_revoked() OWNER TO portcullis_owner;
CREATE TRIGGER refuse_revoked_insert AFTER INSERT ON clients
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION refuse_revoked();
CREATE TRIGGER refuse_revoked_update AFTER UPDATE ON clients
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION refuse_revoked();
CREATE TRIGGER refuse_revoked_insert AFTER INSERT ON services
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION refuse_revoked();
CREATE TRIGGER refuse_revoked_update AFTER UPDATE ON services
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION refuse_revoked();

-- A REPEATABLE READ transaction does not see it even then. `revoked_fingerprints` has the last word with whoever reads.
CREATE OR REPLACE VIEW client_registry AS
    SELECT c.cert_fingerprint AS fingerprint, c.client_id, c.domain,
           CASE WHEN r.cert_fingerprint IS NULL THEN c.status ELSE 'revoked' END AS status,
           c.expires_at, coalesce(c.revoked_at, r.revoked_at) AS revoked_at,
           coalesce(c.reason_code, r.reason_code) AS reason_code, c.change_xid
    FROM clients c LEFT JOIN revoked_fingerprints r USING (cert_fingerprint)
    UNION ALL
    SELECT f.cert_fingerprint, c.client_id, c.domain, c.status, f.ends_at, c.revoked_at, c.reason_code, f.change_xid
    FROM former_certificates f JOIN clients c USING (client_id)
    WHERE NOT EXISTS (SELECT FROM revoked_fingerprints r WHERE r.cert_fingerprint = f.cert_fingerprint)
    UNION ALL
    SELECT r.cert_fingerprint, r.client_id, 'default', 'revoked', r.revoked_at, r.revoked_at, r.reason_code, r.change_xid
    FROM revoked_fingerprints r
    -- a service's is named ROLE/NAME, and its certificate never reaches a client door
    WHERE position('/' IN r.client_id) = 0
      AND NOT EXISTS (SELECT FROM clients c WHERE c.cert_fingerprint = r.cert_fingerprint);

CREATE OR REPLACE VIEW service_registry AS
    SELECT s.cert_fingerprint AS fingerprint, s.service_id, s.role,
           CASE WHEN r.cert_fingerprint IS NULL THEN s.status ELSE 'revoked' END AS status,
           s.expires_at, coalesce(s.revoked_at, r.revoked_at) AS revoked_at,
           coalesce(s.reason_code, r.reason_code) AS reason_code
    FROM services s LEFT JOIN revoked_fingerprints r USING (cert_fingerprint);
