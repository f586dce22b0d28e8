//! `POST /api/v1/jobs/renew`: in, jobs that are still being delivered; out, those that are no longer ours.

use shared::wire::{lease::Held, renew::RenewRequest};
use uuid::Uuid;

use super::{ApiError, ServerApi};

impl ServerApi {
    /// Holds jobs for so many seconds from now. Returns those whose lease is lost.
    pub(crate) async fn renew(&self, jobs: Vec<Held>, lease_seconds: u32) -> Result<Vec<Uuid>, ApiError> {
        let request = RenewRequest { jobs, lease_seconds: Some(lease_seconds) };
        self.settle("renew", &request, request.jobs.iter().map(|job| job.job_id)).await
    }
}
