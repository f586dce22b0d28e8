-- Renewal without an outage: a client's former certificate may go on for a bounded time beside the new one.
-- Old code tolerates it: the views keep their columns, so a proxy needs to know nothing of this.
--
--   renew_client(…)                     the new certificate counts, the old one goes on until the overlap ends
--   UPDATE clients SET cert_fingerprint the old one stops now, and with it every former one
--   revoking the client                 stops all of them, for ever

CREATE TABLE former_certificates (
    cert_fingerprint text PRIMARY KEY CHECK (cert_fingerprint ~ '^[0-9A-F]{64}$'),
    client_id        text NOT NULL, -- no foreign key: it would forbid TRUNCATE clients
    ends_at          timestamptz NOT NULL,
    change_xid       xid8 NOT NULL DEFAULT pg_current_xact_id()
);
ALTER TABLE former_certificates OWNER TO portcullis_owner;
CREATE INDEX former_certificates_client ON former_certificates (client_id);
CREATE INDEX former_certificates_change ON former_certificates (change_xid);
COMMENT ON TABLE former_certificates IS
    'Certificates that go on beside their client''s new one. DELETE a row to end it now.';

ALTER TABLE revoked_fingerprints ADD COLUMN change_xid xid8 NOT NULL DEFAULT pg_current_xact_id();
CREATE INDEX revoked_fingerprints_change ON revoked_fingerprints (change_xid);

-- One certificate, one client.
CREATE FUNCTION clients_before_write_former() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp
AS $$
DECLARE
    former former_certificates;
BEGIN
    SELECT * INTO former FROM former_certificates f
        WHERE f.cert_fingerprint = NEW.cert_fingerprint AND f.client_id <> NEW.client_id;
    IF FOUND THEN
        RAISE EXCEPTION 'fingerprint % is a former certificate of client %, until %',
            NEW.cert_fingerprint, former.client_id, former.ends_at
            USING ERRCODE = 'unique_violation', TABLE = 'clients', COLUMN = 'cert_fingerprint',
                  HINT = 'DELETE its row in former_certificates first if it is to change hands';
    END IF;
    RETURN NEW;
END
$$;
ALTER FUNCTION clients_before_write_former() OWNER TO portcullis_owner;
-- by its name it comes after clients_before_write, which normalises the fingerprint
CREATE TRIGGER clients_before_write_former BEFORE INSERT OR UPDATE OF cert_fingerprint, client_id ON clients
    FOR EACH ROW EXECUTE FUNCTION clients_before_write_former();

CREATE OR REPLACE FUNCTION clients_after_change() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp
AS $$
BEGIN
    IF TG_OP <> 'DELETE' THEN
        -- Every certificate of a revoked client is final: its own and the former ones.
        INSERT INTO revoked_fingerprints (cert_fingerprint, client_id, revoked_at, reason_code)
            SELECT cert_fingerprint, client_id, revoked_at, reason_code FROM new_rows WHERE status = 'revoked'
            UNION ALL
            SELECT f.cert_fingerprint, n.client_id, n.revoked_at, n.reason_code
            FROM new_rows n JOIN former_certificates f USING (client_id) WHERE n.status = 'revoked'
            ON CONFLICT DO NOTHING;
        DELETE FROM former_certificates f USING new_rows n
            WHERE f.client_id = n.client_id AND n.status = 'revoked';
    END IF;
    IF TG_OP = 'UPDATE' THEN
        -- Another certificate, or another name: the former ones stop.
        DELETE FROM former_certificates f USING old_rows o
            WHERE f.client_id = o.client_id AND NOT EXISTS (SELECT FROM new_rows n
                WHERE n.client_id = o.client_id AND n.cert_fingerprint = o.cert_fingerprint);
        -- Anything else, such as a suspension, holds for those that go on too.
        UPDATE former_certificates f SET change_xid = pg_current_xact_id()
            FROM new_rows n WHERE f.client_id = n.client_id;
    END IF;
    IF TG_OP = 'DELETE' THEN
        DELETE FROM former_certificates f USING old_rows o
            WHERE f.client_id = o.client_id AND NOT EXISTS (SELECT FROM clients c WHERE c.client_id = o.client_id);
    END IF;
    IF TG_OP <> 'INSERT' THEN
        -- A rename's two halves (A's fingerprint moves to B) may come in one statement.
        INSERT INTO client_tombstones (cert_fingerprint)
            SELECT o.cert_fingerprint FROM old_rows o
            WHERE NOT EXISTS (SELECT FROM clients c WHERE c.cert_fingerprint = o.cert_fingerprint);
    END IF;
    NOTIFY portcullis_registry;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION clients_after_truncate() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp
AS $$
BEGIN
    DELETE FROM former_certificates;
    UPDATE registry_epoch SET epoch = epoch + 1;
    NOTIFY portcullis_registry;
    RETURN NULL;
END
$$;

CREATE FUNCTION former_certificates_after_delete() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp
AS $$
BEGIN
    INSERT INTO client_tombstones (cert_fingerprint) SELECT cert_fingerprint FROM old_rows;
    NOTIFY portcullis_registry;
    RETURN NULL;
END
$$;
ALTER FUNCTION former_certificates_after_delete() OWNER TO portcullis_owner;
CREATE TRIGGER former_certificates_after_delete AFTER DELETE ON former_certificates
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION former_certificates_after_delete();

-- What a proxy may see: each client's certificate, the former ones that go on, and every fingerprint that was
-- revoked and belongs to nobody any more, for it is to be told that it is revoked and not that it is unknown.
CREATE OR REPLACE VIEW client_registry AS
    SELECT cert_fingerprint AS fingerprint, client_id, domain, status, expires_at, revoked_at, reason_code, change_xid
    FROM clients
    UNION ALL
    SELECT f.cert_fingerprint, c.client_id, c.domain, c.status, f.ends_at, c.revoked_at, c.reason_code, f.change_xid
    FROM former_certificates f JOIN clients c USING (client_id)
    UNION ALL
    SELECT r.cert_fingerprint, r.client_id, 'default', 'revoked', r.revoked_at, r.revoked_at, r.reason_code, r.change_xid
    FROM revoked_fingerprints r
    -- a service's is named ROLE/NAME, and its certificate never reaches a client door
    WHERE position('/' IN r.client_id) = 0
      AND NOT EXISTS (SELECT FROM clients c WHERE c.cert_fingerprint = r.cert_fingerprint);

CREATE OR REPLACE VIEW client_registry_removed AS
    SELECT t.cert_fingerprint AS fingerprint, t.change_xid FROM client_tombstones t
    WHERE NOT EXISTS (SELECT FROM clients c WHERE c.cert_fingerprint = t.cert_fingerprint)
      AND NOT EXISTS (SELECT FROM former_certificates f WHERE f.cert_fingerprint = t.cert_fingerprint)
      AND NOT EXISTS (SELECT FROM revoked_fingerprints r WHERE r.cert_fingerprint = t.cert_fingerprint);

-- Gives a client a new certificate. The one it had goes on until the overlap is over, or until its own
-- registration would have ended. Answers that moment; NULL if the old one stops now.
CREATE FUNCTION renew_client(client_id text, new_fingerprint text, expires_at timestamptz,
                             overlap interval DEFAULT '0') RETURNS timestamptz
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    before clients;
    kept   former_certificates[];
    ends   timestamptz;
BEGIN
    IF renew_client.overlap IS NULL OR renew_client.overlap < '0' OR renew_client.overlap > '90 days' THEN
        RAISE EXCEPTION 'an overlap lasts between 0 and 90 days' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT * INTO before FROM clients c WHERE c.client_id = renew_client.client_id FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'client % is not registered', renew_client.client_id USING ERRCODE = 'no_data_found';
    END IF;
    IF before.status = 'revoked' THEN
        RAISE EXCEPTION 'client % was revoked at % and is not renewed', before.client_id, before.revoked_at
            USING ERRCODE = 'check_violation',
                  HINT = 'to let it in again, give it a new certificate with an UPDATE that sets status = ''active''';
    END IF;
    IF normalise_fingerprint(renew_client.new_fingerprint) = before.cert_fingerprint THEN
        RAISE EXCEPTION 'client % has this certificate already', before.client_id USING ERRCODE = 'unique_violation';
    END IF;
    -- The UPDATE ends every former certificate; those that still run were promised their time.
    kept := ARRAY(SELECT f FROM former_certificates f WHERE f.client_id = before.client_id AND f.ends_at > now());
    UPDATE clients c
        SET cert_fingerprint = renew_client.new_fingerprint, expires_at = renew_client.expires_at, issued_at = now(),
            status = CASE c.status WHEN 'expired' THEN 'active' ELSE c.status END
        WHERE c.client_id = before.client_id;
    INSERT INTO former_certificates (cert_fingerprint, client_id, ends_at)
        SELECT k.cert_fingerprint, k.client_id, k.ends_at FROM unnest(kept) k
        WHERE NOT EXISTS (SELECT FROM clients c WHERE c.cert_fingerprint = k.cert_fingerprint);
    ends := least(now() + renew_client.overlap, before.expires_at);
    IF ends <= now() OR before.status = 'expired' THEN
        RETURN NULL;
    END IF;
    INSERT INTO former_certificates (cert_fingerprint, client_id, ends_at)
        VALUES (before.cert_fingerprint, before.client_id, ends);
    RETURN ends;
END
$$;
ALTER FUNCTION renew_client(text, text, timestamptz, interval) OWNER TO portcullis_owner;

-- Revokes one certificate. A client's current one stands for the client: everything of it stops. A former one
-- stops alone. Answers whose it was, and whether the client as a whole is revoked; no row for an unknown one.
CREATE FUNCTION revoke_certificate(fingerprint text, reason_code text, comment text)
    RETURNS TABLE (client_id text, whole_client boolean)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    named text := normalise_fingerprint(revoke_certificate.fingerprint);
BEGIN
    -- As renew_client does: the client's row is the lock of all its certificates.
    PERFORM FROM clients c
        WHERE c.cert_fingerprint = named
           OR c.client_id IN (SELECT f.client_id FROM former_certificates f WHERE f.cert_fingerprint = named)
        FOR UPDATE;
    RETURN QUERY
        UPDATE clients c SET status = 'revoked', reason_code = revoke_certificate.reason_code,
            revocation_reason = coalesce(revoke_certificate.comment, c.revocation_reason)
        WHERE c.cert_fingerprint = named AND c.status <> 'revoked'
        RETURNING c.client_id, true;
    IF FOUND THEN
        RETURN;
    END IF;
    RETURN QUERY SELECT c.client_id, true FROM clients c WHERE c.cert_fingerprint = named;
    IF FOUND THEN
        RETURN; -- it was revoked before
    END IF;
    RETURN QUERY
        INSERT INTO revoked_fingerprints (cert_fingerprint, client_id, revoked_at, reason_code)
        SELECT f.cert_fingerprint, f.client_id, now(), revoke_certificate.reason_code
        FROM former_certificates f WHERE f.cert_fingerprint = named
        RETURNING client_id, false;
    IF FOUND THEN
        DELETE FROM former_certificates f WHERE f.cert_fingerprint = named;
        RETURN;
    END IF;
    RETURN QUERY SELECT r.client_id, false FROM revoked_fingerprints r WHERE r.cert_fingerprint = named;
END
$$;
ALTER FUNCTION revoke_certificate(text, text, text) OWNER TO portcullis_owner;

REVOKE ALL ON FUNCTION renew_client(text, text, timestamptz, interval) FROM PUBLIC;
REVOKE ALL ON FUNCTION revoke_certificate(text, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION renew_client(text, text, timestamptz, interval) TO portcullis_operator;
GRANT EXECUTE ON FUNCTION revoke_certificate(text, text, text) TO portcullis_operator;
GRANT SELECT, DELETE ON former_certificates TO portcullis_operator;
