//! `POST /api/v1/dead-letters/redrive` and `…/discard`.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{Request, State},
};
use serde::Serialize;
use shared::wire::{Code, Problem};

use super::{
    operator,
    request::{Acted, Which},
};
use crate::{
    admission::Caller,
    api::{Api, body::read_json},
    queue::dead_letters::Moved,
};

/// How many jobs are ready again.
#[derive(Debug, Serialize)]
pub struct Redriven {
    redriven: i64,
    /// As many as the limit allows: there may be more.
    more: bool,
}

/// How many jobs were given up.
#[derive(Debug, Serialize)]
pub struct Discarded {
    discarded: i64,
    /// As many as the limit allows: there may be more.
    more: bool,
}

/// Gives dead letters their attempts again.
pub async fn redrive(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Json<Redriven>, Problem> {
    let (asked, _): (Acted, _) = read_json(request, &api.requests).await?;
    let per_second = asked.per_second;
    let which = asked.which(api.requests.items)?;
    let by = operator(&caller)?;
    let moved = match &which {
        Which::Matching(filters, limit) => api.queue.redrive(filters, per_second, *limit, &by).await?,
        Which::Named(ids, queue) => api.queue.redrive_messages(ids, queue.as_ref(), per_second, &by).await?,
    };
    Ok(Json(Redriven { redriven: moved.jobs, more: which.leaves_more(moved) }))
}

/// Gives dead letters up.
pub async fn discard(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Json<Discarded>, Problem> {
    let (asked, _): (Acted, _) = read_json(request, &api.requests).await?;
    if asked.per_second.is_some() {
        let text = "`per_second` is for redriving";
        return Err(Problem::new(Code::InvalidField, text).with("field", "/per_second"));
    }
    let which = asked.which(api.requests.items)?;
    let by = operator(&caller)?;
    let moved = match &which {
        Which::Matching(filters, limit) => api.queue.discard(filters, *limit, &by).await?,
        Which::Named(ids, queue) => api.queue.discard_messages(ids, queue.as_ref(), &by).await?,
    };
    Ok(Json(Discarded { discarded: moved.jobs, more: which.leaves_more(moved) }))
}

impl Which {
    fn leaves_more(&self, moved: Moved) -> bool {
        matches!(self, Self::Matching(_, limit) if moved.jobs >= i64::from(*limit))
    }
}
