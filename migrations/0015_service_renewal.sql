-- Renewal without an outage, for services too; and who put which revocation list in force.
-- Why: a proxy or worker reads its certificate at start, so that between its row's change and its restart nobody would
-- let it in. Old code tolerates it: the view keeps its columns.
--
--   renew_service(…)                     the new certificate counts, the old one goes on until the overlap ends
--   UPDATE services SET cert_fingerprint the old one stops now, and with it every former one
--   revoking the service                 stops all of them, for ever

CREATE TABLE former_service_certificates (
    cert_fingerprint text PRIMARY KEY CHECK (cert_fingerprint ~ '^[0-9A-F]{64}$'),
    role             text NOT NULL,
    service_id       text NOT NULL,
    ends_at          timestamptz NOT NULL
);
ALTER TABLE former_service_certificates OWNER TO portcullis_owner;
COMMENT ON TABLE former_service_certificates IS
    'Certificates that go on beside their service''s new one. DELETE a row to end it now.';

CREATE FUNCTION services_end_former() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp
AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        DELETE FROM former_service_certificates;
        RETURN NULL;
    END IF;
    IF TG_OP = 'UPDATE' THEN
        -- Every certificate of a revoked service is final.
        INSERT INTO revoked_fingerprints (cert_fingerprint, client_id, revoked_at, reason_code)
            SELECT f.cert_fingerprint, n.role || '/' || n.service_id, n.revoked_at, n.reason_code
            FROM new_rows n JOIN former_service_certificates f USING (role, service_id) WHERE n.status = 'revoked'
            ON CONFLICT DO NOTHING;
        -- Revoked, another certificate, or another name: the former ones stop.
        DELETE FROM former_service_certificates f USING old_rows o
            WHERE f.role = o.role AND f.service_id = o.service_id AND NOT EXISTS (SELECT FROM new_rows n
                WHERE n.role = o.role AND n.service_id = o.service_id AND n.cert_fingerprint = o.cert_fingerprint
                  AND n.status <> 'revoked');
    ELSE
        DELETE FROM former_service_certificates f USING old_rows o
            WHERE f.role = o.role AND f.service_id = o.service_id
              AND NOT EXISTS (SELECT FROM services s WHERE s.role = o.role AND s.service_id = o.service_id);
    END IF;
    RETURN NULL;
END
$$;
ALTER FUNCTION services_end_former() OWNER TO portcullis_owner;
CREATE TRIGGER services_end_former_update AFTER UPDATE ON services
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION services_end_former();
CREATE TRIGGER services_end_former_delete AFTER DELETE ON services
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION services_end_former();
CREATE TRIGGER services_end_former_truncate AFTER TRUNCATE ON services
    FOR EACH STATEMENT EXECUTE FUNCTION services_end_former();

CREATE TRIGGER audit_insert AFTER INSERT ON former_service_certificates REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION audit_change();
CREATE TRIGGER audit_delete AFTER DELETE ON former_service_certificates REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION audit_change();

CREATE FUNCTION former_service_certificates_notify() RETURNS trigger
    LANGUAGE plpgsql SET search_path = public, pg_temp
AS $$
BEGIN
    NOTIFY portcullis_registry;
    RETURN NULL;
END
$$;
ALTER FUNCTION former_service_certificates_notify() OWNER TO portcullis_owner;
CREATE TRIGGER former_service_certificates_notify AFTER INSERT OR UPDATE OR DELETE ON former_service_certificates
    FOR EACH STATEMENT EXECUTE FUNCTION former_service_certificates_notify();

CREATE OR REPLACE VIEW service_registry AS
    SELECT s.cert_fingerprint AS fingerprint, s.service_id, s.role,
           CASE WHEN r.cert_fingerprint IS NULL THEN s.status ELSE 'revoked' END AS status,
           s.expires_at, coalesce(s.revoked_at, r.revoked_at) AS revoked_at,
           coalesce(s.reason_code, r.reason_code) AS reason_code
    FROM services s LEFT JOIN revoked_fingerprints r USING (cert_fingerprint)
    UNION ALL
    SELECT f.cert_fingerprint, s.service_id, s.role, s.status, f.ends_at, s.revoked_at, s.reason_code
    FROM former_service_certificates f JOIN services s USING (role, service_id)
    WHERE NOT EXISTS (SELECT FROM revoked_fingerprints r WHERE r.cert_fingerprint = f.cert_fingerprint);

-- Gives a service a new certificate. The one it had goes on until the overlap is over, or until its own registration
-- would have ended. Answers that moment; NULL if the old one stops now.
CREATE FUNCTION renew_service(role text, service_id text, new_fingerprint text, expires_at timestamptz,
                              overlap interval DEFAULT '0') RETURNS timestamptz
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    before services;
    kept   former_service_certificates[];
    ends   timestamptz;
BEGIN
    IF renew_service.overlap IS NULL OR renew_service.overlap < '0' OR renew_service.overlap > '90 days' THEN
        RAISE EXCEPTION 'an overlap lasts between 0 and 90 days' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT * INTO before FROM services s
        WHERE s.role = renew_service.role AND s.service_id = renew_service.service_id FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION '% % is not registered', renew_service.role, renew_service.service_id
            USING ERRCODE = 'no_data_found';
    END IF;
    IF before.status = 'revoked' THEN
        RAISE EXCEPTION '% % was revoked at % and is not renewed', before.role, before.service_id, before.revoked_at
            USING ERRCODE = 'check_violation',
                  HINT = 'to let it in again, give it a new certificate with an UPDATE that sets status = ''active''';
    END IF;
    IF normalise_fingerprint(renew_service.new_fingerprint) = before.cert_fingerprint THEN
        RAISE EXCEPTION '% % has this certificate already', before.role, before.service_id
            USING ERRCODE = 'unique_violation';
    END IF;
    -- The UPDATE ends every former certificate; those that still run were promised their time.
    kept := ARRAY(SELECT f FROM former_service_certificates f
        WHERE f.role = before.role AND f.service_id = before.service_id AND f.ends_at > now());
    UPDATE services s
        SET cert_fingerprint = renew_service.new_fingerprint, expires_at = renew_service.expires_at, issued_at = now(),
            status = CASE s.status WHEN 'expired' THEN 'active' ELSE s.status END
        WHERE s.role = before.role AND s.service_id = before.service_id;
    INSERT INTO former_service_certificates (cert_fingerprint, role, service_id, ends_at)
        SELECT k.cert_fingerprint, k.role, k.service_id, k.ends_at FROM unnest(kept) k
        WHERE NOT EXISTS (SELECT FROM services s WHERE s.cert_fingerprint = k.cert_fingerprint);
    ends := least(now() + renew_service.overlap, before.expires_at);
    IF ends <= now() OR before.status = 'expired' THEN
        RETURN NULL;
    END IF;
    INSERT INTO former_service_certificates (cert_fingerprint, role, service_id, ends_at)
        VALUES (before.cert_fingerprint, before.role, before.service_id, ends);
    RETURN ends;
END
$$;
ALTER FUNCTION renew_service(text, text, text, timestamptz, interval) OWNER TO portcullis_owner;
REVOKE ALL ON FUNCTION renew_service(text, text, text, timestamptz, interval) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION renew_service(text, text, text, timestamptz, interval) TO portcullis_operator;
GRANT SELECT, DELETE ON former_service_certificates TO portcullis_operator;

-- A list that was put in force, by its issuer's key and its number; the list itself is in `crls`.
CREATE FUNCTION audit_crl() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp
AS $$
BEGIN
    INSERT INTO audit_log (what, old, new)
    VALUES ('crls ' || lower(TG_OP),
            CASE TG_OP WHEN 'UPDATE' THEN jsonb_build_object('crl_number', OLD.crl_number) END,
            jsonb_build_object('issuer_key_id', encode(NEW.issuer_key_id, 'hex'), 'crl_number', NEW.crl_number,
                               'this_update', NEW.this_update, 'next_update', NEW.next_update));
    RETURN NULL;
END
$$;
ALTER FUNCTION audit_crl() OWNER TO portcullis_owner;
CREATE TRIGGER audit_crl AFTER INSERT OR UPDATE ON crls FOR EACH ROW EXECUTE FUNCTION audit_crl();
