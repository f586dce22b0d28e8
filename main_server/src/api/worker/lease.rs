//! `POST /api/v1/jobs/lease`: a long poll for jobs.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Json,
    extract::{Request, State},
};
use shared::wire::{
    Problem,
    lease::{LeaseRequest, LeaseResponse, MAX_WAIT_SECONDS},
};
use tokio::time::{Instant, sleep};

use super::MAX_LEASE_SECONDS;
use crate::{
    admission::Caller,
    api::{Api, body::read_json, check_range},
};

/// Leases what is ready, or waits for a first job. The wait ends early when the server stops.
pub async fn lease(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Json<LeaseResponse>, Problem> {
    let (asked, _): (LeaseRequest, _) = read_json(request, &api.requests).await?;
    check_range("/max", asked.max, 1..=u32::MAX)?;
    check_range("/wait_seconds", asked.wait_seconds, 0..=MAX_WAIT_SECONDS)?;
    if let Some(seconds) = asked.lease_seconds {
        check_range("/lease_seconds", seconds, 1..=MAX_LEASE_SECONDS)?;
    }
    let max = asked.max.min(api.limits.lease_jobs);
    let until = Instant::now() + Duration::from_secs(asked.wait_seconds.into());
    loop {
        // Before anything is leased, each time: the worker may have been revoked while it waited.
        let worker = caller.authorize()?;
        let jobs = api.queue.lease(&asked.queue, max, asked.lease_seconds, &worker.name).await?;
        let left = until.saturating_duration_since(Instant::now());
        if !jobs.is_empty() || left.is_zero() || api.shutdown.is_requested() {
            return Ok(Json(LeaseResponse { jobs }));
        }
        tokio::select! {
            () = api.queue.wait_for_jobs(&asked.queue) => {}
            () = sleep(left.min(api.limits.poll.0)) => {}
            () = api.shutdown.requested() => return Ok(Json(LeaseResponse { jobs })),
        }
    }
}
