-- Which certificates are revoked, for ever: what a restored backup must not forget. Writes CSV to standard output.
--   psql --no-psqlrc --quiet --file export-revocations.sql "$DATABASE_URL" > revocations.csv
-- The role portcullis_operator is enough. How often this runs is how much a restored backup may forget.
\set ON_ERROR_STOP on
COPY (SELECT cert_fingerprint, client_id, revoked_at, reason_code, revoked_by FROM revoked_fingerprints
      ORDER BY revoked_at, cert_fingerprint) TO STDOUT (FORMAT csv, HEADER);
