//! leased → done: delivered.

use shared::wire::lease::Held;
use sqlx::PgPool;

use super::held::{HeldGroup, columns};

/// Jobs that were delivered together.
#[derive(Debug)]
pub(super) struct Completed {
    pub(super) group: HeldGroup,
    /// That each of them took.
    pub(super) attempts: i32,
}

/// Ends what is held; answers which of them were.
pub(super) async fn complete(pool: &PgPool, held: &[Held]) -> Result<Vec<Completed>, sqlx::Error> {
    let (job_ids, tokens) = columns(held);
    let completed = sqlx::query!(
        r#"-- queue.complete
        SELECT lease_token AS "lease_token!", message_ids AS "message_ids!", attempts AS "attempts!"
        FROM queue_complete($1, $2)"#,
        &job_ids,
        &tokens,
    )
    .fetch_all(pool)
    .await?;
    let of_row = completed.into_iter().map(|row| Completed {
        group: HeldGroup { lease_token: row.lease_token, message_ids: row.message_ids },
        attempts: row.attempts,
    });
    Ok(of_row.collect())
}
