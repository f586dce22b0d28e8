//! What went wrong with each attempt of a dead letter, opened.

use std::collections::HashMap;

use serde::Serialize;
use sqlx::PgPool;
use time::OffsetDateTime;
use uuid::Uuid;

use super::DeadLetter;
use crate::seal::Keyring;

/// Attempts shown of one letter: the last ones. Errors have up to 4 KiB each.
const SHOWN: i64 = 100;

/// One attempt that failed.
#[derive(Debug, Serialize)]
pub struct AttemptFailed {
    /// Which one.
    pub attempt: i32,
    /// Whose it was.
    pub worker: String,
    /// When it failed.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// How.
    pub outcome: String,
    /// What the worker said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Why what it said cannot be shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<String>,
}

/// A row of `job_attempts`.
#[derive(Debug)]
pub(super) struct Row {
    message_id: Uuid,
    queue: String,
    attempt: i32,
    worker: String,
    at: OffsetDateTime,
    outcome: String,
    error_key_id: Option<String>,
    error: Option<Vec<u8>>,
}

/// The failed attempts of these letters, in their order.
pub(super) async fn failures(pool: &PgPool, letters: &[DeadLetter]) -> Result<Vec<Row>, sqlx::Error> {
    let ids: Vec<Uuid> = letters.iter().map(|letter| letter.message_id).collect();
    let queues: Vec<String> = letters.iter().map(|letter| letter.queue.clone()).collect();
    sqlx::query_as!(
        Row,
        r#"-- queue.dead_letter_failures
        SELECT letter.message_id AS "message_id!", letter.queue AS "queue!", a.attempt, a.worker, a.at, a.outcome,
               a.error_key_id, a.error
        FROM unnest($1::uuid[], $2::text[]) AS letter (message_id, queue)
        CROSS JOIN LATERAL (
            SELECT * FROM job_attempts j WHERE j.message_id = letter.message_id AND j.queue = letter.queue
            ORDER BY j.attempt DESC LIMIT $3
        ) a
        ORDER BY a.attempt"#,
        &ids,
        &queues,
        SHOWN,
    )
    .fetch_all(pool)
    .await
}

/// Puts them to their letters.
pub(super) fn attach(letters: &mut [DeadLetter], rows: Vec<Row>, keyring: &Keyring) {
    let mut of_letters: HashMap<(Uuid, String), Vec<AttemptFailed>> = HashMap::new();
    for row in rows {
        let opened = row
            .error
            .zip(row.error_key_id)
            .map(|(error, key)| keyring.open_error(row.message_id, &key, error));
        let (error, unreadable) = match opened {
            None => (None, None),
            Some(Ok(text)) => (Some(text), None),
            Some(Err(reason)) => (None, Some(reason.to_string())),
        };
        let (attempt, worker, at, outcome) = (row.attempt, row.worker, row.at, row.outcome);
        let failed = AttemptFailed { attempt, worker, at, outcome, error, unreadable };
        of_letters.entry((row.message_id, row.queue)).or_default().push(failed);
    }
    for letter in letters {
        letter.failures = of_letters.remove(&(letter.message_id, letter.queue.clone())).unwrap_or_default();
    }
}
