//! `POST /api/v1/jobs/fail`: in, jobs whose messages are not in the sink, and why; out, those that were not ours.

use shared::wire::fail::FailRequest;
use uuid::Uuid;

use super::{ApiError, ServerApi};

impl ServerApi {
    /// Hands jobs back. Returns those whose lease was lost.
    pub(crate) async fn fail(&self, request: &FailRequest) -> Result<Vec<Uuid>, ApiError> {
        self.settle("fail", request, request.jobs.iter().map(|job| job.job_id)).await
    }
}
