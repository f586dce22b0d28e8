-- The idempotency keys of the last day: which message a client's key stands for.
-- Old code tolerates it: it adds a table. It does not look at it either, so a key that goes through an old main server
-- promises nothing: replace all main servers before the proxies, which hand keys on.
--
-- A key is written in the statement that stores its message, and is never there without it. One that is older than
-- 24 hours counts as absent, whether or not it was deleted yet: the next message under it takes its row over.

CREATE TABLE idempotency_keys (
    client_id   text NOT NULL,              -- a key belongs to one client
    -- HMAC of the key: a key may quote a number
    key_hash    bytea NOT NULL CHECK (octet_length(key_hash) = 32),
    -- HMAC of what was sent under it: the same again, or something else?
    fingerprint bytea NOT NULL CHECK (octet_length(fingerprint) = 32),
    -- what was answered
    message_id  uuid NOT NULL,
    queued_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (client_id, key_hash)
) WITH (
    -- as many rows go as come, all day: clean early and fast
    autovacuum_vacuum_scale_factor = 0.05,
    autovacuum_vacuum_cost_delay = 0
);
ALTER TABLE idempotency_keys OWNER TO portcullis_owner;

-- The oldest are deleted from the front. A B-tree, not BRIN: its ranges never shrink again once freed space is used
-- for new rows, and after a day every one of them would have to be read.
CREATE INDEX idempotency_keys_queued_at ON idempotency_keys (queued_at);

GRANT SELECT, INSERT, DELETE ON idempotency_keys TO portcullis_server;
GRANT UPDATE (fingerprint, message_id, queued_at) ON idempotency_keys TO portcullis_server;
GRANT SELECT (client_id, message_id, queued_at) ON idempotency_keys TO portcullis_operator;
