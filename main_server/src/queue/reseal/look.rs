//! One step of a walk, before it is written: what lies ahead, and what of it was sealed anew.

use shared::identity::Name;
use sqlx::PgPool;
use tracing::warn;
use uuid::Uuid;

use super::{LeftOvers, Walk};
use crate::seal::{Keyring, NotResealed};

/// Messages looked at in one step.
const MESSAGES: i64 = 500;
/// Errors sealed anew in one step; of more, the step is taken again.
const ERRORS: i64 = 500;

/// What lies ahead.
#[derive(Debug)]
pub(super) struct Found {
    messages: Vec<FoundMessage>,
    errors: Vec<FoundError>,
    /// Errors under keys that are not in the ring.
    lost_errors: Vec<(String, u64)>,
}

#[derive(Debug)]
struct FoundMessage {
    message_id: Uuid,
    client_id: String,
    key_id: String,
    /// Of those that an earlier key of the ring sealed.
    sealed: Option<Vec<u8>>,
}

#[derive(Debug)]
struct FoundError {
    message_id: Uuid,
    queue: String,
    attempt: i32,
    error_key_id: String,
    error: Vec<u8>,
}

/// What is to be written: a list per column.
#[derive(Debug, Default)]
pub(super) struct Step {
    pub(super) after: Uuid,
    pub(super) left_over: LeftOvers,
    pub(super) ended: bool,
    pub(super) ids: Vec<Uuid>,
    pub(super) from: Vec<String>,
    pub(super) sealed: Vec<Vec<u8>>,
    pub(super) error_ids: Vec<Uuid>,
    pub(super) error_queues: Vec<String>,
    pub(super) error_attempts: Vec<i32>,
    pub(super) error_from: Vec<String>,
    pub(super) errors: Vec<Vec<u8>>,
}

impl Step {
    /// Rows sealed anew.
    pub(super) fn rows(&self) -> u32 {
        u32::try_from(self.ids.len() + self.error_ids.len()).unwrap_or(u32::MAX)
    }
}

/// Looks at the next messages of a walk, and at the errors of their attempts.
pub(super) async fn look(pool: &PgPool, walk: &Walk, keys: &[Name]) -> Result<Found, sqlx::Error> {
    let current = walk.key.as_str();
    let earlier: Vec<String> = keys.iter().filter(|key| **key != walk.key).map(ToString::to_string).collect();
    let messages = sqlx::query_as!(
        FoundMessage,
        r#"-- queue.reseal_messages
        SELECT message_id, client_id, key_id, CASE WHEN key_id = ANY ($3) THEN sealed END AS sealed
        FROM messages WHERE message_id > $1 ORDER BY message_id LIMIT $2"#,
        walk.after,
        MESSAGES,
        &earlier,
    )
    .fetch_all(pool)
    .await?;
    let ids: Vec<Uuid> = messages.iter().map(|message| message.message_id).collect();
    let errors = sqlx::query_as!(
        FoundError,
        r#"-- queue.reseal_errors
        SELECT message_id, queue, attempt, error_key_id AS "error_key_id!", error AS "error!"
        FROM job_attempts WHERE message_id = ANY ($1) AND error_key_id = ANY ($2)
        ORDER BY message_id, queue, attempt LIMIT $3"#,
        &ids,
        &earlier,
        ERRORS,
    )
    .fetch_all(pool)
    .await?;
    let lost_errors = sqlx::query!(
        r#"-- queue.reseal_lost_errors
        SELECT error_key_id AS "error_key_id!", count(*) AS "count!" FROM job_attempts
        WHERE message_id = ANY ($1) AND error_key_id <> $2 AND error_key_id <> ALL ($3) GROUP BY error_key_id"#,
        &ids,
        current,
        &earlier,
    )
    .fetch_all(pool)
    .await?;
    let lost_errors =
        lost_errors.into_iter().map(|row| (row.error_key_id, row.count.unsigned_abs())).collect();
    Ok(Found { messages, errors, lost_errors })
}

impl Found {
    /// Seals anew what opens; what does not is left over.
    pub(super) fn seal_anew(self, keyring: &Keyring, walk: &Walk) -> Step {
        let mut step = Step { after: walk.after, ..Step::default() };
        let mut shut = Shut::default();
        let (full_of_errors, full) =
            (is_full(self.errors.len(), ERRORS), is_full(self.messages.len(), MESSAGES));
        let last = self.messages.last().map(|message| message.message_id);
        for error in self.errors {
            step.seal_error(keyring, walk, error, &mut shut);
        }
        // Errors that there was no room for are found by the same step again; but not if it would be the same for ever.
        let again = full_of_errors && !step.errors.is_empty();
        for message in self.messages {
            step.seal_message(keyring, walk, message, &mut shut);
        }
        for (key_id, errors) in self.lost_errors {
            step.left_over.entry(key_id).or_default().errors += errors;
        }
        shut.tell();
        if again {
            // counted when it is taken again
            step.left_over.clear();
        } else {
            step.after = last.unwrap_or(walk.after);
            step.ended = !full;
        }
        for (key_id, left) in &walk.left_over {
            step.left_over.entry(key_id.clone()).or_default().add(*left);
        }
        step
    }
}

fn is_full(rows: usize, most: i64) -> bool {
    i64::try_from(rows).is_ok_and(|rows| rows >= most)
}

impl Step {
    fn seal_error(&mut self, keyring: &Keyring, walk: &Walk, found: FoundError, shut: &mut Shut) {
        let FoundError { message_id, queue, attempt, error_key_id, error } = found;
        match keyring.reseal_error(message_id, (&error_key_id, walk.key.as_str()), error) {
            Ok(error) => {
                self.error_ids.push(message_id);
                self.error_queues.push(queue);
                self.error_attempts.push(attempt);
                self.error_from.push(error_key_id);
                self.errors.push(error);
            }
            Err(reason) => {
                shut.note(message_id, &reason);
                self.left_over.entry(error_key_id).or_default().errors += 1;
            }
        }
    }

    fn seal_message(&mut self, keyring: &Keyring, walk: &Walk, found: FoundMessage, shut: &mut Shut) {
        let FoundMessage { message_id, client_id, key_id, sealed } = found;
        if key_id == walk.key.as_str() {
            return;
        }
        let anew = sealed.map(|sealed| {
            keyring.reseal_message((message_id, &client_id), (&key_id, walk.key.as_str()), sealed)
        });
        match anew {
            Some(Ok(sealed)) => {
                self.ids.push(message_id);
                self.from.push(key_id);
                self.sealed.push(sealed);
                return;
            }
            Some(Err(reason)) => shut.note(message_id, &reason),
            None => {} // its key is not in the ring
        }
        self.left_over.entry(key_id).or_default().messages += 1;
    }
}

/// What did not open, for one line of the log.
#[derive(Debug, Default)]
struct Shut {
    rows: u64,
    first: Option<(Uuid, String)>,
}

impl Shut {
    fn note(&mut self, message_id: Uuid, reason: &NotResealed) {
        self.rows += 1;
        self.first.get_or_insert_with(|| (message_id, reason.to_string()));
    }

    fn tell(self) {
        if let Some((message_id, reason)) = self.first {
            warn!(rows = self.rows, %message_id, reason, "cannot be sealed anew, and stays as it is");
        }
    }
}
