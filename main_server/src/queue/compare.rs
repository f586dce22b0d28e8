//! What an id that exists already stands for: the same message once more, or another one.

use std::collections::HashMap;

use sqlx::PgPool;
use time::OffsetDateTime;
use uuid::Uuid;

use super::insert::NewMessage;

/// The message that holds an id.
#[derive(Debug)]
pub(super) struct Existing {
    client_id: String,
    payload_hash: Vec<u8>,
    pub(super) queued_at: OffsetDateTime,
}

impl Existing {
    /// The same principal said the same: the answer to the first was lost, nothing else.
    pub(super) fn is_same_as(&self, new: &NewMessage) -> bool {
        self.client_id == new.message.client_id.as_str() && self.payload_hash == new.sealed.payload_hash
    }
}

/// The messages that hold these ids. A statement of its own, after the insert: what another writer committed
/// meanwhile is visible only to a new snapshot.
pub(super) async fn compare(
    pool: &PgPool,
    message_ids: &[Uuid],
) -> Result<HashMap<Uuid, Existing>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"-- queue.compare
        SELECT message_id, client_id, payload_hash, queued_at FROM messages WHERE message_id = ANY ($1)"#,
        message_ids,
    )
    .fetch_all(pool)
    .await?;
    let existing = rows.into_iter().map(|row| {
        let (client_id, payload_hash, queued_at) = (row.client_id, row.payload_hash, row.queued_at);
        (row.message_id, Existing { client_id, payload_hash, queued_at })
    });
    Ok(existing.collect())
}
