//! Worker → main server: `POST /api/v1/jobs/lease`, a long poll for jobs.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::identity::{Fingerprint, Name};

/// The longest a lease request may wait for a job, in seconds.
pub const MAX_WAIT_SECONDS: u32 = 30;

/// Asks for jobs.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaseRequest {
    /// The queue to take from.
    pub queue: Name,
    /// At most so many jobs; at least 1.
    pub max: u32,
    /// How long the worker wants to hold them, in seconds; the queue's own time when absent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub lease_seconds: Option<u32>,
    /// How long to wait for a first job, in seconds, at most [`MAX_WAIT_SECONDS`].
    #[serde(default)]
    pub wait_seconds: u32,
}

/// The jobs leased; empty when the wait ended without one.
#[derive(Debug, Serialize, Deserialize)]
pub struct LeaseResponse {
    /// In the order in which they became ready.
    pub jobs: Vec<LeasedJob>,
}

/// A job in the hands of one worker until `lease_expires_at`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LeasedJob {
    /// The job: a message in a queue.
    pub job_id: Uuid,
    /// Fences every later write on the job: whoever lost the lease cannot finish it.
    pub lease_token: Uuid,
    /// By the database's clock.
    #[serde(with = "time::serde::rfc3339")]
    pub lease_expires_at: OffsetDateTime,
    /// The queue it came from.
    pub queue: Name,
    /// 1 for the first delivery.
    pub attempt: u32,
    /// The message.
    pub message_id: Uuid,
    /// Who sent it, verified by the proxy.
    pub client_id: Name,
    /// With which certificate.
    pub cert_fingerprint: Fingerprint,
    /// Through which proxy.
    pub proxy: Name,
    /// The id of the client's request.
    pub request_id: Uuid,
    /// W3C trace context of the client's request.
    pub traceparent: Option<String>,
    /// E.164.
    pub sender_number: String,
    /// The text.
    pub message_body: String,
    /// The client's JSON object.
    pub metadata: Option<Box<RawValue>>,
    /// Where the client wanted it to go.
    pub routing_key: Option<String>,
    /// When it was committed.
    #[serde(with = "time::serde::rfc3339")]
    pub queued_at: OffsetDateTime,
}

/// What a later verb says about one job: which one, and by which lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Held {
    /// The job.
    pub job_id: Uuid,
    /// The token of the lease under which the caller holds it.
    pub lease_token: Uuid,
}

/// What became of a later verb on one job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobResult {
    /// The job.
    pub job_id: Uuid,
    /// What became of it.
    pub outcome: JobOutcome,
}

/// What became of `renew`, `complete` or `fail` on one job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobOutcome {
    /// Done as asked.
    Ok,
    /// The caller does not hold this job (any more); nothing was changed.
    LeaseLost,
}

/// The answer to `renew`, `complete` and `fail`: one result per job, in order.
#[derive(Debug, Serialize, Deserialize)]
pub struct JobResults {
    /// In the order of the request.
    pub results: Vec<JobResult>,
}
