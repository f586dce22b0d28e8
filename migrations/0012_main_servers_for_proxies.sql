-- Which main servers a proxy must not speak to: those that an operator revoked, suspended or ended.
-- Why: a stolen main server's certificate got every message until its CA was changed.
-- Old code tolerates it: it adds a view. Fingerprints alone, for a proxy needs to know no more of the services.

CREATE VIEW main_servers_refused AS
    SELECT cert_fingerprint AS fingerprint FROM services
    WHERE role = 'main-server' AND (status <> 'active' OR expires_at <= now())
    UNION
    SELECT cert_fingerprint FROM revoked_fingerprints WHERE client_id LIKE 'main-server/%';
ALTER VIEW main_servers_refused OWNER TO portcullis_owner;
GRANT SELECT ON main_servers_refused TO portcullis_proxy;
