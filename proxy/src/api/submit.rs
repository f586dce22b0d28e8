//! `POST /api/v1/messages`: one message in, `202` after its commit.
//!
//! In: a validated body from an admitted client, with an idempotency key or without. Out: 202 with the message's
//! id, once the main server has committed it, or the first answer again if the key was used for it before.
//! A 503 means "outcome unknown or not stored": the message may be sent again.

use std::sync::Arc;

use axum::{
    Extension,
    body::HttpBody as _,
    extract::{Request, State},
    response::Response,
};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;
use shared::{
    identity::Name,
    serve::{Connection, SetAside},
    wire::{
        Code, Problem,
        submit::{IdempotencyKey, SubmitOutcome, SubmitResult, SubmittedMessage},
    },
};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Message, body, idempotency_key, json, parse_message, refuse, refuse_early};
use crate::{
    edge::{Arrival, Principal},
    forward::Submitted,
    limit::take_up,
    routes::Edge,
};

const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

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
    let (head, body) = match take_up(&edge, &arrival, request).await {
        Ok(request) => request.into_parts(),
        Err(refused) => return refused,
    };
    let checked = body::check_headers(&head.headers, &[body::JSON], edge.message.body.0);
    let key = match checked.and_then(|_| idempotency_key::of_request(&head.headers)) {
        Ok(key) => key,
        Err(problem) if body.is_end_stream() => return refuse(problem, &arrival),
        Err(problem) => return refuse_early(problem, &arrival),
    };
    let bytes = match body::read(body, &edge.message).await {
        Ok(bytes) => bytes,
        Err(problem) => return refuse_early(problem, &arrival),
    };
    let message = match parse_message(&bytes, &edge.message) {
        Ok(message) => message,
        Err(problem) => return refuse(problem, &arrival),
    };
    // Again, now that the body is complete: it may have taken long enough for a revocation.
    let principal = match authorize_again(&edge, &connection) {
        Ok(principal) => principal,
        Err(problem) => return refuse_early(problem, &arrival),
    };
    let key = key.map(|key| IdempotencyKey { key, index: None, batch: None });
    let result = edge.forward.submit(submitted(message, key, &principal, &arrival)).await;
    note(result.as_ref().ok(), head.extensions.get());
    let answer = result.and_then(|one| stored(&one.result)).map(|stored| answer(stored, principal.client_id));
    answer.unwrap_or_else(|problem| refuse(problem, &arrival))
}

/// Judges the caller anew, after time has passed.
pub(super) fn authorize_again(edge: &Edge, connection: &Connection) -> Result<Principal, Problem> {
    let peer = &connection.peer;
    edge.authorizer.authorize(peer).map_err(|refusal| refusal.to_problem(&peer.certificate.fingerprint))
}

/// Notes how long it took, for the request's line.
pub(super) fn note(submitted: Option<&Submitted>, set_aside: Option<&SetAside>) {
    if let (Some(submitted), Some(set_aside)) = (submitted, set_aside) {
        set_aside.stored(submitted.waited, submitted.took);
    }
}

/// A message as it travels on, with the principal that was verified.
pub(super) fn submitted(
    message: Message,
    idempotency_key: Option<IdempotencyKey>,
    principal: &Principal,
    arrival: &Arrival,
) -> SubmittedMessage {
    SubmittedMessage {
        message_id: Uuid::now_v7(),
        client_id: principal.client_id.clone(),
        cert_fingerprint: principal.fingerprint,
        request_id: arrival.request_id,
        traceparent: arrival.traceparent.map(|parent| parent.to_string()),
        sender_number: message.sender_number,
        message_body: message.message_body,
        metadata: message.metadata,
        routing_key: message.routing_key,
        idempotency_key,
    }
}

/// A message that is in the store.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stored {
    pub(super) message_id: Uuid,
    pub(super) queued_at: OffsetDateTime,
    /// It was there before, by its idempotency key. A batch that a proxy itself sent again is no replay.
    pub(super) replayed: bool,
}

/// What a main server's result means for the client.
pub(super) fn stored(result: &SubmitResult) -> Result<Stored, Problem> {
    match (result.outcome, result.queued_at) {
        (SubmitOutcome::Queued | SubmitOutcome::Replayed, Some(queued_at)) => Ok(Stored {
            message_id: result.original.unwrap_or(result.message_id),
            queued_at,
            replayed: result.original.is_some(),
        }),
        (SubmitOutcome::Conflict, _) => Err(Problem::new(
            result.code.unwrap_or(Code::IdempotencyConflict),
            "this idempotency key was used for another message; a key stands for one message for 24 hours",
        )),
        (SubmitOutcome::Rejected, _) => Err(rejected(result.code.unwrap_or(Code::InvalidField))),
        (_, None) => Err(Problem::new(Code::InternalError, "the main server did not say when it was stored")),
    }
}

fn rejected(code: Code) -> Problem {
    let detail = match code {
        Code::BacklogExceeded => "the message's queue holds as many messages as it may; send it again later",
        _ => "the message store cannot hold this message; other messages are not affected",
    };
    Problem::new(code, detail)
}

fn answer(stored: Stored, client_id: Name) -> Response {
    let Stored { message_id, queued_at, replayed } = stored;
    let accepted = Accepted { message_id, status: "queued", client_id, queued_at };
    let mut response = json(StatusCode::ACCEPTED, &accepted);
    if let Ok(location) = HeaderValue::try_from(format!("/api/v1/messages/{message_id}")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    if replayed { as_replayed(response) } else { response }
}

/// Says that nothing was added.
pub(super) fn as_replayed(mut response: Response) -> Response {
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    response
}
