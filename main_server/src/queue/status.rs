//! How far a message is, for whoever sent it.

use shared::{
    identity::Name,
    wire::status::{DeliveryStatus, MessageStatus, StatusRequest},
};
use sqlx::PgPool;

/// The message of this id and client, as far as its least finished job; `None` if there is none, or no more.
pub(super) async fn status(
    pool: &PgPool,
    asked: &StatusRequest,
) -> Result<Option<MessageStatus>, sqlx::Error> {
    let row = sqlx::query!(
        r#"-- queue.status
        SELECT m.queued_at, g.state, g.attempt, g.ready_at,
               -- of several finished jobs, the last one's end is the message's
               max(g.finished_at) OVER () AS finished_at
        FROM messages m JOIN job_groups g ON g.origin = m.origin AND m.message_id = ANY (g.message_ids)
        WHERE m.message_id = $1 AND m.client_id = $2
        ORDER BY array_position(ARRAY['ready', 'leased', 'dead', 'cancelled', 'done'], g.state), g.ready_at
        LIMIT 1"#,
        asked.message_id,
        asked.client_id.as_str(),
    )
    .fetch_optional(pool)
    .await?;
    Ok(row.map(|row| {
        let status = public(&row.state);
        let finished = !matches!(status, DeliveryStatus::Queued | DeliveryStatus::Processing);
        let waits_again = status == DeliveryStatus::Queued && row.attempt > 0;
        MessageStatus {
            message_id: asked.message_id,
            status,
            client_id: Name::clone(&asked.client_id),
            queued_at: row.queued_at,
            attempts: row.attempt.unsigned_abs(),
            finished_at: row.finished_at.filter(|_| finished),
            next_attempt_at: waits_again.then_some(row.ready_at),
        }
    }))
}

/// The public word for a job's state.
fn public(state: &str) -> DeliveryStatus {
    match state {
        "leased" => DeliveryStatus::Processing,
        "done" => DeliveryStatus::Delivered,
        "dead" => DeliveryStatus::Failed,
        "cancelled" => DeliveryStatus::Cancelled,
        _ => DeliveryStatus::Queued,
    }
}
