-- The services (proxies, main servers, workers, operators) and the certificate revocation lists.
-- `services` has the columns of `clients`, so one SQL line revokes a stolen worker or proxy too.

CREATE TABLE services (
    service_id        text NOT NULL CHECK (service_id ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$' AND service_id !~ '\n'),
    role              text NOT NULL CHECK (role IN ('proxy', 'main-server', 'worker', 'operator')),
    cert_fingerprint  text NOT NULL UNIQUE
                      CHECK (cert_fingerprint ~ '^[0-9A-F]{64}$' AND cert_fingerprint !~ '\n'),
    status            text NOT NULL DEFAULT 'active'
                      CHECK (status IN ('active', 'suspended', 'revoked', 'expired')),
    issued_at         timestamptz NOT NULL DEFAULT now(),
    expires_at        timestamptz NOT NULL,
    revoked_at        timestamptz,
    revocation_reason text,
    reason_code       text CHECK (reason_code IN ('unspecified', 'keyCompromise', 'cACompromise',
                          'affiliationChanged', 'superseded', 'cessationOfOperation', 'certificateHold',
                          'removeFromCRL', 'privilegeWithdrawn', 'aACompromise')),
    PRIMARY KEY (role, service_id),
    CHECK ((status = 'revoked') = (revoked_at IS NOT NULL)),
    CHECK ((status = 'revoked') = (reason_code IS NOT NULL))
);
ALTER TABLE services OWNER TO portcullis_owner;

CREATE FUNCTION services_before_write() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp
AS $$
BEGIN
    NEW.cert_fingerprint := normalise_fingerprint(NEW.cert_fingerprint);
    IF NEW.status = 'revoked' THEN
        NEW.revoked_at := coalesce(NEW.revoked_at, now());
        NEW.reason_code := coalesce(NEW.reason_code, reason_code_of(NEW.revocation_reason), 'unspecified');
    ELSE
        IF EXISTS (SELECT FROM revoked_fingerprints r WHERE r.cert_fingerprint = NEW.cert_fingerprint) THEN
            RAISE EXCEPTION 'fingerprint % was revoked and stays revoked', NEW.cert_fingerprint
                USING ERRCODE = 'check_violation', TABLE = 'services', COLUMN = 'cert_fingerprint',
                      HINT = 'issue a new certificate for this service';
        END IF;
        NEW.revoked_at := NULL;
        NEW.reason_code := NULL;
    END IF;
    RETURN NEW;
END
$$;
ALTER FUNCTION services_before_write() OWNER TO portcullis_owner;
CREATE TRIGGER services_before_write BEFORE INSERT OR UPDATE ON services
    FOR EACH ROW EXECUTE FUNCTION services_before_write();

CREATE FUNCTION services_after_change() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp
AS $$
BEGIN
    IF TG_OP IN ('INSERT', 'UPDATE') THEN
        INSERT INTO revoked_fingerprints (cert_fingerprint, client_id, revoked_at, reason_code)
            SELECT cert_fingerprint, role || '/' || service_id, revoked_at, reason_code
            FROM new_rows WHERE status = 'revoked'
            ON CONFLICT DO NOTHING;
    END IF;
    NOTIFY portcullis_registry;
    RETURN NULL;
END
$$;
ALTER FUNCTION services_after_change() OWNER TO portcullis_owner;
CREATE TRIGGER services_after_insert AFTER INSERT ON services
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION services_after_change();
CREATE TRIGGER services_after_update AFTER UPDATE ON services
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION services_after_change();
CREATE TRIGGER services_after_delete AFTER DELETE ON services
    FOR EACH STATEMENT EXECUTE FUNCTION services_after_change();
CREATE TRIGGER services_after_truncate AFTER TRUNCATE ON services
    FOR EACH STATEMENT EXECUTE FUNCTION services_after_change();

CREATE VIEW service_registry AS
    SELECT cert_fingerprint AS fingerprint, service_id, role, status, expires_at, revoked_at, reason_code
    FROM services;
ALTER VIEW service_registry OWNER TO portcullis_owner;

-- One CRL per issuing key (RFC 5280 §5). The database refuses a lower CRLNumber, so that a rollback of a
-- file or a restart of a proxy cannot bring a revoked certificate back.
CREATE TABLE crls (
    issuer_name   bytea NOT NULL,   -- DER of the issuer's distinguished name
    issuer_key_id bytea NOT NULL,   -- authority key identifier
    crl_number    numeric(49, 0) NOT NULL CHECK (crl_number >= 0), -- at most 20 octets (RFC 5280 §5.2.3)
    this_update   timestamptz NOT NULL,
    next_update   timestamptz NOT NULL CHECK (next_update > this_update),
    der           bytea NOT NULL,
    PRIMARY KEY (issuer_name, issuer_key_id)
);
ALTER TABLE crls OWNER TO portcullis_owner;

CREATE FUNCTION crls_before_update() RETURNS trigger
    LANGUAGE plpgsql SET search_path = public, pg_temp
AS $$
BEGIN
    IF NEW.crl_number < OLD.crl_number OR (NEW.crl_number = OLD.crl_number AND NEW.der <> OLD.der) THEN
        RAISE EXCEPTION 'CRL number % is not above %, the one in force', NEW.crl_number, OLD.crl_number
            USING ERRCODE = 'check_violation', TABLE = 'crls', COLUMN = 'crl_number',
                  HINT = 'a revocation list only grows newer: sign one with a higher number';
    END IF;
    RETURN NEW;
END
$$;
ALTER FUNCTION crls_before_update() OWNER TO portcullis_owner;
CREATE TRIGGER crls_before_update BEFORE UPDATE ON crls
    FOR EACH ROW EXECUTE FUNCTION crls_before_update();

CREATE FUNCTION crls_after_change() RETURNS trigger
    LANGUAGE plpgsql SET search_path = public, pg_temp
AS $$
BEGIN
    NOTIFY portcullis_registry;
    RETURN NULL;
END
$$;
ALTER FUNCTION crls_after_change() OWNER TO portcullis_owner;
CREATE TRIGGER crls_after_change AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON crls
    FOR EACH STATEMENT EXECUTE FUNCTION crls_after_change();

CREATE VIEW crl_registry AS
    SELECT issuer_name, issuer_key_id, crl_number, this_update, next_update, der FROM crls;
ALTER VIEW crl_registry OWNER TO portcullis_owner;

GRANT SELECT ON crl_registry TO portcullis_proxy, portcullis_server;
GRANT SELECT ON service_registry TO portcullis_server;
-- nobody deletes a CRL: that would let a lower number in again
GRANT SELECT, INSERT, UPDATE ON crls TO portcullis_operator;
GRANT SELECT, INSERT, UPDATE, DELETE ON services TO portcullis_operator;
GRANT SELECT ON service_registry, crl_registry TO portcullis_operator;
