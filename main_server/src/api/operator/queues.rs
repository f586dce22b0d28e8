//! `GET /api/v1/queues`: the rules of every queue, and how much it holds.

use std::sync::Arc;

use axum::{Extension, Json, extract::State};
use serde::Serialize;
use shared::wire::Problem;

use crate::{admission::Caller, api::Api, queue::QueueOverview};

/// All queues, by name.
#[derive(Debug, Serialize)]
pub struct Queues {
    queues: Vec<QueueOverview>,
}

/// Answers all queues.
pub async fn queues(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Queues>, Problem> {
    caller.authorize()?;
    Ok(Json(Queues { queues: api.queue.overview().await? }))
}
