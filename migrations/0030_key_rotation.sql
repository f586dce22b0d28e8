-- Sealing anew what earlier keys sealed, in the background, and saying how far that is.
-- Old code tolerates it: it adds tables and functions. It does not report its key ring, so replace all main servers
-- before a key is retired.
--
-- One walk at a time goes over all messages, by id, whichever server does it: the walker's lease and its place are a row
-- here, so another server goes on where one stopped. Keys are in no row; what is here are their names.

CREATE TABLE reseal_walk (
    one        boolean PRIMARY KEY DEFAULT true CHECK (one),
    key_id     text,                                 -- it seals under this key; NULL: none began yet
    after      uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000', -- up to this message it is done
    left_over  jsonb NOT NULL DEFAULT '{}',          -- what stays under another key so far: {"k1": {"messages": 1, "errors": 0}}
    walker     uuid,
    walks_until timestamptz NOT NULL DEFAULT '-infinity', -- the walker's lease
    began_at   timestamptz,
    ended_at   timestamptz,                          -- NULL while it has not come to the end
    CHECK ((key_id IS NULL) = (began_at IS NULL))
);
ALTER TABLE reseal_walk OWNER TO portcullis_owner;
INSERT INTO reseal_walk DEFAULT VALUES;

-- What the last whole walk left under other keys than the one it sealed under: it did not open, or the key is missing.
CREATE TABLE sealed_under (
    key_id     text PRIMARY KEY,
    messages   bigint NOT NULL,
    errors     bigint NOT NULL,                      -- of failed attempts
    counted_at timestamptz NOT NULL DEFAULT now()
);
ALTER TABLE sealed_under OWNER TO portcullis_owner;

-- Which keys each main server has, so that none loses one that it still seals under.
CREATE TABLE key_rings (
    server      text PRIMARY KEY,                    -- from its certificate
    current_key text NOT NULL,
    key_ids     text[] NOT NULL,
    seen_at     timestamptz NOT NULL DEFAULT now()
);
ALTER TABLE key_rings OWNER TO portcullis_owner;

-- Takes the walk, or keeps it, for `p_lease_seconds`; nothing if another one has it, or there is nothing to do: it came to its end
-- less than `p_pause_seconds`, or twenty times as long as it took, ago. A walk under another key begins anew, if the caller knows that key too: else the caller's ring
-- is behind, and it is not the one to do this. A walk that nobody went on with for an hour is everybody's.
CREATE FUNCTION reseal_take(p_walker uuid, p_key text, p_keys text[], p_pause_seconds double precision,
                            p_lease_seconds double precision)
    RETURNS TABLE (after uuid, left_over text)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    walk  reseal_walk;
    anew  boolean;
BEGIN
    SELECT * INTO STRICT walk FROM reseal_walk FOR UPDATE;
    anew := walk.key_id IS DISTINCT FROM p_key OR walk.ended_at IS NOT NULL;
    IF walk.walks_until > now() AND walk.walker IS DISTINCT FROM p_walker
       OR walk.key_id <> p_key AND walk.key_id <> ALL (p_keys) AND walk.walks_until > now() - interval '1 hour'
       OR walk.key_id = p_key AND walk.ended_at > now() - greatest(make_interval(secs => p_pause_seconds), 20 * (walk.ended_at - walk.began_at)) THEN
        RETURN;
    END IF;
    RETURN QUERY
        UPDATE reseal_walk w SET key_id = p_key,
            after = CASE WHEN anew THEN '00000000-0000-0000-0000-000000000000' ELSE w.after END,
            left_over = CASE WHEN anew THEN '{}' ELSE w.left_over END,
            began_at = CASE WHEN anew THEN now() ELSE w.began_at END,
            ended_at = NULL, walker = p_walker, walks_until = now() + make_interval(secs => p_lease_seconds)
        RETURNING w.after, w.left_over::text;
END
$$;

-- One step of the walk: puts what was sealed anew into its rows and moves on; with `p_ended`, to the end. Nothing but
-- `key_id` and `sealed` of a message changes, and only from the key it was read under and to the walk's, at the same
-- length. False if the walk is not the caller's any more: then nothing is done. A row that somebody else has locked is
-- left to the next walk.
CREATE FUNCTION reseal_step(p_walker uuid, p_lease_seconds double precision, p_after uuid, p_left_over text, p_ended boolean,
                            p_ids uuid[], p_from text[], p_sealed bytea[],
                            p_error_ids uuid[], p_error_queues text[], p_error_attempts integer[],
                            p_error_from text[], p_errors bytea[])
    RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp SET plan_cache_mode = force_generic_plan SET jit = off SET enable_seqscan = off
AS $$
DECLARE
    walk reseal_walk;
BEGIN
    UPDATE reseal_walk
        SET after = p_after, left_over = p_left_over::jsonb, walks_until = now() + make_interval(secs => p_lease_seconds)
        WHERE walker = p_walker AND walks_until > now() AND ended_at IS NULL
        RETURNING * INTO walk;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    WITH locked AS (
        SELECT m.message_id FROM messages m WHERE m.message_id = ANY (p_ids)
        ORDER BY m.message_id FOR UPDATE SKIP LOCKED
    )
    UPDATE messages m SET key_id = walk.key_id, sealed = anew.sealed
        FROM locked JOIN unnest(p_ids, p_from, p_sealed) AS anew (id, key_id, sealed) ON anew.id = locked.message_id
        WHERE m.message_id = locked.message_id AND m.key_id = anew.key_id
          AND octet_length(m.sealed) = octet_length(anew.sealed);
    WITH locked AS (
        SELECT a.message_id, a.queue, a.attempt FROM job_attempts a WHERE a.message_id = ANY (p_error_ids)
        ORDER BY a.message_id, a.queue, a.attempt FOR UPDATE SKIP LOCKED
    )
    UPDATE job_attempts a SET error_key_id = walk.key_id, error = anew.error
        FROM locked l JOIN unnest(p_error_ids, p_error_queues, p_error_attempts, p_error_from, p_errors)
             AS anew (id, queue, attempt, key_id, error)
             ON anew.id = l.message_id AND anew.queue = l.queue AND anew.attempt = l.attempt
        WHERE a.message_id = l.message_id AND a.queue = l.queue AND a.attempt = l.attempt
          AND a.error_key_id = anew.key_id AND octet_length(a.error) = octet_length(anew.error);
    IF p_ended THEN
        DELETE FROM sealed_under;
        INSERT INTO sealed_under (key_id, messages, errors)
            SELECT key, (value ->> 'messages')::bigint, (value ->> 'errors')::bigint FROM jsonb_each(walk.left_over);
        UPDATE reseal_walk SET ended_at = now(), walker = NULL, walks_until = now();
    END IF;
    RETURN true;
END
$$;

-- A server says which keys it has. What was not heard of for a day is forgotten.
CREATE FUNCTION key_ring_report(p_server text, p_current_key text, p_key_ids text[]) RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
    DELETE FROM key_rings WHERE seen_at < now() - interval '1 day';
    INSERT INTO key_rings (server, current_key, key_ids) VALUES (p_server, p_current_key, p_key_ids)
        ON CONFLICT (server) DO UPDATE
        SET current_key = excluded.current_key, key_ids = excluded.key_ids, seen_at = now();
$$;

DO $$
DECLARE
    verb regprocedure;
BEGIN
    FOREACH verb IN ARRAY ARRAY['reseal_take'::regproc, 'reseal_step'::regproc, 'key_ring_report'::regproc]
    LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO portcullis_owner', verb);
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', verb);
    END LOOP;
END
$$;
GRANT EXECUTE ON FUNCTION reseal_take, reseal_step, key_ring_report TO portcullis_server;
GRANT SELECT ON reseal_walk, sealed_under, key_rings TO portcullis_server, portcullis_operator;
