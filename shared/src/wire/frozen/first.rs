//! The wire types as the first version had them: what a process of that version reads and writes.
//! Never edited; a test stops being a proof when its yardstick moves.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use time::OffsetDateTime;
use uuid::Uuid;

use super::super::Code;
use crate::identity::{Fingerprint, Name};

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct SubmittedMessage {
    pub(super) message_id: Uuid,
    pub(super) client_id: Name,
    pub(super) cert_fingerprint: Fingerprint,
    pub(super) request_id: Uuid,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) traceparent: Option<String>,
    pub(super) sender_number: String,
    pub(super) message_body: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) metadata: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) routing_key: Option<String>,
}
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SubmitResponse {
    pub(super) results: Vec<SubmitResult>,
}
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct SubmitResult {
    pub(super) message_id: Uuid,
    pub(super) outcome: SubmitOutcome,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) code: Option<Code>,
    #[serde(skip_serializing_if = "Option::is_none", default, with = "time::serde::rfc3339::option")]
    pub(super) queued_at: Option<OffsetDateTime>,
}
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum SubmitOutcome {
    Queued,
    Replayed,
    Conflict,
    Rejected,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LeaseRequest {
    pub(super) queue: Name,
    pub(super) max: u32,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) lease_seconds: Option<u32>,
    #[serde(default)]
    pub(super) wait_seconds: u32,
}
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LeaseResponse {
    pub(super) jobs: Vec<LeasedJob>,
}
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct LeasedJob {
    pub(super) job_id: Uuid,
    pub(super) lease_token: Uuid,
    #[serde(with = "time::serde::rfc3339")]
    pub(super) lease_expires_at: OffsetDateTime,
    pub(super) queue: Name,
    pub(super) attempt: u32,
    pub(super) message_id: Uuid,
    pub(super) client_id: Name,
    pub(super) cert_fingerprint: Fingerprint,
    pub(super) proxy: Name,
    pub(super) request_id: Uuid,
    pub(super) traceparent: Option<String>,
    pub(super) sender_number: String,
    pub(super) message_body: String,
    pub(super) metadata: Option<Box<RawValue>>,
    pub(super) routing_key: Option<String>,
    #[serde(with = "time::serde::rfc3339")]
    pub(super) queued_at: OffsetDateTime,
}
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Held {
    pub(super) job_id: Uuid,
    pub(super) lease_token: Uuid,
}
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct JobResult {
    pub(super) job_id: Uuid,
    pub(super) outcome: JobOutcome,
}
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum JobOutcome {
    Ok,
    LeaseLost,
}
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct JobResults {
    pub(super) results: Vec<JobResult>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RenewRequest {
    pub(super) jobs: Vec<Held>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) lease_seconds: Option<u32>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CompleteRequest {
    pub(super) jobs: Vec<Held>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FailRequest {
    pub(super) jobs: Vec<FailedJob>,
}
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FailedJob {
    pub(super) job_id: Uuid,
    pub(super) lease_token: Uuid,
    pub(super) error: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) delay_seconds: Option<u32>,
    #[serde(default)]
    pub(super) dead: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Report {
    pub(super) instance: Uuid,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) stopping: bool,
    pub(super) copy: RegistryCopy,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) seen: Vec<SeenCertificate>,
}
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct RegistryCopy {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) applied: Option<String>,
    pub(super) clients: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) age_ms: Option<u64>,
    pub(super) max_staleness_ms: u64,
}
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SeenCertificate {
    pub(super) cert_fingerprint: Fingerprint,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) client_id: Option<Name>,
    #[serde(with = "time::serde::rfc3339")]
    pub(super) first_seen_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub(super) last_seen_at: OffsetDateTime,
    pub(super) requests: u64,
    pub(super) refusals: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) last_refusal: Option<SeenRefusal>,
}
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SeenRefusal {
    #[serde(with = "time::serde::rfc3339")]
    pub(super) at: OffsetDateTime,
    pub(super) code: Code,
}
