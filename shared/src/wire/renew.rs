//! Worker → main server: `POST /api/v1/jobs/renew`, holding jobs for longer.

use serde::{Deserialize, Serialize};

use super::lease::Held;

/// Extends leases, counted from now; answered by [`super::lease::JobResults`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RenewRequest {
    /// The jobs to hold on to.
    pub jobs: Vec<Held>,
    /// For how long, in seconds; the queue's own time when absent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub lease_seconds: Option<u32>,
}
