-- Dead letters: looking at them, giving them their attempts again, giving them up.
-- Old code tolerates it: it adds functions.
--
-- For operators, who call these in SQL, and for the main server, which calls them for operators at its door. They show
-- no content. What they change is in the audit log: the filters, how many jobs, by whom.
--
-- Every argument is optional: a filter that is NULL matches all. `p_since` and `p_until` are about when a job died.

-- The oldest first; the next page begins after the last row's (died_at, message_id). One row per job.
CREATE FUNCTION dead_letters(p_queue text DEFAULT NULL, p_client_id text DEFAULT NULL, p_since timestamptz DEFAULT NULL,
                             p_until timestamptz DEFAULT NULL, p_reason text DEFAULT NULL,
                             p_message_id uuid DEFAULT NULL, p_after_at timestamptz DEFAULT NULL,
                             p_after_id uuid DEFAULT NULL, p_limit integer DEFAULT 100)
    RETURNS TABLE (message_id uuid, queue text, client_id text, cert_fingerprint text, proxy text, request_id uuid,
                   routing_key text, queued_at timestamptz, attempts integer, dead_reason text, died_at timestamptz)
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path = public, pg_temp SET plan_cache_mode = force_custom_plan
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        SELECT m.message_id, g.queue, m.client_id, m.cert_fingerprint, m.proxy, m.request_id, m.routing_key,
               m.queued_at, g.attempt, g.dead_reason, g.finished_at
        FROM job_groups g CROSS JOIN unnest(g.message_ids) AS job (id) JOIN messages m ON m.message_id = job.id
        WHERE g.state = 'dead' AND (p_queue IS NULL OR g.queue = p_queue)
          AND (p_client_id IS NULL OR m.client_id = p_client_id)
          AND (p_since IS NULL OR g.finished_at >= p_since) AND (p_until IS NULL OR g.finished_at < p_until)
          AND (p_reason IS NULL OR g.dead_reason = p_reason)
          AND (p_message_id IS NULL OR (job.id = p_message_id
               AND g.origin = (SELECT o.origin FROM messages o WHERE o.message_id = p_message_id)))
          AND (p_after_at IS NULL OR g.finished_at >= p_after_at AND (g.finished_at, m.message_id)
               > (p_after_at, coalesce(p_after_id, '00000000-0000-0000-0000-000000000000')))
        ORDER BY g.finished_at, m.message_id
        LIMIT p_limit;
END
$$;

-- Locks the dead groups that match, at most `p_limit` jobs, and returns them after splitting off what does not match.
-- Groups that somebody else is redriving or discarding at this moment are left to them.
CREATE FUNCTION queue_dead(p_queue text, p_client_id text, p_since timestamptz, p_until timestamptz, p_reason text,
                           p_message_id uuid, p_limit bigint)
    RETURNS TABLE (origin uuid, part bigint, message_ids uuid[])
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp SET plan_cache_mode = force_custom_plan
AS $$
#variable_conflict use_column
DECLARE
    dead  record;
    found bigint := 0;
BEGIN
    FOR dead IN
        SELECT g.origin, g.part, g.message_ids FROM job_groups g
        WHERE g.state = 'dead' AND (p_queue IS NULL OR g.queue = p_queue)
          AND (p_since IS NULL OR g.finished_at >= p_since) AND (p_until IS NULL OR g.finished_at < p_until)
          AND (p_reason IS NULL OR g.dead_reason = p_reason)
          AND (p_message_id IS NULL OR (p_message_id = ANY (g.message_ids)
               AND g.origin = (SELECT m.origin FROM messages m WHERE m.message_id = p_message_id)))
        ORDER BY g.finished_at, g.origin, g.part
        FOR UPDATE SKIP LOCKED
    LOOP
        message_ids := ARRAY(
            SELECT job.id FROM unnest(dead.message_ids) WITH ORDINALITY AS job (id, place)
            WHERE (p_message_id IS NULL OR job.id = p_message_id)
              AND (p_client_id IS NULL
                   OR EXISTS (SELECT FROM messages m WHERE m.message_id = job.id AND m.client_id = p_client_id))
            ORDER BY job.place LIMIT p_limit - found);
        CONTINUE WHEN message_ids = '{}';
        origin := dead.origin;
        part := dead.part;
        IF cardinality(message_ids) < cardinality(dead.message_ids) THEN
            part := queue_split(origin, part, message_ids);
        END IF;
        found := found + cardinality(message_ids);
        RETURN NEXT;
        EXIT WHEN found >= p_limit;
    END LOOP;
END
$$;

-- dead → ready: their attempts again, from now on; `attempt` goes on counting, because somebody may have delivered them.
-- With `p_per_second` they become ready one after the other at that rate, else all at once. `p_by` is for whom it is
-- done, if not for the login itself. Returns how many jobs.
CREATE FUNCTION redrive_matching(p_queue text DEFAULT NULL, p_client_id text DEFAULT NULL,
                                 p_since timestamptz DEFAULT NULL, p_until timestamptz DEFAULT NULL,
                                 p_reason text DEFAULT NULL, p_per_second double precision DEFAULT NULL,
                                 p_limit bigint DEFAULT NULL, p_message_id uuid DEFAULT NULL, p_by text DEFAULT NULL)
    RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    dead    record;
    redrive bigint;
    step    integer;
    jobs    bigint := 0;
BEGIN
    IF p_per_second <= 0 THEN
        RAISE EXCEPTION 'p_per_second must be above 0, or NULL for all at once' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    -- what becomes ready together is at most what a second may bring
    step := greatest(1, floor(least(100, p_per_second)));
    FOR dead IN SELECT * FROM queue_dead(p_queue, p_client_id, p_since, p_until, p_reason, p_message_id, p_limit)
    LOOP
        FOR place IN 1 .. cardinality(dead.message_ids) BY step LOOP
            redrive := dead.part;
            IF place + step <= cardinality(dead.message_ids) THEN
                redrive := queue_split(dead.origin, dead.part, dead.message_ids[place : place + step - 1]);
            END IF;
            UPDATE job_groups
                SET state = 'ready', forgiven = attempt, dead_reason = NULL, finished_at = NULL,
                    ready_at = now() + make_interval(secs => coalesce(jobs / p_per_second, 0))
                WHERE origin = dead.origin AND part = redrive;
            jobs := jobs + least(step, cardinality(dead.message_ids) - place + 1);
        END LOOP;
    END LOOP;
    INSERT INTO audit_log (what, client_id, new) VALUES ('dead letters redrive', p_client_id, jsonb_strip_nulls(
        jsonb_build_object('queue', p_queue, 'since', p_since, 'until', p_until, 'reason', p_reason, 'limit', p_limit,
                           'message_id', p_message_id, 'per_second', p_per_second, 'by', p_by, 'jobs', jobs)));
    RETURN jobs;
END
$$;

-- dead → cancelled: given up. The messages go when the queue's retention has passed. Returns how many jobs.
CREATE FUNCTION discard_matching(p_queue text DEFAULT NULL, p_client_id text DEFAULT NULL,
                                 p_since timestamptz DEFAULT NULL, p_until timestamptz DEFAULT NULL,
                                 p_reason text DEFAULT NULL, p_limit bigint DEFAULT NULL,
                                 p_message_id uuid DEFAULT NULL, p_by text DEFAULT NULL)
    RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    dead record;
    jobs bigint := 0;
BEGIN
    FOR dead IN SELECT * FROM queue_dead(p_queue, p_client_id, p_since, p_until, p_reason, p_message_id, p_limit)
    LOOP
        UPDATE job_groups SET state = 'cancelled', dead_reason = NULL, finished_at = now()
            WHERE origin = dead.origin AND part = dead.part;
        jobs := jobs + cardinality(dead.message_ids);
    END LOOP;
    INSERT INTO audit_log (what, client_id, new) VALUES ('dead letters discard', p_client_id, jsonb_strip_nulls(
        jsonb_build_object('queue', p_queue, 'since', p_since, 'until', p_until, 'reason', p_reason, 'limit', p_limit,
                           'message_id', p_message_id, 'by', p_by, 'jobs', jobs)));
    RETURN jobs;
END
$$;

-- One message; in one queue, or in all where it is dead.
CREATE FUNCTION redrive(p_message_id uuid, p_queue text DEFAULT NULL) RETURNS bigint
    LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp
AS $$ SELECT redrive_matching(p_queue => p_queue, p_message_id => p_message_id) $$;
CREATE FUNCTION discard(p_message_id uuid, p_queue text DEFAULT NULL) RETURNS bigint
    LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp
AS $$ SELECT discard_matching(p_queue => p_queue, p_message_id => p_message_id) $$;

DO $$
DECLARE
    verb regprocedure;
BEGIN
    FOREACH verb IN ARRAY ARRAY['dead_letters'::regproc, 'queue_dead'::regproc, 'redrive_matching'::regproc,
                                'discard_matching'::regproc, 'redrive'::regproc, 'discard'::regproc]
    LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO portcullis_owner', verb);
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', verb);
    END LOOP;
END
$$;
GRANT EXECUTE ON FUNCTION dead_letters, redrive_matching, discard_matching, redrive, discard
    TO portcullis_operator, portcullis_server;
