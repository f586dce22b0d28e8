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
    /// The message's id.
    pub message_id: Uuid,
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
    /// The same message was committed before; nothing was added.
    Replayed,
    /// The id exists with another principal or another payload; nothing was added.
    Conflict,
    /// The store cannot hold this message; its neighbours are not affected.
    Rejected,
}
