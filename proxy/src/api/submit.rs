//! `POST /api/v1/messages`: one message in, `202` after its commit.
//!
//! In: a validated body from an admitted client. Out: 202 with the message's id, once the main server
//! has committed it. A 503 means "outcome unknown or not stored": the message may be sent again.

use std::sync::Arc;

use axum::{
    Extension, Json,
    body::HttpBody as _,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use shared::{
    identity::Name,
    serve::Connection,
    wire::{
        Code, Problem,
        submit::{SubmitOutcome, SubmitResult, SubmittedMessage},
    },
};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{body, parse_message};
use crate::{
    edge::{Arrival, LastAnswer},
    routes::Edge,
};

#[derive(Serialize)]
struct Accepted {
    message_id: Uuid,
    status: &'static str,
    client_id: Name,
    #[serde(with = "time::serde::rfc3339")]
    queued_at: OffsetDateTime,
}

pub(crate) async fn submit(
    State(edge): State<Arc<Edge>>,
    Extension(connection): Extension<Arc<Connection>>,
    Extension(arrival): Extension<Arrival>,
    request: Request,
) -> Response {
    let (head, body) = request.into_parts();
    // A body that is answered before its end leaves the connection unusable for another request.
    let answered_early = |problem: Problem| {
        let mut response = problem.of_request(arrival.request_id).into_response();
        response.extensions_mut().insert(LastAnswer);
        response
    };
    if let Err(problem) = body::check_headers(&head.headers, &edge.message) {
        return if body.is_end_stream() { refuse(problem, &arrival) } else { answered_early(problem) };
    }
    let bytes = match body::read(&edge, body).await {
        Ok(bytes) => bytes,
        Err(problem) => return answered_early(problem),
    };
    match accept(&edge, &connection, &arrival, &bytes).await {
        Ok(response) => response,
        Err(Refused::Certificate(problem)) => answered_early(problem),
        Err(Refused::Message(problem)) => refuse(problem, &arrival),
    }
}

enum Refused {
    Certificate(Problem),
    Message(Problem),
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self::Message(problem)
    }
}

async fn accept(
    edge: &Edge,
    connection: &Connection,
    arrival: &Arrival,
    bytes: &[u8],
) -> Result<Response, Refused> {
    let message = parse_message(bytes, &edge.message)?;
    // Again, now that the body is complete: it may have taken long enough for a revocation.
    let principal = edge.authorizer.authorize(&connection.peer).map_err(|refusal| {
        Refused::Certificate(refusal.to_problem(&connection.peer.certificate.fingerprint))
    })?;
    let submitted = SubmittedMessage {
        message_id: Uuid::now_v7(),
        client_id: principal.client_id.clone(),
        cert_fingerprint: principal.fingerprint,
        request_id: arrival.request_id,
        traceparent: arrival.traceparent.clone(),
        sender_number: message.sender_number,
        message_body: message.message_body,
        metadata: message.metadata,
        routing_key: message.routing_key,
        idempotency_key: None,
    };
    let result = edge.forward.submit(submitted).await?;
    Ok(answer(&result, principal.client_id)?)
}

fn answer(result: &SubmitResult, client_id: Name) -> Result<Response, Problem> {
    match (result.outcome, result.queued_at) {
        (SubmitOutcome::Queued | SubmitOutcome::Replayed, Some(queued_at)) => {
            let message_id = result.message_id;
            let accepted = Accepted { message_id, status: "queued", client_id, queued_at };
            let mut response = (StatusCode::ACCEPTED, Json(accepted)).into_response();
            if let Ok(location) = HeaderValue::try_from(format!("/api/v1/messages/{message_id}")) {
                response.headers_mut().insert(header::LOCATION, location);
            }
            Ok(response)
        }
        (SubmitOutcome::Conflict, _) => Err(Problem::new(
            result.code.unwrap_or(Code::IdempotencyConflict),
            "a message with this id exists with another sender or payload",
        )),
        (SubmitOutcome::Rejected, _) => Err(Problem::new(
            result.code.unwrap_or(Code::InvalidField),
            "the message store cannot hold this message; other messages are not affected",
        )),
        (_, None) => Err(Problem::new(Code::InternalError, "the main server did not say when it was stored")),
    }
}

fn refuse(problem: Problem, arrival: &Arrival) -> Response {
    problem.of_request(arrival.request_id).into_response()
}
