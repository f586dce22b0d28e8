//! `POST /api/v1/jobs/renew`: holding jobs for longer.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{Request, State},
};
use shared::wire::{Problem, lease::JobResults, renew::RenewRequest};

use super::MAX_LEASE_SECONDS;
use crate::{
    admission::Caller,
    api::{Api, body::read_json, check_range},
};

/// Extends leases, counted from now. One result per job, in order.
pub async fn renew(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Json<JobResults>, Problem> {
    let (asked, _): (RenewRequest, _) = read_json(request, &api.requests).await?;
    api.check_count("/jobs", asked.jobs.len())?;
    if let Some(seconds) = asked.lease_seconds {
        check_range("/lease_seconds", seconds, 1..=MAX_LEASE_SECONDS)?;
    }
    caller.authorize()?;
    let results = api.queue.renew(&asked.jobs, asked.lease_seconds).await?;
    Ok(Json(JobResults { results }))
}
