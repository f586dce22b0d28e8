-- Two more rules of a queue: how long what is finished stays, and how much may wait.
-- Old code tolerates it: the columns have defaults, which say what held before, but for retention.

ALTER TABLE queues
    -- done and cancelled jobs go so long after they ended, and their messages with them; dead letters stay
    ADD COLUMN retention   interval NOT NULL DEFAULT '7 days' CHECK (retention >= interval '0'),
    -- jobs that are ready or leased; a message beyond that is refused. NULL: no bound
    ADD COLUMN max_backlog bigint CHECK (max_backlog > 0);

-- done | cancelled → (gone). Up to `p_limit` groups whose queue's retention has passed, the oldest first; a message goes
-- with the last of its jobs. One at a time: two that end jobs of one message in two queues would each leave it to the
-- other. Not flushed: what a crash brings back goes the next time. Returns how many groups.
CREATE FUNCTION queue_purge(p_limit integer) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp SET plan_cache_mode = force_generic_plan SET jit = off
    SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
    rules   queues;
    ended   record;
    purged  integer := 0;
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtextextended('portcullis queue_purge', 0)) THEN
        RETURN 0;
    END IF;
    PERFORM set_config('synchronous_commit', 'off', true);
    FOR rules IN SELECT * FROM queues LOOP
        FOR ended IN
            SELECT origin, part, message_ids FROM job_groups
            WHERE queue = rules.name AND state IN ('done', 'cancelled') AND finished_at < now() - rules.retention
            ORDER BY finished_at LIMIT p_limit - purged
        LOOP
            DELETE FROM job_groups WHERE origin = ended.origin AND part = ended.part;
            DELETE FROM job_attempts a USING unnest(ended.message_ids) AS job (id)
                WHERE a.message_id = job.id AND a.queue = rules.name;
            DELETE FROM messages m USING unnest(ended.message_ids) AS job (id)
                WHERE m.message_id = job.id
                  AND NOT EXISTS (SELECT FROM job_groups g
                                  WHERE g.origin = ended.origin AND job.id = ANY (g.message_ids));
            purged := purged + 1;
        END LOOP;
    END LOOP;
    RETURN purged;
END
$$;
-- How much each queue holds, and for how many seconds the oldest job that may be leased has waited. It reads the
-- indexes of what is not finished, never the table.
CREATE FUNCTION queue_depths()
    RETURNS TABLE (queue text, max_backlog bigint, ready bigint, leased bigint, dead bigint, oldest_ready_seconds double precision)
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path = public, pg_temp SET plan_cache_mode = force_generic_plan SET jit = off SET enable_seqscan = off
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        WITH counted AS (
            SELECT g.queue, g.state, sum(cardinality(g.message_ids))::bigint AS jobs, min(g.ready_at) AS oldest
            FROM job_groups g WHERE g.state = 'ready' GROUP BY g.queue, g.state
            UNION ALL
            SELECT g.queue, g.state, sum(cardinality(g.message_ids)), NULL
            FROM job_groups g WHERE g.lease_token IS NOT NULL GROUP BY g.queue, g.state
            UNION ALL
            SELECT g.queue, g.state, sum(cardinality(g.message_ids)), NULL
            FROM job_groups g WHERE g.state = 'dead' GROUP BY g.queue, g.state
        )
        SELECT q.name, q.max_backlog, coalesce(ready.jobs, 0), coalesce(leased.jobs, 0), coalesce(dead.jobs, 0),
               coalesce(greatest(extract(epoch FROM now() - ready.oldest), 0), 0)::double precision
        FROM queues q
        LEFT JOIN counted ready ON ready.queue = q.name AND ready.state = 'ready'
        LEFT JOIN counted leased ON leased.queue = q.name AND leased.state = 'leased'
        LEFT JOIN counted dead ON dead.queue = q.name AND dead.state = 'dead';
END
$$;

ALTER FUNCTION queue_purge(integer) OWNER TO portcullis_owner;
ALTER FUNCTION queue_depths() OWNER TO portcullis_owner;
REVOKE ALL ON FUNCTION queue_purge(integer), queue_depths() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION queue_purge(integer), queue_depths() TO portcullis_server;
GRANT EXECUTE ON FUNCTION queue_depths() TO portcullis_operator;
