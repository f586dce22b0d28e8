-- The client table: which certificate belongs to which client, and whether it may speak.
-- Columns are those of the certificate management guide; operators work on them with plain SQL.
--
-- Change tracking: proxies hold this table in memory and fetch what changed. Transactions commit out of
-- the order in which they began, so a serial number or a time would miss late committers; every row
-- carries the id of the transaction that wrote it instead, and a reader asks for everything at or above
-- the xmin of its previous snapshot. Deleted fingerprints leave a tombstone; TRUNCATE starts a new epoch.

CREATE TABLE clients (
    client_id         text PRIMARY KEY
                      CHECK (client_id ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$' AND client_id !~ '\n'),
    cert_fingerprint  text NOT NULL UNIQUE,
    domain            text NOT NULL DEFAULT 'default' CHECK (length(domain) BETWEEN 1 AND 253),
    status            text NOT NULL DEFAULT 'active'
                      CHECK (status IN ('active', 'suspended', 'revoked', 'expired')),
    issued_at         timestamptz NOT NULL DEFAULT now(),
    expires_at        timestamptz NOT NULL,
    revoked_at        timestamptz,
    -- free text for people; it is never shown to the refused caller, who may have stolen the key
    revocation_reason text,
    -- the reason a refused caller is told: a name out of RFC 5280 §5.3.1
    reason_code       text CHECK (reason_code IN ('unspecified', 'keyCompromise', 'cACompromise',
                          'affiliationChanged', 'superseded', 'cessationOfOperation', 'certificateHold',
                          'removeFromCRL', 'privilegeWithdrawn', 'aACompromise')),
    change_xid        xid8 NOT NULL DEFAULT pg_current_xact_id(),
    CHECK (cert_fingerprint ~ '^[0-9A-F]{64}$' AND cert_fingerprint !~ '\n'),
    CHECK ((status = 'revoked') = (revoked_at IS NOT NULL)),
    CHECK ((status = 'revoked') = (reason_code IS NOT NULL))
);
ALTER TABLE clients OWNER TO portcullis_owner;
CREATE INDEX clients_change ON clients (change_xid);

COMMENT ON TABLE clients IS
    'One row per client. UPDATE clients SET status = ''revoked'' WHERE client_id = … takes effect within a second.';

-- A revoked fingerprint stays revoked for ever, whatever becomes of its row. Insert-only.
CREATE TABLE revoked_fingerprints (
    cert_fingerprint text PRIMARY KEY CHECK (cert_fingerprint ~ '^[0-9A-F]{64}$'),
    client_id        text NOT NULL,
    revoked_at       timestamptz NOT NULL,
    reason_code      text NOT NULL,
    revoked_by       text NOT NULL DEFAULT session_user
);
ALTER TABLE revoked_fingerprints OWNER TO portcullis_owner;

-- Fingerprints that no longer belong to any client, for the proxies to forget.
CREATE TABLE client_tombstones (
    cert_fingerprint text NOT NULL,
    change_xid       xid8 NOT NULL DEFAULT pg_current_xact_id()
);
ALTER TABLE client_tombstones OWNER TO portcullis_owner;
CREATE INDEX client_tombstones_change ON client_tombstones (change_xid);

-- One row; a reader that meets another epoch than its own loads the table afresh.
CREATE TABLE registry_epoch (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    epoch    bigint NOT NULL DEFAULT 1
);
INSERT INTO registry_epoch DEFAULT VALUES;
ALTER TABLE registry_epoch OWNER TO portcullis_owner;

-- What people paste: 'SHA256 Fingerprint=AB:CD:…', 'sha256 fingerprint=…' (OpenSSL 1 and 3), with or without
-- colons, spaces at the ends. Anything else is refused by the CHECK above, which names the column.
CREATE FUNCTION normalise_fingerprint(pasted text) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    RETURN upper(replace(regexp_replace(btrim(pasted, E' \t\r\n'), '^sha-?256( fingerprint)?\s*[=:]\s*', '', 'i'), ':', ''));

-- The reason code that a person wrote out, in any case; nothing if it is prose.
CREATE FUNCTION reason_code_of(written text) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    RETURN (SELECT code FROM unnest(ARRAY['keyCompromise', 'cACompromise', 'affiliationChanged', 'superseded',
                'cessationOfOperation', 'certificateHold', 'privilegeWithdrawn', 'aACompromise']) AS code
            WHERE lower(code) = lower(btrim(written)));

CREATE FUNCTION clients_before_write() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp
AS $$
DECLARE
    final revoked_fingerprints;
BEGIN
    NEW.cert_fingerprint := normalise_fingerprint(NEW.cert_fingerprint);
    IF NEW.cert_fingerprint !~ '^[0-9A-F]{64}$' THEN
        RAISE EXCEPTION 'cert_fingerprint must be the SHA-256 fingerprint of the certificate: 64 hex digits, colons allowed'
            USING ERRCODE = 'check_violation', TABLE = 'clients', COLUMN = 'cert_fingerprint',
                  HINT = 'openssl x509 -in client.crt -noout -fingerprint -sha256';
    END IF;

    IF NEW.status = 'revoked' THEN
        NEW.revoked_at := coalesce(NEW.revoked_at, now());
        NEW.reason_code := coalesce(NEW.reason_code, reason_code_of(NEW.revocation_reason), 'unspecified');
    ELSE
        -- Revocation is final per fingerprint: a client comes back with a new certificate or not at all.
        SELECT * INTO final FROM revoked_fingerprints r WHERE r.cert_fingerprint = NEW.cert_fingerprint;
        IF FOUND THEN
            RAISE EXCEPTION 'fingerprint % was revoked at % and stays revoked', NEW.cert_fingerprint, final.revoked_at
                USING ERRCODE = 'check_violation', TABLE = 'clients', COLUMN = 'cert_fingerprint',
                      HINT = 'issue a new certificate for this client; use status ''suspended'' for a refusal that can be undone';
        END IF;
        NEW.revoked_at := NULL;
        NEW.reason_code := NULL;
        IF TG_OP = 'UPDATE' AND OLD.status = 'revoked' AND NEW.revocation_reason IS NOT DISTINCT FROM OLD.revocation_reason THEN
            NEW.revocation_reason := NULL;
        END IF;
    END IF;
    NEW.change_xid := pg_current_xact_id();
    RETURN NEW;
END
$$;
ALTER FUNCTION clients_before_write() OWNER TO portcullis_owner;

CREATE TRIGGER clients_before_write BEFORE INSERT OR UPDATE ON clients
    FOR EACH ROW EXECUTE FUNCTION clients_before_write();

-- After the fact, per statement: remember what was revoked, leave tombstones, hint at a sync.
-- The two halves of a rename (A's fingerprint moves to B) may come in one statement, so a tombstone is
-- written only for a fingerprint that nobody holds any more. NOTIFY is a hint with an empty payload:
-- proxies poll as well, so losing it costs half a second and nothing else.
CREATE FUNCTION clients_after_change() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp
AS $$
BEGIN
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO revoked_fingerprints (cert_fingerprint, client_id, revoked_at, reason_code)
            SELECT cert_fingerprint, client_id, revoked_at, reason_code FROM new_rows WHERE status = 'revoked'
            ON CONFLICT DO NOTHING;
    END IF;
    IF TG_OP <> 'INSERT' THEN
        INSERT INTO client_tombstones (cert_fingerprint)
            SELECT o.cert_fingerprint FROM old_rows o
            WHERE NOT EXISTS (SELECT FROM clients c WHERE c.cert_fingerprint = o.cert_fingerprint);
    END IF;
    NOTIFY portcullis_registry;
    RETURN NULL;
END
$$;
ALTER FUNCTION clients_after_change() OWNER TO portcullis_owner;

-- Triggers with transition tables take one event each.
CREATE TRIGGER clients_after_insert AFTER INSERT ON clients
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION clients_after_change();
CREATE TRIGGER clients_after_update AFTER UPDATE ON clients
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION clients_after_change();
CREATE TRIGGER clients_after_delete AFTER DELETE ON clients
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION clients_after_change();

CREATE FUNCTION clients_after_truncate() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp
AS $$
BEGIN
    UPDATE registry_epoch SET epoch = epoch + 1;
    NOTIFY portcullis_registry;
    RETURN NULL;
END
$$;
ALTER FUNCTION clients_after_truncate() OWNER TO portcullis_owner;
CREATE TRIGGER clients_after_truncate AFTER TRUNCATE ON clients
    FOR EACH STATEMENT EXECUTE FUNCTION clients_after_truncate();

-- What a proxy may see, and all it may see. `revoked_fingerprints` has the last word.
CREATE VIEW client_registry AS
    SELECT cert_fingerprint AS fingerprint, client_id, domain, status, expires_at, revoked_at, reason_code, change_xid
    FROM clients;
ALTER VIEW client_registry OWNER TO portcullis_owner;

CREATE VIEW client_registry_removed AS
    SELECT t.cert_fingerprint AS fingerprint, t.change_xid FROM client_tombstones t
    WHERE NOT EXISTS (SELECT FROM clients c WHERE c.cert_fingerprint = t.cert_fingerprint);
ALTER VIEW client_registry_removed OWNER TO portcullis_owner;

GRANT SELECT ON client_registry, client_registry_removed, registry_epoch TO portcullis_proxy, portcullis_server;
GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON clients TO portcullis_operator;
GRANT SELECT ON revoked_fingerprints, client_registry TO portcullis_operator;
