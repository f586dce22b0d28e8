//! leased → done: delivered.

use shared::wire::lease::Held;
use sqlx::PgPool;

use super::held::{HeldGroup, columns};

/// Ends what is held; answers which of them were.
pub(super) async fn complete(pool: &PgPool, held: &[Held]) -> Result<Vec<HeldGroup>, sqlx::Error> {
    let (job_ids, tokens) = columns(held);
    sqlx::query_as!(
        HeldGroup,
        r#"-- queue.complete
        SELECT lease_token AS "lease_token!", message_ids AS "message_ids!" FROM queue_complete($1, $2)"#,
        &job_ids,
        &tokens,
    )
    .fetch_all(pool)
    .await
}
