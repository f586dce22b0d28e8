-- The verbs for what was not delivered: handed back by its worker, or taken back when nobody renewed its lease.
-- Old code tolerates it: it adds functions. See 0021_queue_verbs.sql.

-- leased → ready after a delay; or dead, when trying again is pointless or was tried enough. For each job: its error,
-- sealed, with the key's id; a delay of its own, or NULL for the queue's backoff; a reason to be dead at once, or NULL;
-- whether it is handed back unworked: ready at once, and the attempt does not count.
--
-- Jobs that go the same way stay together. Without a delay of their own they wait base × 2^(attempt-1), at most the
-- queue's maximum, of which a random half is taken off, so that groups that failed together do not come back together.
CREATE FUNCTION queue_fail(p_ids uuid[], p_tokens uuid[], p_errors bytea[], p_key_ids text[],
                           p_delays double precision[], p_dead_reasons text[], p_released boolean[])
    RETURNS TABLE (lease_token uuid, message_ids uuid[], queue text, dead boolean, ready_at timestamptz, ready_now boolean)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp SET plan_cache_mode = force_generic_plan SET jit = off
    SET enable_seqscan = off SET enable_bitmapscan = off
AS $$
#variable_conflict use_column
DECLARE
    way     record;
    origins uuid[];
    parts   bigint[];
BEGIN
    PERFORM queue_lock_leases(p_tokens); -- all of them first, in their order
    FOR way IN
        SELECT a.delay, a.dead_reason, a.released, array_agg(a.id) AS ids, array_agg(a.token) AS tokens
        FROM unnest(p_ids, p_tokens, p_delays, p_dead_reasons, p_released) AS a (id, token, delay, dead_reason, released)
        GROUP BY a.delay, a.dead_reason, a.released
    LOOP
        SELECT array_agg(h.origin), array_agg(h.part) INTO origins, parts FROM queue_held(way.ids, way.tokens) h;
        IF NOT way.released THEN
            INSERT INTO job_attempts (message_id, queue, attempt, worker, outcome, error, error_key_id)
                SELECT job.id, g.queue, g.attempt, g.leased_by, coalesce(way.dead_reason, 'failed'), a.error, a.key_id
                FROM unnest(origins, parts) AS held (origin, part)
                CROSS JOIN LATERAL (
                    SELECT * FROM job_groups g WHERE g.origin = held.origin AND g.part = held.part OFFSET 0
                ) g
                CROSS JOIN unnest(g.message_ids) AS job (id)
                JOIN unnest(p_ids, p_tokens, p_errors, p_key_ids) AS a (id, token, error, key_id)
                  ON a.id = job.id AND a.token = g.lease_token
                ON CONFLICT DO NOTHING; -- a job that is named twice in one call
        END IF;
        FOR number IN 1 .. coalesce(cardinality(origins), 0) LOOP
            RETURN QUERY SELECT * FROM queue_fail_group(origins[number], parts[number], way.delay, way.dead_reason, way.released);
        END LOOP;
    END LOOP;
END
$$;

-- One group of `queue_fail`, whole and locked.
CREATE FUNCTION queue_fail_group(p_origin uuid, p_part bigint, p_delay double precision, p_dead_reason text,
                                 p_released boolean)
    RETURNS TABLE (lease_token uuid, message_ids uuid[], queue text, dead boolean, ready_at timestamptz, ready_now boolean)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp SET plan_cache_mode = force_generic_plan SET jit = off
    SET enable_seqscan = off SET enable_bitmapscan = off
AS $$
#variable_conflict use_column
DECLARE
    held    job_groups;
    token   uuid;
    rules   queues;
    reason  text := p_dead_reason;
    seconds double precision := 0;
BEGIN
    SELECT * INTO STRICT held FROM job_groups g WHERE g.origin = p_origin AND g.part = p_part;
    token := held.lease_token;
    SELECT * INTO STRICT rules FROM queues WHERE name = held.queue;
    IF reason IS NULL AND NOT p_released THEN
        IF held.attempt - held.forgiven >= rules.max_attempts THEN
            reason := 'attempts_exhausted';
        ELSE
            seconds := coalesce(p_delay, (0.5 + random() / 2) * least(rules.backoff_max_seconds,
                rules.backoff_base_seconds * power(2, least(held.attempt - held.forgiven - 1, 40))));
        END IF;
    END IF;
    UPDATE job_groups g
        SET state = CASE WHEN reason IS NULL THEN 'ready' ELSE 'dead' END,
            dead_reason = reason,
            finished_at = CASE WHEN reason IS NOT NULL THEN now() END,
            ready_at = CASE WHEN reason IS NULL THEN now() + make_interval(secs => seconds) ELSE g.ready_at END,
            forgiven = g.forgiven + p_released::integer,
            suspect = g.suspect AND p_released, -- its worker lived to say so
            lease_token = NULL, lease_expires_at = NULL, leased_by = NULL
        WHERE g.origin = p_origin AND g.part = p_part
        RETURNING * INTO held;
    RETURN QUERY SELECT token, held.message_ids, held.queue, reason IS NOT NULL, held.ready_at,
                        reason IS NULL AND held.ready_at <= now();
END
$$;

-- leased → ready, or dead: leases that nobody renewed, because the worker died, hangs, or lost its way to us. Up to
-- `p_limit` groups, those that expired longest ago; none that expired longer than `p_back_seconds` ago, a hint like the
-- floor of `queue_lease`. No backoff: the lease's own time has passed already.
--
-- One of the group's jobs may have killed its worker. So it comes back as two suspect halves, which are leased alone:
-- after log2(n) leases the job at fault is alone, and its neighbours are delivered. Only a job that was alone dies.
CREATE FUNCTION queue_reap(p_limit integer, p_back_seconds double precision)
    RETURNS TABLE (queue text, jobs integer, dead boolean, ready_at timestamptz)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp SET plan_cache_mode = force_generic_plan SET jit = off
    SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
#variable_conflict use_column
DECLARE
    expired record;
    reason  text;
    halves  bigint[];
BEGIN
    FOR expired IN
        SELECT g.origin, g.part, g.queue, g.attempt, g.leased_by, g.message_ids, cardinality(g.message_ids) AS jobs,
               g.attempt - g.forgiven >= (SELECT q.max_attempts FROM queues q WHERE q.name = g.queue) AS exhausted
        FROM job_groups g
        WHERE g.state = 'leased' AND g.lease_expires_at <= now()
          AND g.lease_expires_at > coalesce(now() - make_interval(secs => p_back_seconds), '-infinity')
        ORDER BY g.lease_expires_at
        LIMIT p_limit
        FOR UPDATE OF g SKIP LOCKED
    LOOP
        INSERT INTO job_attempts (message_id, queue, attempt, worker, outcome)
            SELECT id, expired.queue, expired.attempt, expired.leased_by, 'lease_expired'
            FROM unnest(expired.message_ids) AS id;
        halves := ARRAY[expired.part];
        IF expired.jobs > 1 THEN
            halves := halves || queue_split(expired.origin, expired.part,
                                            expired.message_ids[expired.jobs / 2 + 1 : expired.jobs]);
        END IF;
        reason := CASE WHEN expired.jobs = 1 AND expired.exhausted THEN 'lease_expired' END;
        UPDATE job_groups g
            SET state = CASE WHEN reason IS NULL THEN 'ready' ELSE 'dead' END,
                dead_reason = reason,
                finished_at = CASE WHEN reason IS NOT NULL THEN now() END,
                ready_at = CASE WHEN reason IS NULL THEN now() ELSE g.ready_at END,
                suspect = true,
                lease_token = NULL, lease_expires_at = NULL, leased_by = NULL
            WHERE g.origin = expired.origin AND g.part = ANY (halves);
        queue := expired.queue;
        jobs := expired.jobs;
        dead := reason IS NOT NULL;
        ready_at := now();
        RETURN NEXT;
    END LOOP;
END
$$;

DO $$
DECLARE
    verb regprocedure;
BEGIN
    FOREACH verb IN ARRAY ARRAY['queue_fail'::regproc, 'queue_fail_group'::regproc, 'queue_reap'::regproc]
    LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO portcullis_owner', verb);
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', verb);
    END LOOP;
END
$$;
GRANT EXECUTE ON FUNCTION queue_fail, queue_reap TO portcullis_server;
