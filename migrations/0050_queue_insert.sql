-- (nothing) → ready, as a function like the other verbs: its plans are made once per connection, not once per commit.
-- Old code tolerates it: it adds a function, and keeps the rights that the statement of before needs. Storing stands
-- still for a moment, not for a pass over the messages: the new CHECK is for what comes.
--
-- Why: planning, and reading the CHECKs of both tables, cost Postgres more than the rows of a small commit do.

-- Stores the messages whose ids and idempotency keys are new, with a ready job each, and says which. The lists run in
-- step, sorted by id, each id and each key once: two calls with the same ones in different orders would deadlock.
-- `p_key_hashes` and `p_key_fingerprints` are null when no message has a key.
CREATE FUNCTION queue_insert(
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
            FROM unnest(p_message_ids, p_origins, p_client_ids, p_fingerprints, p_proxies, p_request_ids,
                        p_traceparents, p_routing_keys, p_key_ids, p_sealed, p_sender_indexes, p_payload_hashes,
                        -- of fewer than the ids: nulls, as for messages without a key
                        coalesce(p_key_hashes, '{}'))
                AS input (message_id, origin, client_id, cert_fingerprint, proxy, request_id,
                          traceparent, routing_key, key_id, sealed, sender_index, payload_hash, key_hash)
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
ALTER FUNCTION queue_insert(text, uuid[], uuid[], text[], text[], text[], uuid[], text[], text[], text[], bytea[],
                            bytea[], bytea[], bytea[], bytea[]) OWNER TO portcullis_owner;
REVOKE ALL ON FUNCTION queue_insert(text, uuid[], uuid[], text[], text[], text[], uuid[], text[], text[], text[],
                                    bytea[], bytea[], bytea[], bytea[], bytea[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION queue_insert(text, uuid[], uuid[], text[], text[], text[], uuid[], text[], text[], text[],
                                       bytea[], bytea[], bytea[], bytea[], bytea[]) TO portcullis_server;

-- One CHECK instead of six: Postgres reads each anew for every statement. And no regular expression per message: what
-- comes here is a parsed certificate's hash, its length is enough to catch a mistake.
ALTER TABLE messages
    DROP CONSTRAINT messages_cert_fingerprint_check,
    DROP CONSTRAINT messages_traceparent_check,
    DROP CONSTRAINT messages_routing_key_check,
    DROP CONSTRAINT messages_sealed_check,
    DROP CONSTRAINT messages_sender_index_check,
    DROP CONSTRAINT messages_payload_hash_check,
    ADD CONSTRAINT messages_shape CHECK (
        length(cert_fingerprint) = 64 AND length(traceparent) <= 256 AND length(routing_key) <= 255
        AND octet_length(sealed) > 28 AND octet_length(sender_index) = 32 AND octet_length(payload_hash) = 32)
        NOT VALID; -- those of before met more than this
