-- Revokes again, in a restored database, what was revoked since its backup. Reads the CSV of export-revocations.sql from
-- standard input; run it as the owner of the database, before any proxy or main server can connect.
--   psql --no-psqlrc --quiet --file import-revocations.sql "$OWNER_URL" < revocations.csv
-- Nothing is un-revoked by it: what the database has and the file has not, stays. It may run twice.
\set ON_ERROR_STOP on
BEGIN;
CREATE TEMPORARY TABLE revoked_since (
    cert_fingerprint text PRIMARY KEY, client_id text, revoked_at timestamptz, reason_code text, revoked_by text
) ON COMMIT DROP;
\copy revoked_since FROM pstdin (FORMAT csv, HEADER)

-- The rows first: their triggers revoke their former certificates too, and tell proxies that run after all.
UPDATE clients c SET status = 'revoked', revoked_at = s.revoked_at, reason_code = s.reason_code
    FROM revoked_since s WHERE s.cert_fingerprint = c.cert_fingerprint AND c.status <> 'revoked';
UPDATE services c SET status = 'revoked', revoked_at = s.revoked_at, reason_code = s.reason_code
    FROM revoked_since s WHERE s.cert_fingerprint = c.cert_fingerprint AND c.status <> 'revoked';
-- Then those that belong to no row any more, or not yet, by whom it was done.
INSERT INTO revoked_fingerprints (cert_fingerprint, client_id, revoked_at, reason_code, revoked_by)
    SELECT cert_fingerprint, client_id, revoked_at, reason_code, revoked_by FROM revoked_since
    ON CONFLICT DO NOTHING;
DELETE FROM former_certificates f USING revoked_since s WHERE s.cert_fingerprint = f.cert_fingerprint;
DELETE FROM former_service_certificates f USING revoked_since s WHERE s.cert_fingerprint = f.cert_fingerprint;
COMMIT;

SELECT count(*) AS certificates_that_stay_revoked FROM revoked_fingerprints;
