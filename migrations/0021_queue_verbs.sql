-- The verbs on jobs: one function per transition, and no other way for the server to change a job.
-- Old code tolerates it: it adds functions.
--
-- Each runs as the owner, for a caller who has no rights on `job_groups` but these. Each is the only statement of its
-- transaction. Within plpgsql every statement sees what was committed before it, so a verb may look again.
--
-- Their plans are fixed: nested loops over indexes, whatever the statistics say at the moment. A queue is empty one
-- minute and holds millions the next, and planning anew costs more than running.

-- Splits jobs off a group that the caller has locked, in the order given: all else is as it was. The remainder keeps
-- its part, and so its place. Returns the part of the new group.
CREATE FUNCTION queue_split(p_origin uuid, p_part bigint, p_ids uuid[]) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp SET plan_cache_mode = force_generic_plan SET jit = off
    SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
    SET enable_memoize = off
AS $$
DECLARE
    split_off bigint;
BEGIN
    INSERT INTO job_groups (origin, ready_at, lease_token, lease_expires_at, finished_at, attempt, forgiven, suspect,
                            state, queue, leased_by, dead_reason, message_ids)
        SELECT origin, ready_at, lease_token, lease_expires_at, finished_at, attempt, forgiven, suspect,
               state, queue, leased_by, dead_reason, p_ids
        FROM job_groups WHERE origin = p_origin AND part = p_part
        RETURNING part INTO STRICT split_off;
    UPDATE job_groups
        SET message_ids = ARRAY(SELECT id FROM unnest(message_ids) WITH ORDINALITY AS job (id, place)
                                WHERE id NOT IN (SELECT unnest(p_ids)) ORDER BY place)
        WHERE origin = p_origin AND part = p_part;
    RETURN split_off;
END
$$;

-- ready → leased. Up to `p_max` jobs, those that are ready longest, all under one token. Groups that another lease is
-- taking at this moment are skipped, never waited for. A suspect group is taken alone. The last group is split if the
-- lease would be less than half full without.
--
-- `p_floor` is a hint: no group that became ready earlier is looked at. Under a transaction that is held open the
-- front of the index is full of entries that are dead and cannot be cleaned; the floor is what jumps over them.
--
-- Not flushed: if a crash loses a lease, its jobs are ready again, which they would be soon anyway. A later flush, such
-- as that of `queue_complete`, takes it along.
CREATE FUNCTION queue_lease(p_queue text, p_max integer, p_lease_seconds double precision, p_worker text, p_token uuid,
                            p_floor timestamptz)
    RETURNS TABLE (message_id uuid, attempt integer, lease_expires_at timestamptz, ready_at timestamptz, more boolean,
                   client_id text, cert_fingerprint text, proxy text, request_id uuid, traceparent text,
                   routing_key text, queued_at timestamptz, key_id text, sealed bytea)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp SET plan_cache_mode = force_generic_plan SET jit = off
    SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
    SET enable_memoize = off
AS $$
#variable_conflict use_column
DECLARE
    rules   queues;
    front   CURSOR FOR
        SELECT g.origin, g.part, g.suspect, cardinality(g.message_ids) AS jobs, g.message_ids
        FROM job_groups g
        WHERE g.queue = p_queue AND g.state = 'ready'
          AND g.ready_at >= coalesce(p_floor, '-infinity') AND g.ready_at <= now()
        ORDER BY g.ready_at, g.origin, g.part
        FOR UPDATE SKIP LOCKED;
    next    record;
    origins uuid[] := '{}';
    parts   bigint[] := '{}';
    jobs    integer := 0;
    is_more boolean := false;
BEGIN
    SELECT * INTO rules FROM queues WHERE name = p_queue;
    IF NOT FOUND OR rules.paused THEN
        RETURN;
    END IF;
    PERFORM set_config('synchronous_commit', 'off', true);

    OPEN front;
    LOOP
        -- one by one: each row that is fetched is locked
        FETCH front INTO next;
        EXIT WHEN NOT FOUND;
        is_more := next.suspect AND jobs > 0;
        EXIT WHEN is_more;
        IF next.jobs > p_max - jobs THEN
            -- half a lease now is cheaper than two rows more for a whole one
            is_more := jobs * 2 >= p_max;
            EXIT WHEN is_more;
            next.part := queue_split(next.origin, next.part, next.message_ids[1 : p_max - jobs]);
            next.jobs := p_max - jobs;
        END IF;
        origins := origins || next.origin;
        parts := parts || next.part;
        jobs := jobs + next.jobs;
        is_more := next.suspect OR jobs = p_max;
        EXIT WHEN is_more;
    END LOOP;
    CLOSE front;
    IF jobs = 0 THEN
        RETURN;
    END IF;

    UPDATE job_groups g
        SET state = 'leased', attempt = g.attempt + 1, lease_token = p_token, leased_by = p_worker,
            lease_expires_at = now() + make_interval(secs => coalesce(p_lease_seconds, rules.lease_seconds))
        FROM unnest(origins, parts) AS taken (origin, part)
        WHERE g.origin = taken.origin AND g.part = taken.part;
    RETURN QUERY
        SELECT m.message_id, g.attempt, g.lease_expires_at, g.ready_at, is_more,
               m.client_id, m.cert_fingerprint, m.proxy, m.request_id, m.traceparent,
               m.routing_key, m.queued_at, m.key_id, m.sealed
        FROM unnest(origins, parts) WITH ORDINALITY AS taken (origin, part, place)
        JOIN job_groups g ON g.origin = taken.origin AND g.part = taken.part
        CROSS JOIN unnest(g.message_ids) WITH ORDINALITY AS job (id, place)
        JOIN messages m ON m.message_id = job.id
        ORDER BY taken.place, job.place;
END
$$;

-- Verbs on one lease wait for one another, and then look: else one would miss what another is splitting off.
CREATE FUNCTION queue_lock_leases(p_tokens uuid[]) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp SET plan_cache_mode = force_generic_plan SET jit = off
AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(lease)
        FROM (SELECT DISTINCT uuid_hash_extended(token, 0) AS lease FROM unnest(p_tokens) AS token ORDER BY 1) leases;
END
$$;

-- What is held: locks the leased groups of these jobs under these tokens and returns them, after splitting off jobs that
-- were not asked about. A group that the reaper took meanwhile is not held any more.
CREATE FUNCTION queue_held(p_ids uuid[], p_tokens uuid[])
    RETURNS TABLE (origin uuid, part bigint, lease_token uuid)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp SET plan_cache_mode = force_generic_plan SET jit = off
    SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
    SET enable_memoize = off
AS $$
#variable_conflict use_column
DECLARE
    held record;
BEGIN
    PERFORM queue_lock_leases(p_tokens);
    FOR held IN
        SELECT g.origin, g.part, g.lease_token, g.message_ids, n.asked, cardinality(g.message_ids) AS jobs
        FROM job_groups g
        CROSS JOIN LATERAL (
            -- IS TRUE keeps it a hashed look-up for each job, however long the lists are; else it becomes a join
            SELECT count(*) AS asked FROM unnest(g.message_ids) AS job (id)
            WHERE ((job.id, g.lease_token) IN (SELECT a.id, a.token FROM unnest(p_ids, p_tokens) AS a (id, token)))
                  IS TRUE
        ) n
        WHERE g.state = 'leased' AND g.lease_token = ANY (p_tokens) AND n.asked > 0
        FOR UPDATE OF g
    LOOP
        origin := held.origin;
        part := held.part;
        lease_token := held.lease_token;
        IF held.asked < held.jobs THEN
            part := queue_split(origin, part, ARRAY(
                SELECT job.id FROM unnest(held.message_ids) WITH ORDINALITY AS job (id, place)
                WHERE ((job.id, held.lease_token) IN (SELECT a.id, a.token FROM unnest(p_ids, p_tokens) AS a (id, token)))
                      IS TRUE
                ORDER BY job.place));
        END IF;
        RETURN NEXT;
    END LOOP;
END
$$;

-- leased → leased, for longer, counted from now. A lease that expired but was not reaped yet can still be renewed,
-- completed and failed: its token proves that nobody else was given the jobs since.
CREATE FUNCTION queue_renew(p_ids uuid[], p_tokens uuid[], p_lease_seconds double precision)
    RETURNS TABLE (lease_token uuid, message_ids uuid[])
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp SET plan_cache_mode = force_generic_plan SET jit = off
    SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
    SET enable_memoize = off
AS $$
#variable_conflict use_column
DECLARE
    origins uuid[];
    parts   bigint[];
BEGIN
    SELECT array_agg(h.origin), array_agg(h.part) INTO origins, parts FROM queue_held(p_ids, p_tokens) h;
    RETURN QUERY
        UPDATE job_groups g
        SET lease_expires_at = now() + make_interval(secs => coalesce(p_lease_seconds, q.lease_seconds))
        FROM unnest(origins, parts) AS held (origin, part), queues q
        WHERE g.origin = held.origin AND g.part = held.part AND q.name = g.queue
        RETURNING g.lease_token, g.message_ids;
END
$$;

-- leased → done: delivered.
CREATE FUNCTION queue_complete(p_ids uuid[], p_tokens uuid[])
    RETURNS TABLE (lease_token uuid, message_ids uuid[], queue text)
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
        RETURNING held.token, g.message_ids, g.queue;
END
$$;

DO $$
DECLARE
    verb regprocedure;
BEGIN
    FOR verb IN SELECT oid FROM pg_proc WHERE proname LIKE 'queue\_%' AND pronamespace = 'public'::regnamespace
    LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO portcullis_owner', verb);
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', verb);
    END LOOP;
END
$$;
GRANT EXECUTE ON FUNCTION queue_lease, queue_renew, queue_complete TO portcullis_server;
