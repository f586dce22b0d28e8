-- The queue: what was accepted (messages), what is still to be done about it (jobs), and the rules (queues).
-- Old code tolerates it: it adds tables and touches none.
--
-- A message is written once and never changed; everything that changes is in its job, which is narrow:
--
--   ready ──lease──▶ leased ──complete──▶ done
--     ▲                │ ├──fail, attempts left, or lease expired──▶ ready
--     └────────────────┘ └──fail for good, or attempts used up──▶ dead
--   ready | leased ──cancel──▶ cancelled
--
-- No foreign keys between these three: each would lock a row of `messages` per job and the same row of
-- `queues` in every transaction. One statement writes message and job together, and no role of ours may
-- delete from `messages` or `queues`.

CREATE TABLE queues (
    name                 text PRIMARY KEY CHECK (name ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$' AND name !~ '\n'),
    -- a job whose attempts are used up is a dead letter
    max_attempts         integer NOT NULL DEFAULT 20 CHECK (max_attempts BETWEEN 1 AND 1000),
    -- how long a worker holds a job, unless it asks for another time
    lease_seconds        integer NOT NULL DEFAULT 30 CHECK (lease_seconds BETWEEN 1 AND 43200),
    -- a failed job waits base × 2^(attempt-1), at most max, of which a random half is taken off
    backoff_base_seconds double precision NOT NULL DEFAULT 2 CHECK (backoff_base_seconds BETWEEN 0.001 AND 86400),
    backoff_max_seconds  double precision NOT NULL DEFAULT 3600 CHECK (backoff_max_seconds BETWEEN 0.001 AND 604800),
    -- a paused queue accepts messages and leases none
    paused               boolean NOT NULL DEFAULT false
);
ALTER TABLE queues OWNER TO portcullis_owner;
INSERT INTO queues (name) VALUES ('default');

-- What the client said, sealed, and who said it. In the clear is only what routing and audit need.
CREATE TABLE messages (
    message_id       uuid PRIMARY KEY,           -- UUIDv7, minted by the proxy
    client_id        text NOT NULL,              -- the verified principal, at the time of sending
    cert_fingerprint text NOT NULL CHECK (cert_fingerprint ~ '^[0-9A-F]{64}$'),
    proxy            text NOT NULL,              -- the proxy that verified it, from its own certificate
    request_id       uuid NOT NULL,
    traceparent      text CHECK (length(traceparent) <= 256),
    routing_key      text CHECK (length(routing_key) <= 255),
    key_id           text NOT NULL,              -- which key of the ring opens `sealed`
    -- sender number, text and metadata: nonce ‖ AES-256-GCM-SIV(…) ‖ tag
    sealed           bytea NOT NULL CHECK (octet_length(sealed) > 28),
    sender_index     bytea NOT NULL CHECK (octet_length(sender_index) = 32), -- HMAC of the sender number
    payload_hash     bytea NOT NULL CHECK (octet_length(payload_hash) = 32), -- HMAC: same id, same payload?
    queued_at        timestamptz NOT NULL DEFAULT now()
);
ALTER TABLE messages OWNER TO portcullis_owner;
-- ciphertext does not compress: do not try
ALTER TABLE messages ALTER COLUMN sealed SET STORAGE EXTERNAL;

-- A message in a queue. Each change of state is one statement, and each is fenced by the lease's token.
CREATE TABLE jobs (
    job_id            uuid PRIMARY KEY,          -- UUIDv7, so that its index grows at one end
    message_id        uuid NOT NULL,
    queue             text NOT NULL,
    state             text NOT NULL DEFAULT 'ready'
                      CHECK (state IN ('ready', 'leased', 'done', 'dead', 'cancelled')),
    attempt           integer NOT NULL DEFAULT 0 CHECK (attempt >= 0), -- leases so far
    ready_at          timestamptz NOT NULL DEFAULT now(),
    lease_token       uuid,
    lease_expires_at  timestamptz,
    leased_by         text,                      -- the worker, from its certificate
    last_error        bytea,                     -- sealed: a sink's error may quote the message
    last_error_key_id text,
    dead_reason       text CHECK (dead_reason IN ('refused', 'attempts_exhausted', 'lease_expired', 'unreadable')),
    finished_at       timestamptz,
    -- exactly a leased job has a lease, which is an attempt
    CHECK ((state = 'leased') = (lease_token IS NOT NULL)),
    CHECK ((state = 'leased') = (lease_expires_at IS NOT NULL)),
    CHECK ((state = 'leased') = (leased_by IS NOT NULL)),
    CHECK (state NOT IN ('leased', 'done', 'dead') OR attempt > 0),
    -- exactly a finished job has an end, and a dead one a reason
    CHECK ((state IN ('done', 'dead', 'cancelled')) = (finished_at IS NOT NULL)),
    CHECK ((state = 'dead') = (dead_reason IS NOT NULL)),
    CHECK ((last_error IS NULL) = (last_error_key_id IS NULL))
) WITH (
    -- every message makes two dead rows here: leave room beside the live ones, and clean early and fast
    fillfactor = 80,
    autovacuum_vacuum_scale_factor = 0.01,
    autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0.05
);
ALTER TABLE jobs OWNER TO portcullis_owner;

-- Leasing reads the front of this index, whatever lies behind it.
CREATE INDEX jobs_ready ON jobs (queue, ready_at, job_id) WHERE state = 'ready';
-- The reaper reads the front of this one.
CREATE INDEX jobs_leased ON jobs (lease_expires_at) WHERE state = 'leased';

-- A CHECK sees one row version, not a change. Delivered and cancelled are final; a dead letter is not, for
-- it may be redriven. The WHEN clause costs nothing until it is true.
CREATE FUNCTION jobs_refuse_reopening() RETURNS trigger
    LANGUAGE plpgsql SET search_path = public, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION 'job % is % and stays so', OLD.job_id, OLD.state
        USING ERRCODE = 'check_violation', TABLE = 'jobs', COLUMN = 'state';
END
$$;
ALTER FUNCTION jobs_refuse_reopening() OWNER TO portcullis_owner;
CREATE TRIGGER jobs_refuse_reopening BEFORE UPDATE ON jobs
    FOR EACH ROW WHEN (OLD.state IN ('done', 'cancelled'))
    EXECUTE FUNCTION jobs_refuse_reopening();

-- The server adds messages and moves jobs; it cannot change a message, nor which message a job is about.
GRANT SELECT ON queues TO portcullis_server;
GRANT SELECT, INSERT ON messages TO portcullis_server;
GRANT SELECT, INSERT ON jobs TO portcullis_server;
GRANT UPDATE (state, attempt, ready_at, lease_token, lease_expires_at, leased_by,
              last_error, last_error_key_id, dead_reason, finished_at) ON jobs TO portcullis_server;

-- Operators set the rules and look at the state; neither ciphertext nor lease tokens are of use to them.
GRANT SELECT, INSERT, UPDATE ON queues TO portcullis_operator;
GRANT SELECT (message_id, client_id, cert_fingerprint, proxy, request_id, traceparent, routing_key, key_id, queued_at)
    ON messages TO portcullis_operator;
GRANT SELECT (job_id, message_id, queue, state, attempt, ready_at, lease_expires_at, leased_by, dead_reason, finished_at)
    ON jobs TO portcullis_operator;
