//! leased → leased, for longer.

use shared::wire::lease::Held;
use sqlx::PgPool;

use super::held::{HeldGroup, columns};

/// Extends what is held, counted from now; answers which of them are still held.
pub(super) async fn renew(
    pool: &PgPool,
    held: &[Held],
    lease_seconds: Option<u32>,
) -> Result<Vec<HeldGroup>, sqlx::Error> {
    let (job_ids, tokens) = columns(held);
    sqlx::query_as!(
        HeldGroup,
        r#"-- queue.renew
        SELECT lease_token AS "lease_token!", message_ids AS "message_ids!" FROM queue_renew($1, $2, $3)"#,
        &job_ids,
        &tokens,
        lease_seconds.map(f64::from),
    )
    .fetch_all(pool)
    .await
}
