//! The proxy door: `POST /internal/v1/messages`, a batch of verified messages; `…/messages/status`, what became of
//! one; and `…/reports`, how a proxy is.

use std::{sync::Arc, time::SystemTime};

use axum::{
    Extension, Json,
    extract::{Request, State},
};
use http::StatusCode;
use shared::{
    traces::{Done, KeyValue, SpanKind, TraceParent},
    wire::{
        Code, Problem,
        report::Report,
        status::{MessageStatus, StatusRequest},
        submit::{SubmitResponse, SubmitResult, SubmittedMessage},
    },
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
    let traced = traced(&api, &messages);
    let results = api.queue.submit(proxy.name, messages, bytes).await?;
    record(&api, traced, &results);
    Ok(Json(SubmitResponse { results }))
}

/// A message whose trace is recorded: its place in the batch, its cause, and when it came.
type Traced = (usize, TraceParent, SystemTime);

fn traced(api: &Api, messages: &[SubmittedMessage]) -> Vec<Traced> {
    if !api.traces.are_on() {
        return Vec::new();
    }
    let cause = |message: &SubmittedMessage| TraceParent::parse(message.traceparent.as_ref()?.as_bytes());
    let came = SystemTime::now();
    let causes =
        messages.iter().enumerate().filter_map(|(place, message)| Some((place, cause(message)?, came)));
    causes.filter(|(_, cause, _)| cause.is_recorded()).collect()
}

/// A span for each, of which all took as long as the commit that they share.
fn record(api: &Api, traced: Vec<Traced>, results: &[SubmitResult]) {
    for (place, parent, began) in traced {
        let Some(result) = results.get(place) else { continue };
        let attributes = vec![
            KeyValue::new("messaging.message.id", result.message_id.to_string()),
            KeyValue::new("portcullis.outcome", result.outcome.as_str()),
        ];
        let name = "queue.submit".into();
        api.traces.record(Done { name, kind: SpanKind::Server, parent, linked: false, began, attributes });
    }
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
