//! `POST /api/v1/jobs/complete`: in, jobs whose messages are in the sink; out, those that were not ours.

use shared::wire::complete::CompleteRequest;
use uuid::Uuid;

use super::{ApiError, ServerApi};

impl ServerApi {
    /// Acknowledges jobs. Returns those whose lease was lost: somebody else will deliver them again.
    pub(crate) async fn complete(&self, request: &CompleteRequest) -> Result<Vec<Uuid>, ApiError> {
        self.settle("complete", request, request.jobs.iter().map(|job| job.job_id)).await
    }
}
