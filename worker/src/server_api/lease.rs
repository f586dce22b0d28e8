//! `POST /api/v1/jobs/lease`: in, how many jobs are wanted and how long to wait for one; out, jobs that are
//! ours until their leases end.

use std::time::Duration;

use shared::wire::lease::{LeaseRequest, LeaseResponse, LeasedJob};

use super::{ApiError, ServerApi};

impl ServerApi {
    /// Waits for jobs; empty when there was none in time. Dropping the future gives the wait up; jobs that
    /// were leased at that very moment come back when their lease ends.
    pub(crate) async fn lease(&self, request: &LeaseRequest) -> Result<Vec<LeasedJob>, ApiError> {
        let timeout = Duration::from_secs(request.wait_seconds.into()) + self.request_timeout;
        let (_, answer): (_, LeaseResponse) =
            self.call(&self.clients.load().long_poll.clone(), "lease", request, timeout).await?;
        Ok(answer.jobs)
    }
}
