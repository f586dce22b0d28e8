-- What a single client may ask of each proxy, where it differs from the proxy's [rate]; changed by UPDATE, in force
-- within a second, and back to the proxy's own with NULL.
-- Old code tolerates it: the view has one more column, at its end. A proxy of the version before knows no limits.

-- Beyond a million requests a second, or 2^40 bytes, is a typing error; to Postgres NaN is beyond everything.
ALTER TABLE clients
    ADD COLUMN requests_per_second double precision CHECK (requests_per_second BETWEEN 0 AND 1000000),
    ADD COLUMN burst               integer          CHECK (burst BETWEEN 0 AND 1000000),
    ADD COLUMN bytes_per_second    bigint           CHECK (bytes_per_second BETWEEN 0 AND 1099511627776),
    ADD COLUMN bytes_burst         bigint           CHECK (bytes_burst BETWEEN 0 AND 1099511627776);
COMMENT ON COLUMN clients.requests_per_second IS
    'Requests a second at each proxy, every message of a batch being one. NULL: as the proxy''s [rate] says. 0: no limit.';
COMMENT ON COLUMN clients.burst IS
    'Requests at once. NULL: as the proxy''s [rate] says. 0: those of one second.';
COMMENT ON COLUMN clients.bytes_per_second IS
    'Bytes of bodies a second at each proxy. NULL: as the proxy''s [rate] says. 0: no limit.';
COMMENT ON COLUMN clients.bytes_burst IS
    'Bytes at once. NULL: as the proxy''s [rate] says. 0: those of one second.';

-- One column for the four, NULL for nearly everybody: a proxy reads a million rows. A client's former certificates
-- are the client. Who is revoked has nothing to be limited.
CREATE OR REPLACE VIEW client_registry AS
    SELECT c.cert_fingerprint AS fingerprint, c.client_id, c.domain,
           CASE WHEN r.cert_fingerprint IS NULL THEN c.status ELSE 'revoked' END AS status,
           c.expires_at, coalesce(c.revoked_at, r.revoked_at) AS revoked_at,
           coalesce(c.reason_code, r.reason_code) AS reason_code, c.change_xid,
           CASE WHEN num_nonnulls(c.requests_per_second, c.burst, c.bytes_per_second, c.bytes_burst) > 0
                THEN ARRAY[c.requests_per_second, c.burst, c.bytes_per_second, c.bytes_burst]::double precision[] END AS rate
    FROM clients c LEFT JOIN revoked_fingerprints r USING (cert_fingerprint)
    UNION ALL
    SELECT f.cert_fingerprint, c.client_id, c.domain, c.status, f.ends_at, c.revoked_at, c.reason_code, f.change_xid,
           CASE WHEN num_nonnulls(c.requests_per_second, c.burst, c.bytes_per_second, c.bytes_burst) > 0
                THEN ARRAY[c.requests_per_second, c.burst, c.bytes_per_second, c.bytes_burst]::double precision[] END
    FROM former_certificates f JOIN clients c USING (client_id)
    WHERE NOT EXISTS (SELECT FROM revoked_fingerprints r WHERE r.cert_fingerprint = f.cert_fingerprint)
    UNION ALL
    SELECT r.cert_fingerprint, r.client_id, 'default', 'revoked', r.revoked_at, r.revoked_at, r.reason_code, r.change_xid,
           NULL
    FROM revoked_fingerprints r
    -- a service's is named ROLE/NAME, and its certificate never reaches a client door
    WHERE position('/' IN r.client_id) = 0
      AND NOT EXISTS (SELECT FROM clients c WHERE c.cert_fingerprint = r.cert_fingerprint);
