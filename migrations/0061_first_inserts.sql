-- (nothing) → ready, of messages that come for the first time, as nearly all do.
-- Old code tolerates it: it adds a function.
--
-- Why: `ON CONFLICT` takes a lock and writes a second record for each row, and what was stored was read three times over to
-- say which. Here the answer is one time for all, or an error that sends the caller to queue_insert.

-- Stores the messages, with a ready job each, and says when; raises unique_violation and stores none if the id of one is
-- there. Null, and none, while the cluster could lose a commit. The lists run in step, sorted by id, each id once; `p_origins` has the
-- same one for the first hundred, for the second, and so on.
CREATE FUNCTION queue_insert_first(
        p_queue text, p_message_ids uuid[], p_origins uuid[], p_client_ids text[], p_fingerprints text[],
        p_proxies text[], p_request_ids uuid[], p_traceparents text[], p_routing_keys text[], p_key_ids text[],
        p_sealed bytea[], p_sender_indexes bytea[], p_payload_hashes bytea[])
    RETURNS timestamptz
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp SET plan_cache_mode = force_generic_plan
AS $$
BEGIN
    -- a reload may have turned them off since this connection was checked: then store nothing
    IF NOT (current_setting('fsync')::boolean AND current_setting('full_page_writes')::boolean) THEN
        RETURN NULL;
    END IF;

    INSERT INTO messages (message_id, origin, client_id, cert_fingerprint, proxy, request_id,
                          traceparent, routing_key, key_id, sealed, sender_index, payload_hash)
    -- in the select list: in FROM, each list is first written to a store of its own
    SELECT unnest(p_message_ids), unnest(p_origins), unnest(p_client_ids), unnest(p_fingerprints),
           unnest(p_proxies), unnest(p_request_ids), unnest(p_traceparents), unnest(p_routing_keys),
           unnest(p_key_ids), unnest(p_sealed), unnest(p_sender_indexes), unnest(p_payload_hashes);

    FOR start IN 1 .. cardinality(p_message_ids) BY 100 LOOP
        INSERT INTO job_groups (origin, queue, message_ids)
        VALUES (p_origins[start], p_queue, p_message_ids[start : start + 99]);
    END LOOP;
    -- of this transaction, as in both tables
    RETURN now();
END
$$;
ALTER FUNCTION queue_insert_first(text, uuid[], uuid[], text[], text[], text[], uuid[], text[], text[], text[], bytea[],
                                  bytea[], bytea[]) OWNER TO portcullis_owner;
REVOKE ALL ON FUNCTION queue_insert_first(text, uuid[], uuid[], text[], text[], text[], uuid[], text[], text[], text[],
                                          bytea[], bytea[], bytea[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION queue_insert_first(text, uuid[], uuid[], text[], text[], text[], uuid[], text[], text[],
                                             text[], bytea[], bytea[], bytea[]) TO portcullis_server;
