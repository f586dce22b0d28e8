//! leased → ready, after a delay; or leased → dead, when trying again is pointless or was tried enough.

use shared::wire::lease::Held;
use sqlx::PgPool;

use crate::seal::{Keyring, SealingFailed};

/// One job to hand back, its error sealed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) held: Held,
    error_key_id: String,
    error: Vec<u8>,
    delay_seconds: Option<f64>,
    /// Set: dead at once, for this reason.
    dead_reason: Option<&'static str>,
}

impl Failure {
    pub(super) fn new(
        keyring: &Keyring,
        held: Held,
        error: &str,
        delay_seconds: Option<u32>,
        dead_reason: Option<&'static str>,
    ) -> Result<Self, SealingFailed> {
        let (error_key_id, error) = keyring.seal_error(held.job_id, error)?;
        Ok(Self { held, error_key_id, error, delay_seconds: delay_seconds.map(f64::from), dead_reason })
    }
}

/// What became of a job that was handed back.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) held: Held,
    pub(super) queue: String,
    pub(super) dead: bool,
    /// Ready at once: somebody may be waiting for it.
    pub(super) ready_now: bool,
}

/// Hands jobs back; answers what became of those that were held. Without a delay of its own a job waits
/// base × 2^(attempt-1), at most the queue's maximum, of which a random half is taken off, so that jobs that
/// failed together do not come back together.
pub(super) async fn fail(pool: &PgPool, failures: &[Failure]) -> Result<Vec<Failed>, sqlx::Error> {
    let held: Vec<Held> = failures.iter().map(|failure| failure.held).collect();
    let (job_ids, tokens) = super::renew::columns(&held);
    let errors: Vec<&[u8]> = failures.iter().map(|failure| failure.error.as_slice()).collect();
    let key_ids: Vec<&str> = failures.iter().map(|failure| failure.error_key_id.as_str()).collect();
    let delays: Vec<Option<f64>> = failures.iter().map(|failure| failure.delay_seconds).collect();
    let reasons: Vec<Option<&str>> = failures.iter().map(|failure| failure.dead_reason).collect();
    let failed = sqlx::query!(
        r#"-- queue.fail
        WITH held AS (
            SELECT j.job_id, j.lease_token, asked.error, asked.error_key_id,
                   CASE WHEN asked.dead_reason IS NOT NULL THEN asked.dead_reason
                        WHEN j.attempt >= q.max_attempts THEN 'attempts_exhausted' END AS dead_reason,
                   coalesce(asked.delay_seconds,
                            least(q.backoff_max_seconds, q.backoff_base_seconds * power(2, least(j.attempt - 1, 40)))
                            * (0.5 + random() / 2)) AS delay_seconds
            FROM unnest($1::uuid[], $2::uuid[], $3::bytea[], $4::text[], $5::double precision[], $6::text[])
                AS asked (job_id, lease_token, error, error_key_id, delay_seconds, dead_reason)
            JOIN jobs j ON j.job_id = asked.job_id AND j.lease_token = asked.lease_token AND j.state = 'leased'
            JOIN queues q ON q.name = j.queue
            ORDER BY j.job_id
            FOR UPDATE OF j
        )
        UPDATE jobs
        SET state = CASE WHEN held.dead_reason IS NULL THEN 'ready' ELSE 'dead' END,
            dead_reason = held.dead_reason,
            finished_at = CASE WHEN held.dead_reason IS NOT NULL THEN now() END,
            ready_at = CASE WHEN held.dead_reason IS NULL
                            THEN now() + make_interval(secs => held.delay_seconds) ELSE ready_at END,
            last_error = held.error, last_error_key_id = held.error_key_id,
            lease_token = NULL, lease_expires_at = NULL, leased_by = NULL
        FROM held WHERE jobs.job_id = held.job_id
        RETURNING jobs.job_id, held.lease_token AS "lease_token!", jobs.queue, jobs.state = 'dead' AS "dead!",
                  jobs.state = 'ready' AND jobs.ready_at <= now() AS "ready_now!""#,
        &job_ids,
        &tokens,
        &errors as &[&[u8]],
        &key_ids as &[&str],
        &delays as &[Option<f64>],
        &reasons as &[Option<&str>],
    )
    .fetch_all(pool)
    .await?;
    let of_row = failed.into_iter().map(|row| Failed {
        held: Held { job_id: row.job_id, lease_token: row.lease_token },
        queue: row.queue,
        dead: row.dead,
        ready_now: row.ready_now,
    });
    Ok(of_row.collect())
}
