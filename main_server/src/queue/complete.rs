//! leased → done: delivered.

use std::collections::HashSet;

use shared::wire::lease::Held;
use sqlx::PgPool;

use super::renew::columns;

/// Ends what is held; answers which of them were. Locked in order, as in `renew`.
pub(super) async fn complete(pool: &PgPool, held: &[Held]) -> Result<HashSet<Held>, sqlx::Error> {
    let (job_ids, tokens) = columns(held);
    let completed = sqlx::query!(
        r#"-- queue.complete
        WITH held AS (
            SELECT j.job_id, j.lease_token
            FROM unnest($1::uuid[], $2::uuid[]) AS asked (job_id, lease_token)
            JOIN jobs j ON j.job_id = asked.job_id AND j.lease_token = asked.lease_token AND j.state = 'leased'
            ORDER BY j.job_id
            FOR UPDATE OF j
        )
        UPDATE jobs
        SET state = 'done', finished_at = now(), lease_token = NULL, lease_expires_at = NULL, leased_by = NULL
        FROM held WHERE jobs.job_id = held.job_id
        RETURNING jobs.job_id, held.lease_token AS "lease_token!""#,
        &job_ids,
        &tokens,
    )
    .fetch_all(pool)
    .await?;
    Ok(completed.into_iter().map(|row| Held { job_id: row.job_id, lease_token: row.lease_token }).collect())
}
