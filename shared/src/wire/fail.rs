//! Worker → main server: `POST /api/v1/jobs/fail`, the jobs were not delivered.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Hands jobs back; answered by [`super::lease::JobResults`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailRequest {
    /// The jobs that were not delivered.
    pub jobs: Vec<FailedJob>,
}

/// One job that was not delivered. It becomes ready again after its delay, or dead when its attempts are used up.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailedJob {
    /// The job.
    pub job_id: Uuid,
    /// The token of the lease under which the caller holds it.
    pub lease_token: Uuid,
    /// What went wrong, for the operator who reads dead letters.
    pub error: String,
    /// When to try again, in seconds from now; the queue's backoff when absent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub delay_seconds: Option<u32>,
    /// Trying again is pointless: dead at once.
    #[serde(default)]
    pub dead: bool,
    /// Handed back unworked, by a worker that stops: ready at once, and this attempt does not count. What it is worth
    /// to the next worker stays: `attempt` is the number of leases all the same.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub released: bool,
}
