-- Redriving and discarding dead letters that are named one by one, in one statement with one row in the audit log.
-- Old code tolerates it: it adds functions. See 0023_dead_letters.sql.

-- dead → ready, in the order given; with `p_per_second` at that rate. Returns how many jobs: an id that is no dead letter counts for none.
CREATE FUNCTION redrive_messages(p_message_ids uuid[], p_queue text DEFAULT NULL,
                                 p_per_second double precision DEFAULT NULL, p_by text DEFAULT NULL)
    RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
DECLARE
    named uuid;
    dead  record;
    jobs  bigint := 0;
BEGIN
    IF p_per_second <= 0 THEN
        RAISE EXCEPTION 'p_per_second must be above 0, or NULL for all at once' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    FOREACH named IN ARRAY p_message_ids LOOP
        FOR dead IN SELECT * FROM queue_dead(p_queue, NULL, NULL, NULL, NULL, named, NULL) LOOP
            UPDATE job_groups
                SET state = 'ready', forgiven = attempt, dead_reason = NULL, finished_at = NULL,
                    ready_at = now() + make_interval(secs => coalesce(jobs / p_per_second, 0))
                WHERE origin = dead.origin AND part = dead.part;
            jobs := jobs + 1;
        END LOOP;
    END LOOP;
    INSERT INTO audit_log (what, new) VALUES ('dead letters redrive', jsonb_strip_nulls(
        jsonb_build_object('queue', p_queue, 'message_ids', p_message_ids, 'per_second', p_per_second, 'by', p_by, 'jobs', jobs)));
    RETURN jobs;
END
$$;

-- dead → cancelled.
CREATE FUNCTION discard_messages(p_message_ids uuid[], p_queue text DEFAULT NULL, p_by text DEFAULT NULL)
    RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
DECLARE
    named uuid;
    dead  record;
    jobs  bigint := 0;
BEGIN
    FOREACH named IN ARRAY p_message_ids LOOP
        FOR dead IN SELECT * FROM queue_dead(p_queue, NULL, NULL, NULL, NULL, named, NULL) LOOP
            UPDATE job_groups SET state = 'cancelled', dead_reason = NULL, finished_at = now()
                WHERE origin = dead.origin AND part = dead.part;
            jobs := jobs + 1;
        END LOOP;
    END LOOP;
    INSERT INTO audit_log (what, new) VALUES ('dead letters discard', jsonb_strip_nulls(
        jsonb_build_object('queue', p_queue, 'message_ids', p_message_ids, 'by', p_by, 'jobs', jobs)));
    RETURN jobs;
END
$$;

DO $$
DECLARE
    verb regprocedure;
BEGIN
    FOREACH verb IN ARRAY ARRAY['redrive_messages'::regproc, 'discard_messages'::regproc]
    LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO portcullis_owner', verb);
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', verb);
    END LOOP;
END
$$;
GRANT EXECUTE ON FUNCTION redrive_messages, discard_messages TO portcullis_operator, portcullis_server;
