-- Completing says how many attempts each delivered group took, for the server's metrics; all else is as it was in
-- 0021_queue_verbs.sql. Old code tolerates it: it names the columns it reads, and there is one more.
DROP FUNCTION queue_complete(uuid[], uuid[]);

-- leased → done: delivered. `attempts` does not count leases that were handed back unworked, nor those before a redrive.
CREATE FUNCTION queue_complete(p_ids uuid[], p_tokens uuid[])
    RETURNS TABLE (lease_token uuid, message_ids uuid[], queue text, attempts integer)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp SET plan_cache_mode = force_generic_plan SET jit = off
    SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
    SET enable_memoize = off
AS $$
#variable_conflict use_column
DECLARE
    origins uuid[];
    parts   bigint[];
    tokens  uuid[];
BEGIN
    SELECT array_agg(h.origin), array_agg(h.part), array_agg(h.lease_token) INTO origins, parts, tokens
        FROM queue_held(p_ids, p_tokens) h;
    RETURN QUERY
        UPDATE job_groups g
        SET state = 'done', finished_at = now(), lease_token = NULL, lease_expires_at = NULL, leased_by = NULL
        FROM unnest(origins, parts, tokens) AS held (origin, part, token)
        WHERE g.origin = held.origin AND g.part = held.part
        RETURNING held.token, g.message_ids, g.queue, g.attempt - g.forgiven;
END
$$;
ALTER FUNCTION queue_complete(uuid[], uuid[]) OWNER TO portcullis_owner;
REVOKE ALL ON FUNCTION queue_complete(uuid[], uuid[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION queue_complete(uuid[], uuid[]) TO portcullis_server;
