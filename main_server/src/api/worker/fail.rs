//! `POST /api/v1/jobs/fail`: the jobs were not delivered.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{Request, State},
};
use shared::wire::{Code, Problem, fail::FailRequest, lease::JobResults};

use super::MAX_DELAY_SECONDS;
use crate::{
    admission::Caller,
    api::{Api, body::read_json, check_range},
};

/// Hands jobs back: ready again after a delay, or dead. One result per job, in order.
pub async fn fail(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Json<JobResults>, Problem> {
    let (asked, _): (FailRequest, _) = read_json(request, &api.requests).await?;
    api.check_count("/jobs", asked.jobs.len())?;
    for (index, job) in asked.jobs.iter().enumerate() {
        let delay = job.delay_seconds.unwrap_or_default();
        check_range(&format!("/jobs/{index}/delay_seconds"), delay, 0..=MAX_DELAY_SECONDS)?;
        if job.released && job.dead {
            let text = "a job is handed back unworked or it is dead, not both";
            return Err(
                Problem::new(Code::InvalidField, text).with("field", format!("/jobs/{index}/released"))
            );
        }
    }
    caller.authorize()?;
    let results = api.queue.fail(&asked.jobs).await?;
    Ok(Json(JobResults { results }))
}
