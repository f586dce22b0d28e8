//! A request as a span of its trace.
//!
//! In: what it asked, by closed lists, and its caller's span. Out: a span, where spans are exported, with ids, the outcome and
//! the time of each stage. Never in it: what the client wrote.

use http::StatusCode;
use shared::{
    identity::Name,
    serve::Stages,
    traces::{SpanKind, TraceParent, TraceSpan},
    wire::Code,
};
use uuid::Uuid;

use crate::routes::Edge;

/// Begins it, if spans are made at all.
pub(super) fn begin(
    edge: &Edge,
    method: &'static str,
    path: &str,
    caller: Option<TraceParent>,
) -> Option<TraceSpan> {
    if !edge.traces.are_on() {
        return None;
    }
    let mut span = edge.traces.begin(format!("{method} {path}"), SpanKind::Server, caller)?;
    span.set("http.request.method", method);
    span.set("http.route", path.to_owned());
    Some(span)
}

/// Says what became of the request.
pub(super) fn describe(
    span: &mut TraceSpan,
    request_id: Uuid,
    client_id: Option<&Name>,
    status: StatusCode,
    code: Option<Code>,
    stages: Stages,
) {
    span.set("http.response.status_code", i64::from(status.as_u16()));
    span.set("portcullis.request_id", request_id.to_string());
    if let Some(client_id) = client_id {
        span.set("portcullis.client_id", client_id.to_string());
    }
    if let Some(code) = code {
        span.set("error.type", code.as_str());
    }
    if status.is_server_error() {
        span.failed(code.map_or("", Code::as_str));
    }
    span.set("http.request.body.size", i64::try_from(stages.bytes).unwrap_or(i64::MAX));
    let times = [
        ("portcullis.receive_seconds", stages.receive),
        ("portcullis.wait_seconds", stages.wait),
        ("portcullis.store_seconds", stages.store),
    ];
    for (stage, time) in times {
        if let Some(time) = time {
            span.set(stage, time.as_secs_f64());
        }
    }
}
