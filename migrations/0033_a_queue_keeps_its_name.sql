-- A queue keeps its name: its jobs say which queue they are in by it, and under another they would be in none.
-- Old code tolerates it: operators change every other column as before.

REVOKE UPDATE ON queues FROM portcullis_operator;
GRANT UPDATE (max_attempts, lease_seconds, backoff_base_seconds, backoff_max_seconds, paused, retention, max_backlog)
    ON queues TO portcullis_operator;
