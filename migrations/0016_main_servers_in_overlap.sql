-- A main server that is suspended, or has ended, is refused with every certificate that it has; and what proxies ask
-- twice a second is answered from an index.
-- Why: the former certificate, which a renewed main server shows until it is restarted, was not looked at; and the whole
-- of `revoked_fingerprints` was, which only ever grows. Old code tolerates it: the view keeps its column.

CREATE OR REPLACE VIEW main_servers_refused AS
    SELECT cert_fingerprint AS fingerprint FROM services
    WHERE role = 'main-server' AND (status <> 'active' OR expires_at <= now())
    UNION
    SELECT f.cert_fingerprint FROM former_service_certificates f JOIN services s USING (role, service_id)
    WHERE f.role = 'main-server' AND (s.status <> 'active' OR f.ends_at <= now())
    UNION
    SELECT cert_fingerprint FROM revoked_fingerprints WHERE client_id LIKE 'main-server/%';

-- in the view's own words: only then does the planner see that the index has them all
CREATE INDEX revoked_fingerprints_main_servers ON revoked_fingerprints (cert_fingerprint)
    WHERE client_id LIKE 'main-server/%';
