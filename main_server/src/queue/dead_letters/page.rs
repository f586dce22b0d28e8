//! A page of dead letters: those of one queue after the other, in the order in which they died.
//!
//! One queue at a time, because that is the order of the index: the cost of a page does not grow with what lies behind it.

use std::{collections::HashMap, str::FromStr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use shared::identity::Name;
use sqlx::PgPool;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{DeadLetter, DeadReason, Filters};

/// The last letter of a page: the next one begins after it. Opaque to whoever hands it back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    queue: Name,
    died_at: OffsetDateTime,
    message_id: Uuid,
}

impl Cursor {
    /// After this letter.
    #[must_use]
    pub fn after(letter: &DeadLetter) -> Option<Self> {
        let queue = letter.queue.parse().ok()?;
        Some(Self { queue, died_at: letter.died_at, message_id: letter.message_id })
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // the database counts in microseconds
        let micros = self.died_at.unix_timestamp_nanos() / 1000;
        f.write_str(&URL_SAFE_NO_PAD.encode(format!("{} {micros} {}", self.queue, self.message_id)))
    }
}

impl FromStr for Cursor {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let decoded = String::from_utf8(URL_SAFE_NO_PAD.decode(text).map_err(drop)?).map_err(drop)?;
        let mut parts = decoded.split(' ');
        let (Some(queue), Some(micros), Some(id), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(());
        };
        let micros: i64 = micros.parse().map_err(drop)?;
        Ok(Self {
            queue: queue.parse().map_err(drop)?,
            died_at: OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1000).map_err(drop)?,
            message_id: id.parse().map_err(drop)?,
        })
    }
}

/// At most `limit` letters after the cursor, without their failures and contents.
pub(super) async fn page(
    pool: &PgPool,
    filters: &Filters,
    after: Option<&Cursor>,
    limit: u32,
) -> Result<Vec<DeadLetter>, sqlx::Error> {
    let mut letters = Vec::new();
    for queue in queues(pool, filters, after).await? {
        let room =
            i32::try_from(limit).unwrap_or(i32::MAX) - i32::try_from(letters.len()).unwrap_or(i32::MAX);
        if room <= 0 {
            break;
        }
        let after = after.filter(|after| after.queue.as_str() == queue);
        letters.extend(of_queue(pool, &queue, filters, after, room).await?);
    }
    Ok(letters)
}

/// The queues that may have some, in their order.
async fn queues(
    pool: &PgPool,
    filters: &Filters,
    after: Option<&Cursor>,
) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"-- queue.dead_letter_queues
        SELECT name FROM queues WHERE ($1::text IS NULL OR name = $1) AND name COLLATE "C" >= $2 COLLATE "C"
        ORDER BY name COLLATE "C""#,
        filters.queue.as_ref().map(Name::as_str),
        after.map_or("", |after| after.queue.as_str()),
    )
    .fetch_all(pool)
    .await
}

async fn of_queue(
    pool: &PgPool,
    queue: &str,
    filters: &Filters,
    after: Option<&Cursor>,
    limit: i32,
) -> Result<Vec<DeadLetter>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"-- queue.dead_letters
        SELECT message_id AS "message_id!", queue AS "queue!", client_id AS "client_id!",
               cert_fingerprint AS "cert_fingerprint!", proxy AS "proxy!", request_id AS "request_id!", routing_key,
               queued_at AS "queued_at!", attempts AS "attempts!", dead_reason AS "dead_reason!", died_at AS "died_at!"
        FROM dead_letters($1, $2, $3, $4, $5, $6, $7, $8, $9)"#,
        queue,
        filters.client_id.as_ref().map(Name::as_str),
        filters.since,
        filters.until,
        filters.reason.map(DeadReason::as_str),
        filters.message_id,
        after.map(|after| after.died_at),
        after.map(|after| after.message_id),
        limit,
    )
    .fetch_all(pool)
    .await?;
    let of_row = rows.into_iter().map(|row| DeadLetter {
        message_id: row.message_id,
        queue: row.queue,
        client_id: row.client_id,
        cert_fingerprint: row.cert_fingerprint,
        proxy: row.proxy,
        request_id: row.request_id,
        routing_key: row.routing_key,
        queued_at: row.queued_at,
        attempts: row.attempts,
        dead_reason: row.dead_reason,
        died_at: row.died_at,
        failures: Vec::new(),
        content: None,
    });
    Ok(of_row.collect())
}

/// Key id and ciphertext of these messages.
pub(super) async fn contents(
    pool: &PgPool,
    ids: &[Uuid],
) -> Result<HashMap<Uuid, (String, Vec<u8>)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"-- queue.dead_letter_contents
        SELECT message_id, key_id, sealed FROM messages WHERE message_id = ANY ($1)"#,
        ids,
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(|row| (row.message_id, (row.key_id, row.sealed))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_as_it_was_and_nonsense_is_refused() {
        let cursor = Cursor {
            queue: "default".parse().unwrap(),
            died_at: OffsetDateTime::from_unix_timestamp_nanos(1_764_000_000_123_456_000).unwrap(),
            message_id: Uuid::now_v7(),
        };
        assert_eq!(cursor.to_string().parse(), Ok(cursor.clone()));
        for nonsense in ["", "%", "AAAA", &URL_SAFE_NO_PAD.encode("default 1 x"), &format!("{cursor}A")] {
            assert_eq!(nonsense.parse::<Cursor>(), Err(()), "{nonsense}");
        }
    }
}
