-- `pruned_through` may come out of a dump, with the number of another server's transaction.
-- Why: as long as this server had not come so far, every proxy loaded the whole table at every look.
-- Old code tolerates it: it only loads more often than it needs to.

-- As before; and a mark that no transaction of this server can have left is replaced by the first that did. One at a
-- time: the row is locked before anything is looked at, so that no mark is taken for another server's by mistake.
CREATE OR REPLACE FUNCTION prune_client_tombstones() RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp
AS $$
DECLARE
    removed bigint;
    highest xid8;
BEGIN
    PERFORM FROM registry_epoch FOR UPDATE;
    WITH pruned AS (
        DELETE FROM client_tombstones
        WHERE deleted_at < now() - interval '7 days' AND change_xid < pg_snapshot_xmin(pg_current_snapshot())
        RETURNING change_xid
    )
    SELECT count(*), max(change_xid::text::numeric)::text::xid8 INTO removed, highest FROM pruned;
    IF removed > 0 THEN
        UPDATE registry_epoch SET pruned_through = highest
            WHERE pruned_through < highest OR pruned_through >= pg_snapshot_xmin(pg_current_snapshot());
    END IF;
    RETURN removed;
END
$$;
