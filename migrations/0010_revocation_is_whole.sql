-- A revocation takes every certificate with it that the row had, and tombstones do not stay for ever.
-- Old code tolerates it: the views keep their columns. A proxy of the version before does not know of pruned
-- tombstones; it must not have been without the database for 7 days when it goes on, and would refuse everybody then.

-- UPDATE clients SET status = 'revoked', cert_fingerprint = B: both the one that is revoked and the one that was
-- replaced by it are final, and former ones, also if the client is renamed in the same statement. Per row, because
-- transition tables do not say which old row belongs to which new one. Such triggers come before those per
-- statement, so that refuse_revoked sees it if the certificate was given to somebody else at the same time.
CREATE FUNCTION clients_revoke_replaced() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp
AS $$
BEGIN
    INSERT INTO revoked_fingerprints (cert_fingerprint, client_id, revoked_at, reason_code)
        SELECT replaced, NEW.client_id, NEW.revoked_at, NEW.reason_code
        FROM (SELECT OLD.cert_fingerprint
              UNION SELECT f.cert_fingerprint FROM former_certificates f WHERE f.client_id = OLD.client_id)
             AS gone (replaced)
        ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;
ALTER FUNCTION clients_revoke_replaced() OWNER TO portcullis_owner;
CREATE TRIGGER clients_revoke_replaced AFTER UPDATE ON clients
    FOR EACH ROW WHEN (NEW.status = 'revoked' AND (OLD.cert_fingerprint, OLD.client_id) <> (NEW.cert_fingerprint, NEW.client_id))
    EXECUTE FUNCTION clients_revoke_replaced();

CREATE FUNCTION services_revoke_replaced() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp
AS $$
BEGIN
    INSERT INTO revoked_fingerprints (cert_fingerprint, client_id, revoked_at, reason_code)
        VALUES (OLD.cert_fingerprint, OLD.role || '/' || OLD.service_id, NEW.revoked_at, NEW.reason_code)
        ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;
ALTER FUNCTION services_revoke_replaced() OWNER TO portcullis_owner;
CREATE TRIGGER services_revoke_replaced AFTER UPDATE ON services
    FOR EACH ROW WHEN (NEW.status = 'revoked' AND OLD.cert_fingerprint <> NEW.cert_fingerprint)
    EXECUTE FUNCTION services_revoke_replaced();

-- Tombstones are pruned when they are 7 days old. A reader that has not seen all that were pruned loads the table
-- afresh: `pruned_through` is the highest transaction whose tombstone is gone, and it reads that in the same
-- snapshot as the tombstones.
ALTER TABLE client_tombstones ADD COLUMN deleted_at timestamptz NOT NULL DEFAULT now();
ALTER TABLE registry_epoch ADD COLUMN pruned_through xid8 NOT NULL DEFAULT '0';

-- Answers how many were pruned. Only those below every transaction that is open: else a reader whose last snapshot
-- had to wait for one of these would load the table at every look.
CREATE FUNCTION prune_client_tombstones() RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp
AS $$
DECLARE
    removed bigint;
    highest xid8;
BEGIN
    WITH pruned AS (
        DELETE FROM client_tombstones
        WHERE deleted_at < now() - interval '7 days' AND change_xid < pg_snapshot_xmin(pg_current_snapshot())
        RETURNING change_xid
    )
    SELECT count(*), max(change_xid::text::numeric)::text::xid8 INTO removed, highest FROM pruned;
    IF removed > 0 THEN
        UPDATE registry_epoch SET pruned_through = highest WHERE pruned_through < highest;
    END IF;
    RETURN removed;
END
$$;
ALTER FUNCTION prune_client_tombstones() OWNER TO portcullis_owner;
REVOKE ALL ON FUNCTION prune_client_tombstones() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION prune_client_tombstones() TO portcullis_server;
