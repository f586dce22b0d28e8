//! `POST /api/v1/jobs/complete`: the jobs are delivered.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{Request, State},
};
use shared::wire::{Problem, complete::CompleteRequest, lease::JobResults};

use crate::{
    admission::Caller,
    api::{Api, body::read_json},
};

/// Ends what the caller still holds. One result per job, in order.
pub async fn complete(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Json<JobResults>, Problem> {
    let (asked, _): (CompleteRequest, _) = read_json(request, &api.requests).await?;
    api.check_count("/jobs", asked.jobs.len())?;
    caller.authorize()?;
    let results = api.queue.complete(&asked.jobs).await?;
    Ok(Json(JobResults { results }))
}
