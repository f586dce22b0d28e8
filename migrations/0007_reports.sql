-- What proxies report to the main server: how far their copy of the client table is, and whom they have seen.
-- Old code tolerates it: it adds tables and views. Traffic never writes to `clients`.

-- One row per running proxy. `applied` is the snapshot whose changes the proxy judges by: whatever was
-- committed before it is in force there. pg_visible_in_snapshot(xid, applied) answers that for a transaction.
CREATE TABLE proxy_sync (
    proxy         text NOT NULL,       -- from its certificate
    instance      uuid NOT NULL,       -- several may share a certificate; a restart is another one
    applied       pg_snapshot,         -- NULL: nothing is loaded yet, nobody is admitted
    clients       bigint NOT NULL,
    synced_at     timestamptz,         -- when its last successful sync began
    max_staleness interval NOT NULL,   -- so long after `synced_at` it refuses everybody
    reported_at   timestamptz NOT NULL,
    PRIMARY KEY (proxy, instance)
) WITH (fillfactor = 50, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0);
ALTER TABLE proxy_sync OWNER TO portcullis_owner;

-- current: it reports, and its copy is at most a few seconds old.   behind: it reports, its copy is older.
-- loading: it admits nobody yet.   silent: no report for some seconds; by what it said last, it may still admit.
-- gone: silent for longer than its copy may last; it does not count.
CREATE VIEW proxy_sync_status AS
    SELECT proxy, instance,
           CASE WHEN reported_at < now() - greatest(max_staleness, interval '10 seconds') THEN 'gone'
                WHEN reported_at < now() - interval '5 seconds' THEN 'silent'
                WHEN applied IS NULL THEN 'loading'
                WHEN synced_at < now() - interval '5 seconds' THEN 'behind'
                ELSE 'current' END AS state,
           clients, now() - synced_at AS age, applied, synced_at, reported_at, max_staleness
    FROM proxy_sync;
ALTER VIEW proxy_sync_status OWNER TO portcullis_owner;

-- What is known of a certificate by its use, by the proxies' clocks. Written in batches.
CREATE TABLE client_activity (
    cert_fingerprint  text PRIMARY KEY CHECK (cert_fingerprint ~ '^[0-9A-F]{64}$'),
    client_id         text,            -- whose it was when it was last seen; NULL: nobody's
    first_seen_at     timestamptz NOT NULL,
    last_seen_at      timestamptz NOT NULL,
    last_proxy        text NOT NULL,
    requests          bigint NOT NULL, -- admitted ones
    refusals          bigint NOT NULL,
    last_refusal_at   timestamptz,
    last_refusal_code text,
    audited_at        timestamptz,     -- the last refusal that went into audit_log
    audited_code      text
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);
ALTER TABLE client_activity OWNER TO portcullis_owner;
CREATE INDEX client_activity_client ON client_activity (client_id);

-- Everything about a client on one line. `state` says what `status` and the clock together mean.
CREATE VIEW client_status AS
    SELECT c.client_id, c.domain,
           CASE WHEN c.status IN ('active', 'suspended') AND c.expires_at <= now() THEN 'expired'
                ELSE c.status END AS state,
           c.cert_fingerprint, c.issued_at, c.expires_at, c.revoked_at, c.reason_code, c.revocation_reason,
           a.first_seen_at, a.last_seen_at, a.last_proxy, coalesce(a.requests, 0) AS requests,
           coalesce(a.refusals, 0) AS refusals, a.last_refusal_at, a.last_refusal_code,
           -- the certificate that goes on beside the new one, and whether it is still in use
           f.cert_fingerprint AS former_fingerprint, f.ends_at AS former_ends_at, f.last_seen_at AS former_last_seen_at
    FROM clients c
    LEFT JOIN client_activity a USING (cert_fingerprint)
    LEFT JOIN LATERAL (
        SELECT f.cert_fingerprint, f.ends_at, b.last_seen_at
        FROM former_certificates f LEFT JOIN client_activity b USING (cert_fingerprint)
        WHERE f.client_id = c.client_id AND f.ends_at > now() ORDER BY f.ends_at DESC LIMIT 1
    ) f ON true;
ALTER VIEW client_status OWNER TO portcullis_owner;

-- Whose registration ends within 60 days, in the bands of the certificate management guide.
CREATE VIEW clients_expiring AS
    SELECT client_id, domain, cert_fingerprint, expires_at, expires_at - now() AS remaining, band,
           CASE band WHEN 60 THEN 'monitor' WHEN 30 THEN 'warn' WHEN 14 THEN 'renew' WHEN 7 THEN 'critical'
                ELSE 'expired' END AS alert
    FROM (
        SELECT c.*, CASE WHEN expires_at <= now() THEN 0
                         WHEN expires_at <= now() + interval '7 days' THEN 7
                         WHEN expires_at <= now() + interval '14 days' THEN 14
                         WHEN expires_at <= now() + interval '30 days' THEN 30
                         ELSE 60 END AS band
        FROM clients c
        WHERE status IN ('active', 'suspended', 'expired') AND expires_at <= now() + interval '60 days'
    ) ending
    ORDER BY expires_at;
ALTER VIEW clients_expiring OWNER TO portcullis_owner;

GRANT SELECT, INSERT, UPDATE, DELETE ON proxy_sync TO portcullis_server;
GRANT SELECT, INSERT, UPDATE ON client_activity TO portcullis_server;
GRANT SELECT ON proxy_sync, proxy_sync_status, client_activity, client_status, clients_expiring TO portcullis_operator;
