//! Worker → main server: `POST /api/v1/jobs/complete`, the jobs are delivered.

use serde::{Deserialize, Serialize};

use super::lease::Held;

/// Acknowledges jobs; answered by [`super::lease::JobResults`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompleteRequest {
    /// The delivered jobs.
    pub jobs: Vec<Held>,
}
