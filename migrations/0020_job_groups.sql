-- Jobs that share their state share a row: what is written per message is one append to `messages`.
-- Why: a row of `jobs` per message was updated twice per delivery, and under a transaction that is held open its
-- index filled with dead entries that every lease walked over.
-- Old code does not tolerate it: stop the main servers, migrate, start the new ones. Leases that are out then are
-- lost and end by their time; the sealed errors of earlier attempts are bound to ids that are no more, and are left behind.
--
-- A group is a run of jobs of one queue. The verbs take groups whole; what is to go another way is split off first
-- (0021_queue_verbs.sql). A job is in exactly one group of its queue, and is named by its message.
--
--   ready ──lease──▶ leased ──complete──▶ done ──purge──▶ (gone)
--     ▲ ▲              │ ├──fail, attempts left; hand back; lease expired──▶ ready
--     │ └──────────────┘ └──fail for good, or attempts used up──▶ dead
--     └──redrive─────────────────────────────────────────────────┤
--                                                   discard──▶ cancelled ──purge──▶ (gone)

CREATE TABLE job_groups (
    -- the chunk of a commit that its messages were stored with; `messages.origin` says the same, for ever
    origin           uuid NOT NULL,                       -- UUIDv7, minted by the main server
    part             bigint GENERATED ALWAYS AS IDENTITY, -- an origin is split into parts
    ready_at         timestamptz NOT NULL DEFAULT now(),
    lease_token      uuid,
    lease_expires_at timestamptz,
    finished_at      timestamptz,
    attempt          integer NOT NULL DEFAULT 0 CHECK (attempt >= 0), -- leases so far; it never falls
    -- attempts that do not count: handed back unworked, or before a redrive
    forgiven         integer NOT NULL DEFAULT 0 CHECK (forgiven BETWEEN 0 AND attempt),
    -- a lease on it expired, so one of its jobs may have killed its worker: it is leased alone
    suspect          boolean NOT NULL DEFAULT false,
    state            text NOT NULL DEFAULT 'ready'
                     CHECK (state IN ('ready', 'leased', 'done', 'dead', 'cancelled')),
    queue            text NOT NULL,
    leased_by        text,                                -- the worker, from its certificate
    dead_reason      text CHECK (dead_reason IN ('refused', 'attempts_exhausted', 'lease_expired', 'unreadable')),
    -- last, so that the log of a change of state need not repeat it
    message_ids      uuid[] NOT NULL CHECK (array_ndims(message_ids) = 1 AND cardinality(message_ids) BETWEEN 1 AND 100),
    PRIMARY KEY (origin, part),
    -- exactly a leased job has a lease, which is an attempt
    CHECK ((state = 'leased') = (lease_token IS NOT NULL)),
    CHECK ((state = 'leased') = (lease_expires_at IS NOT NULL)),
    CHECK ((state = 'leased') = (leased_by IS NOT NULL)),
    CHECK (state NOT IN ('leased', 'done', 'dead') OR attempt > 0),
    -- exactly a finished job has an end, and a dead one a reason
    CHECK ((state IN ('done', 'dead', 'cancelled')) = (finished_at IS NOT NULL)),
    CHECK ((state = 'dead') = (dead_reason IS NOT NULL))
) WITH (
    -- the next version of a row fits beside it; clean early and fast
    fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0.01,
    autovacuum_vacuum_threshold = 500,
    autovacuum_vacuum_insert_scale_factor = 0.05,
    autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0.05
);
-- a hundred ids are 1.6 kB: kept in the row, neither compressed nor sampled
ALTER TABLE job_groups ALTER COLUMN message_ids SET STORAGE PLAIN, ALTER COLUMN message_ids SET STATISTICS 0;
ALTER TABLE job_groups OWNER TO portcullis_owner;

ALTER TABLE messages ADD COLUMN origin uuid;
-- one pass over the table, and no dead rows; a message of before is an origin of its own
ALTER TABLE messages ALTER COLUMN origin TYPE uuid USING message_id, ALTER COLUMN origin SET NOT NULL;

INSERT INTO job_groups (origin, queue, message_ids, state, attempt, ready_at, lease_token, lease_expires_at, leased_by,
                        dead_reason, finished_at)
    SELECT message_id, queue, ARRAY[message_id], state, attempt, ready_at, lease_token, lease_expires_at, leased_by,
           dead_reason, finished_at
    FROM jobs;
DROP TABLE jobs;
DROP FUNCTION jobs_refuse_reopening();

-- Leasing reads this one from the front.
CREATE INDEX job_groups_ready ON job_groups (queue, ready_at, origin, part) WHERE state = 'ready';
-- The verbs of a worker find what it holds; the reaper what nobody renewed. Their conditions differ on purpose: with
-- the same one, the planner takes the one for the other while few rows are leased, and walks over all of it.
CREATE INDEX job_groups_token ON job_groups (lease_token) WHERE lease_token IS NOT NULL;
CREATE INDEX job_groups_leased ON job_groups (lease_expires_at) WHERE lease_expires_at IS NOT NULL;
CREATE INDEX job_groups_dead ON job_groups (queue, finished_at) WHERE state = 'dead';
CREATE INDEX job_groups_finished ON job_groups (queue, finished_at) WHERE state IN ('done', 'cancelled');

-- A CHECK sees one row version, not a change. Delivered and cancelled are final; a dead letter is not, for it may be
-- redriven. The WHEN clause costs nothing until it is true.
CREATE FUNCTION job_groups_refuse_reopening() RETURNS trigger
    LANGUAGE plpgsql SET search_path = public, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION 'job group (%, %) is % and stays so', OLD.origin, OLD.part, OLD.state
        USING ERRCODE = 'check_violation', TABLE = 'job_groups', COLUMN = 'state';
END
$$;
ALTER FUNCTION job_groups_refuse_reopening() OWNER TO portcullis_owner;
CREATE TRIGGER job_groups_refuse_reopening BEFORE UPDATE ON job_groups
    FOR EACH ROW WHEN (OLD.state IN ('done', 'cancelled'))
    EXECUTE FUNCTION job_groups_refuse_reopening();

-- What went wrong with each attempt that failed; those that delivered, or were handed back unworked, leave no row.
CREATE TABLE job_attempts (
    message_id   uuid NOT NULL,
    queue        text NOT NULL,
    attempt      integer NOT NULL CHECK (attempt > 0),
    worker       text NOT NULL,
    at           timestamptz NOT NULL DEFAULT now(),
    outcome      text NOT NULL CHECK (outcome IN ('failed', 'refused', 'lease_expired', 'unreadable')),
    error        bytea,                           -- sealed: a sink's error may quote the message
    error_key_id text,
    PRIMARY KEY (message_id, queue, attempt),
    CHECK ((error IS NULL) = (error_key_id IS NULL)),
    CHECK ((error IS NULL) = (outcome = 'lease_expired'))
);
ALTER TABLE job_attempts ALTER COLUMN error SET STORAGE EXTERNAL;
ALTER TABLE job_attempts OWNER TO portcullis_owner;

-- One row per job, for people and checks. It goes through `messages`, so that a job is found by its message's id.
CREATE VIEW jobs AS
    SELECT m.message_id AS job_id, m.message_id, g.queue, g.state, g.attempt, g.forgiven, g.suspect, g.ready_at,
           g.lease_expires_at, g.leased_by, g.dead_reason, g.finished_at
    FROM messages m JOIN job_groups g ON g.origin = m.origin AND m.message_id = ANY (g.message_ids);
ALTER VIEW jobs OWNER TO portcullis_owner;
COMMENT ON VIEW jobs IS 'One row per job. SELECT * FROM jobs WHERE message_id = … reads a few rows; counting reads them all.';

-- The server adds messages with ready jobs. It moves jobs by the functions of 0021_queue_verbs.sql alone.
GRANT SELECT ON job_groups, job_attempts, jobs TO portcullis_server;
GRANT INSERT (origin, queue, message_ids, ready_at) ON job_groups TO portcullis_server;

-- Operators look at the state; neither ciphertext nor lease tokens are of use to them.
GRANT SELECT ON jobs TO portcullis_operator;
GRANT SELECT (message_id, queue, attempt, worker, at, outcome) ON job_attempts TO portcullis_operator;
