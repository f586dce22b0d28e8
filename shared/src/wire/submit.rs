//! Proxy → main server: `POST /internal/v1/messages`, a JSON list of messages.
//!
//! The proxy has checked every field; who sent the batch is read from its certificate, never from here.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use time::OffsetDateTime;
use uuid::Uuid;

use super::Code;
use crate::identity::{Fingerprint, Name};

/// One message with its verified principal.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SubmittedMessage {
    /// A `UUIDv7`, minted by the proxy, so that resending a batch whose answer was lost is safe.
    pub message_id: Uuid,
    /// The client whose certificate was on the connection.
    pub client_id: Name,
    /// That certificate.
    pub cert_fingerprint: Fingerprint,
    /// The id of the client's request, for logs at every hop.
    pub request_id: Uuid,
    /// W3C trace context, when the client sent a valid one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub traceparent: Option<String>,
    /// E.164: `+` and 2 to 15 digits.
    pub sender_number: String,
    /// The text, not blank.
    pub message_body: String,
    /// A JSON object of the client's, byte for byte but for insignificant white space.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub metadata: Option<Box<RawValue>>,
    /// Where the client wants it to go.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub routing_key: Option<String>,
    /// The client's promise that whatever it sends under this key again is the same message.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub idempotency_key: Option<IdempotencyKey>,
}

/// A key of the client's: of one message, or of a batch as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdempotencyKey {
    /// 1 to 255 visible ASCII characters. It belongs to the client: another client's is another key.
    pub key: String,
    /// The place in the batch that has this key as a whole, for every message but the one that is stored first:
    /// that one holds the key itself, so that another body under it is found out before anything is stored.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub index: Option<u32>,
    /// SHA-256 of that batch's body, in hexadecimal: each of its messages is the same only within the same body.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub batch: Option<String>,
}

/// The answer: one result per message, in order.
#[derive(Debug, Serialize, Deserialize)]
pub struct SubmitResponse {
    /// In the order of the request.
    pub results: Vec<SubmitResult>,
}

/// What became of one message.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SubmitResult {
    /// The id that was asked about.
    pub message_id: Uuid,
    /// The id under which the message is stored, if it is another one: it was stored before, with the same
    /// idempotency key. For `replayed`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub original: Option<Uuid>,
    /// What became of it.
    pub outcome: SubmitOutcome,
    /// Why it was not stored, for `conflict` and `rejected`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub code: Option<Code>,
    /// When it was committed, for `queued` and `replayed`.
    #[serde(skip_serializing_if = "Option::is_none", default, with = "time::serde::rfc3339::option")]
    pub queued_at: Option<OffsetDateTime>,
}

/// What became of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SubmitOutcome {
    /// Committed now.
    Queued,
    /// The same message, by its id or its idempotency key, was committed before; nothing was added.
    Replayed,
    /// The id exists with another principal, or the id or key with another payload; nothing was added.
    Conflict,
    /// The store cannot hold this message; its neighbours are not affected.
    Rejected,
}

impl SubmitOutcome {
    /// As it is on the wire and in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Replayed => "replayed",
            Self::Conflict => "conflict",
            Self::Rejected => "rejected",
        }
    }
}
