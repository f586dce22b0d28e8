//! leased → leased, for longer.
//!
//! A lease that expired but was not reaped yet can still be renewed, completed and failed: the token proves
//! that nobody else was given the job since. Refusing would only deliver it twice. The row's lock decides
//! between the worker and the reaper.

use std::collections::HashSet;

use shared::wire::lease::Held;
use sqlx::PgPool;
use uuid::Uuid;

/// Extends what is held, counted from now; answers which of them are still held. Rows are locked in the
/// order of their ids: two statements over the same jobs in different orders would deadlock.
pub(super) async fn renew(
    pool: &PgPool,
    held: &[Held],
    lease_seconds: Option<u32>,
) -> Result<HashSet<Held>, sqlx::Error> {
    let (job_ids, tokens) = columns(held);
    let renewed = sqlx::query!(
        r#"-- queue.renew
        WITH held AS (
            SELECT j.job_id, j.lease_token, coalesce($3::double precision, q.lease_seconds) AS seconds
            FROM unnest($1::uuid[], $2::uuid[]) AS asked (job_id, lease_token)
            JOIN jobs j ON j.job_id = asked.job_id AND j.lease_token = asked.lease_token AND j.state = 'leased'
            JOIN queues q ON q.name = j.queue
            ORDER BY j.job_id
            FOR UPDATE OF j
        )
        UPDATE jobs SET lease_expires_at = now() + make_interval(secs => held.seconds)
        FROM held WHERE jobs.job_id = held.job_id
        RETURNING jobs.job_id, held.lease_token AS "lease_token!""#,
        &job_ids,
        &tokens,
        lease_seconds.map(f64::from),
    )
    .fetch_all(pool)
    .await?;
    Ok(renewed.into_iter().map(|row| Held { job_id: row.job_id, lease_token: row.lease_token }).collect())
}

/// The two columns of a list.
pub(super) fn columns(held: &[Held]) -> (Vec<Uuid>, Vec<Uuid>) {
    held.iter().map(|held| (held.job_id, held.lease_token)).unzip()
}
