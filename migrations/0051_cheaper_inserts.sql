-- Cheaper for Postgres, with the same rules and the same words.
-- Old code tolerates it: signatures and rights stay. Writing stands still for a moment, not for a pass over the rows.

-- The same function as before, but for how the lists are read: in FROM, each list was first written to a store of its
-- own, and read back from there.
CREATE OR REPLACE FUNCTION queue_insert(
        p_queue text, p_message_ids uuid[], p_origins uuid[], p_client_ids text[], p_fingerprints text[],
        p_proxies text[], p_request_ids uuid[], p_traceparents text[], p_routing_keys text[], p_key_ids text[],
        p_sealed bytea[], p_sender_indexes bytea[], p_payload_hashes bytea[], p_key_hashes bytea[],
        p_key_fingerprints bytea[])
    RETURNS TABLE (message_id uuid, queued_at timestamptz)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp SET plan_cache_mode = force_generic_plan SET jit = off
    SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    claimed uuid[];
BEGIN
    -- a reload may have turned them off since this connection was checked: then store nothing
    IF NOT (current_setting('fsync')::boolean AND current_setting('full_page_writes')::boolean) THEN
        RETURN;
    END IF;

    -- all keys before the first message: locks in one order
    IF p_key_hashes IS NOT NULL THEN
        WITH claim AS (
            INSERT INTO idempotency_keys AS k (client_id, key_hash, fingerprint, message_id)
            SELECT client_id, key_hash, fingerprint, message_id
            FROM unnest(p_client_ids, p_key_hashes, p_key_fingerprints, p_message_ids)
                AS input (client_id, key_hash, fingerprint, message_id)
            WHERE key_hash IS NOT NULL
              -- a message that a proxy sends again claims nothing: its key stands for it already
              AND (SELECT true FROM messages m WHERE m.message_id = input.message_id) IS NULL
            -- like the ids: in one order everywhere
            ORDER BY client_id, key_hash
            -- waits for whoever is storing under this key at this moment
            ON CONFLICT (client_id, key_hash) DO UPDATE
                SET fingerprint = excluded.fingerprint, message_id = excluded.message_id,
                    queued_at = excluded.queued_at
                -- its day is over: it counts as absent, though it was not deleted yet
                WHERE k.queued_at <= now() - interval '24 hours'
            RETURNING message_id
        )
        SELECT coalesce(array_agg(message_id), '{}') INTO claimed FROM claim;
    END IF;

    RETURN QUERY
        WITH stored AS (
            INSERT INTO messages (message_id, origin, client_id, cert_fingerprint, proxy, request_id,
                                  traceparent, routing_key, key_id, sealed, sender_index, payload_hash)
            SELECT message_id, origin, client_id, cert_fingerprint, proxy, request_id,
                   traceparent, routing_key, key_id, sealed, sender_index, payload_hash
            FROM (SELECT unnest(p_message_ids) AS message_id, unnest(p_origins) AS origin,
                         unnest(p_client_ids) AS client_id, unnest(p_fingerprints) AS cert_fingerprint,
                         unnest(p_proxies) AS proxy, unnest(p_request_ids) AS request_id,
                         unnest(p_traceparents) AS traceparent, unnest(p_routing_keys) AS routing_key,
                         unnest(p_key_ids) AS key_id, unnest(p_sealed) AS sealed,
                         unnest(p_sender_indexes) AS sender_index, unnest(p_payload_hashes) AS payload_hash,
                         -- of fewer than the ids: nulls, as for messages without a key
                         unnest(coalesce(p_key_hashes, '{}')) AS key_hash) AS input
            WHERE key_hash IS NULL OR message_id IN (SELECT unnest(claimed))
            ON CONFLICT (message_id) DO NOTHING
            RETURNING message_id, origin, queued_at
        ), queued AS (
            INSERT INTO job_groups (origin, queue, message_ids, ready_at)
            SELECT origin, p_queue, array_agg(message_id ORDER BY message_id), min(queued_at)
            FROM stored GROUP BY origin
        )
        SELECT message_id, queued_at FROM stored;
END
$$;

-- What a group of jobs can be. Postgres reads the expression of a CHECK anew for every statement, and the eleven of this
-- table were a good part of a small commit; a function is compiled once per connection. It is called by the verbs alone,
-- which have a search path of their own. Null is no breach, as in a CHECK.
CREATE FUNCTION job_group_can_be(
        state text, attempt integer, forgiven integer, lease_token uuid, lease_expires_at timestamptz,
        leased_by text, finished_at timestamptz, dead_reason text, message_ids uuid[])
    RETURNS boolean LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
AS $$
BEGIN
    RETURN state IN ('ready', 'leased', 'done', 'dead', 'cancelled')
        AND attempt >= 0 AND forgiven BETWEEN 0 AND attempt
        AND (state NOT IN ('leased', 'done', 'dead') OR attempt > 0)
        AND (state = 'leased') = (lease_token IS NOT NULL)
        AND (state = 'leased') = (lease_expires_at IS NOT NULL)
        AND (state = 'leased') = (leased_by IS NOT NULL)
        AND (state IN ('done', 'dead', 'cancelled')) = (finished_at IS NOT NULL)
        AND (state = 'dead') = (dead_reason IS NOT NULL)
        AND dead_reason IN ('refused', 'attempts_exhausted', 'lease_expired', 'unreadable')
        AND array_ndims(message_ids) = 1 AND cardinality(message_ids) BETWEEN 1 AND 100;
END
$$;
ALTER FUNCTION job_group_can_be(text, integer, integer, uuid, timestamptz, text, timestamptz, text, uuid[])
    OWNER TO portcullis_owner;
REVOKE ALL ON FUNCTION job_group_can_be(text, integer, integer, uuid, timestamptz, text, timestamptz, text, uuid[])
    FROM PUBLIC;

ALTER TABLE job_groups
    DROP CONSTRAINT job_groups_attempt_check,
    DROP CONSTRAINT job_groups_check,
    DROP CONSTRAINT job_groups_check1,
    DROP CONSTRAINT job_groups_check2,
    DROP CONSTRAINT job_groups_check3,
    DROP CONSTRAINT job_groups_check4,
    DROP CONSTRAINT job_groups_check5,
    DROP CONSTRAINT job_groups_check6,
    DROP CONSTRAINT job_groups_dead_reason_check,
    DROP CONSTRAINT job_groups_message_ids_check,
    DROP CONSTRAINT job_groups_state_check,
    ADD CONSTRAINT job_groups_shape CHECK (job_group_can_be(
        state, attempt, forgiven, lease_token, lease_expires_at, leased_by, finished_at, dead_reason, message_ids))
        NOT VALID; -- those of before met the same
