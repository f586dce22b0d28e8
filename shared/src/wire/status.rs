//! Proxy → main server: `POST /internal/v1/messages/status`, what became of one message of one client.
//!
//! The client gets the very same members. A message that is not there, and one of somebody else, is 404.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::identity::Name;

/// Asks about a message.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StatusRequest {
    /// The client that asks, verified by the proxy; it sees its own messages only.
    pub client_id: Name,
    /// Which message.
    pub message_id: Uuid,
}

/// What became of a message. One that went to several queues is as far as its least finished job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageStatus {
    /// Which message.
    pub message_id: Uuid,
    /// How far it is.
    pub status: DeliveryStatus,
    /// Who sent it.
    pub client_id: Name,
    /// When it was committed.
    #[serde(with = "time::serde::rfc3339")]
    pub queued_at: OffsetDateTime,
    /// How often a worker was given it.
    pub attempts: u32,
    /// When it was delivered, failed or was cancelled.
    #[serde(skip_serializing_if = "Option::is_none", default, with = "time::serde::rfc3339::option")]
    pub finished_at: Option<OffsetDateTime>,
    /// When it is tried again, after an attempt that failed.
    #[serde(skip_serializing_if = "Option::is_none", default, with = "time::serde::rfc3339::option")]
    pub next_attempt_at: Option<OffsetDateTime>,
}

/// The public word for the state of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryStatus {
    /// It waits for a worker.
    Queued,
    /// A worker has it.
    Processing,
    /// A worker's sink has taken it.
    Delivered,
    /// It is a dead letter.
    Failed,
    /// The operator withdrew it.
    Cancelled,
}
