//! Dead letters, for operators: looking at them, giving them their attempts again, giving them up.
//!
//! In: filters, or ids. Out: letters with the errors of their attempts and, if asked for, what they hold, opened; or how
//! many jobs were moved. Whatever is done or shown is in the audit log before it is answered, with the operator's name.
//! The transitions are functions of the schema, `migrations/0023_dead_letters.sql`.

mod act;
mod failures;
mod page;

use serde::Serialize;
use serde_json::{json, value::RawValue};
use shared::identity::{Fingerprint, Name};
use time::OffsetDateTime;
use uuid::Uuid;

pub use act::Moved;
pub use failures::AttemptFailed;
pub use page::Cursor;

use super::{Fault, Queue};
use crate::seal::Unreadable;

/// Which dead letters; what is absent matches all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Filters {
    /// Of this queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<Name>,
    /// From this client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<Name>,
    /// Dead since then.
    #[serde(skip_serializing_if = "Option::is_none", with = "time::serde::rfc3339::option")]
    pub since: Option<OffsetDateTime>,
    /// Dead before that.
    #[serde(skip_serializing_if = "Option::is_none", with = "time::serde::rfc3339::option")]
    pub until: Option<OffsetDateTime>,
    /// Dead for this reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<DeadReason>,
    /// This message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<Uuid>,
}

/// Why a job is dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeadReason {
    /// A worker said so.
    Refused,
    /// All its attempts failed.
    AttemptsExhausted,
    /// Its last lease expired.
    LeaseExpired,
    /// It does not open.
    Unreadable,
}

impl DeadReason {
    /// The word in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::AttemptsExhausted => "attempts_exhausted",
            Self::LeaseExpired => "lease_expired",
            Self::Unreadable => "unreadable",
        }
    }
}

/// A job that is dead, for an operator to read.
#[derive(Debug, Serialize)]
pub struct DeadLetter {
    /// The message.
    pub message_id: Uuid,
    /// Where it is dead.
    pub queue: String,
    /// Who sent it, verified by the proxy.
    pub client_id: String,
    /// With which certificate.
    pub cert_fingerprint: String,
    /// Through which proxy.
    pub proxy: String,
    /// The id of the client's request.
    pub request_id: Uuid,
    /// Where the client wanted it to go.
    pub routing_key: Option<String>,
    /// When it was committed.
    #[serde(with = "time::serde::rfc3339")]
    pub queued_at: OffsetDateTime,
    /// How often it was leased.
    pub attempts: i32,
    /// Why it is dead.
    pub dead_reason: String,
    /// Since when.
    #[serde(with = "time::serde::rfc3339")]
    pub died_at: OffsetDateTime,
    /// What went wrong, attempt by attempt: of many the last ones.
    pub failures: Vec<AttemptFailed>,
    /// What it holds, if that was asked for and opens.
    #[serde(skip_serializing_if = "Option::is_none", flatten)]
    pub content: Option<Content>,
}

/// What a dead letter holds.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Content {
    /// Opened.
    Opened {
        /// E.164.
        sender_number: String,
        /// The text.
        message_body: String,
        /// The client's JSON object.
        metadata: Option<Box<RawValue>>,
    },
    /// It stays closed.
    Closed {
        /// Why.
        unreadable: String,
    },
}

/// Who asks: the role and the name of an operator's certificate.
#[derive(Debug, Clone)]
pub struct Operator {
    /// `operator/NAME`.
    pub name: String,
    /// Of the certificate.
    pub fingerprint: Fingerprint,
}

impl Queue {
    /// The dead letters that match, those of one queue after the other, the oldest first: at most `limit` after the
    /// cursor. Each is shown with the errors of its attempts, and with what it holds if `body` says so.
    pub async fn dead_letters(
        &self,
        filters: &Filters,
        after: Option<&Cursor>,
        limit: u32,
        body: bool,
    ) -> Result<Vec<DeadLetter>, Fault> {
        let jobs = &self.jobs;
        let mut letters = jobs.bounded(page::page(&jobs.pool, filters, after, limit)).await?;
        let failures = jobs.bounded(failures::failures(&jobs.pool, &letters)).await?;
        failures::attach(&mut letters, failures, &jobs.keyring);
        if body {
            let ids: Vec<Uuid> = letters.iter().map(|letter| letter.message_id).collect();
            let mut sealed = jobs.bounded(page::contents(&jobs.pool, &ids)).await?;
            for letter in &mut letters {
                letter.content = sealed.remove(&letter.message_id).map(|(key_id, sealed)| {
                    Content::of(jobs.keyring.open_message(
                        letter.message_id,
                        &letter.client_id,
                        &key_id,
                        sealed,
                    ))
                });
            }
        }
        Ok(letters)
    }

    /// Puts on record that an operator was shown dead letters. `jobs`: how many.
    pub async fn audit_dead_letters(
        &self,
        what: &str,
        by: &Operator,
        filters: &Filters,
        body: bool,
        jobs: Option<u64>,
    ) -> Result<(), Fault> {
        let mut new = json!(filters);
        if let Some(members) = new.as_object_mut() {
            members.insert("by".to_owned(), by.name.clone().into());
            members.insert("body".to_owned(), body.into());
            members.extend(jobs.map(|jobs| ("jobs".to_owned(), jobs.into())));
        }
        let statement = act::audit(&self.jobs.pool, what, filters, by, new.to_string());
        self.jobs.bounded(statement).await
    }

    /// dead → ready: their attempts again, at most `limit` of those that match, at once or so many a second.
    pub async fn redrive(
        &self,
        filters: &Filters,
        per_second: Option<f64>,
        limit: u32,
        by: &Operator,
    ) -> Result<Moved, Fault> {
        self.jobs.bounded(act::redrive(&self.jobs.pool, filters, per_second, limit, by)).await
    }

    /// The same for messages that are named.
    pub async fn redrive_messages(
        &self,
        ids: &[Uuid],
        queue: Option<&Name>,
        per_second: Option<f64>,
        by: &Operator,
    ) -> Result<Moved, Fault> {
        self.jobs.bounded(act::redrive_messages(&self.jobs.pool, ids, queue, per_second, by)).await
    }

    /// dead → cancelled: at most `limit` of those that match are given up.
    pub async fn discard(&self, filters: &Filters, limit: u32, by: &Operator) -> Result<Moved, Fault> {
        self.jobs.bounded(act::discard(&self.jobs.pool, filters, limit, by)).await
    }

    /// The same for messages that are named.
    pub async fn discard_messages(
        &self,
        ids: &[Uuid],
        queue: Option<&Name>,
        by: &Operator,
    ) -> Result<Moved, Fault> {
        self.jobs.bounded(act::discard_messages(&self.jobs.pool, ids, queue, by)).await
    }
}

impl Content {
    fn of(opened: Result<crate::seal::Payload, Unreadable>) -> Self {
        match opened {
            Ok(payload) => Self::Opened {
                sender_number: payload.sender_number,
                message_body: payload.message_body,
                metadata: payload.metadata,
            },
            Err(reason) => Self::Closed { unreadable: reason.to_string() },
        }
    }
}
