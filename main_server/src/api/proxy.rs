//! The proxy door: `POST /internal/v1/messages`, a batch of verified messages; `…/messages/status`, what became of
//! one; and `…/reports`, how a proxy is.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{Request, State},
};
use http::StatusCode;
use shared::wire::{
    Code, Problem,
    report::Report,
    status::{MessageStatus, StatusRequest},
    submit::{SubmitResponse, SubmittedMessage},
};

use super::{Api, body::read_json};
use crate::admission::Caller;

/// Stores a batch. Answers after its commit, with one result per message, in order.
pub async fn submit(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Json<SubmitResponse>, Problem> {
    let (messages, bytes): (Vec<SubmittedMessage>, usize) = read_json(request, &api.requests).await?;
    if messages.is_empty() {
        // A proxy's probe: whether we answer, and admit it.
        caller.authorize()?;
        return Ok(Json(SubmitResponse { results: Vec::new() }));
    }
    api.check_count("", messages.len())?;
    // The body took its time; the proxy's certificate may have been revoked meanwhile.
    let proxy = caller.authorize()?;
    let results = api.queue.submit(proxy.name, messages, bytes).await?;
    Ok(Json(SubmitResponse { results }))
}

/// What became of a message. The proxy has verified who asks; of nobody else's is anything said.
pub async fn status(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Json<MessageStatus>, Problem> {
    let (asked, _): (StatusRequest, usize) = read_json(request, &api.requests).await?;
    caller.authorize()?;
    let found = api.queue.status(&asked).await?;
    let not_found = || Problem::new(Code::NotFound, "this client has no message of this id");
    found.map(Json).ok_or_else(not_found)
}

/// Writes down how far a proxy is and whom it saw. Answers when it is written.
pub async fn report(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<StatusCode, Problem> {
    let (report, _): (Report, usize) = read_json(request, &api.requests).await?;
    let proxy = caller.authorize()?;
    api.reports.write(proxy.name, report).await?;
    Ok(StatusCode::NO_CONTENT)
}
