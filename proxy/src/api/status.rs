//! `GET /api/v1/messages/{id}`: what became of a message, for its sender only.
//!
//! Refused: everything else, with one and the same 404, so that nobody learns which ids exist.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Path, State, rejection::PathRejection},
    response::Response,
};
use http::{HeaderValue, StatusCode, header};
use shared::{
    serve::Connection,
    wire::{Code, Problem, status::StatusRequest},
};
use uuid::Uuid;

use super::{json, refuse, refuse_early, submit::authorize_again};
use crate::{
    edge::{Admitted, Arrival},
    routes::Edge,
};

pub(crate) async fn status(
    State(edge): State<Arc<Edge>>,
    Extension(Admitted(principal)): Extension<Admitted>,
    Extension(connection): Extension<Arc<Connection>>,
    Extension(arrival): Extension<Arrival>,
    id: Result<Path<String>, PathRejection>,
) -> Response {
    let Some(message_id) = id.ok().and_then(|Path(text)| message_id(&text)) else {
        return refuse(not_found(), &arrival);
    };
    let found =
        edge.forward.status(&StatusRequest { client_id: principal.client_id.clone(), message_id }).await;
    // Again: the answer took its time.
    if let Err(problem) = authorize_again(&edge, &connection) {
        return refuse_early(problem, &arrival);
    }
    match found {
        Ok(Some(status)) => {
            let mut response = json(StatusCode::OK, &status);
            response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response
        }
        Ok(None) => refuse(not_found(), &arrival),
        Err(problem) => refuse(problem, &arrival),
    }
}

/// An id as we write it, and in no other of the forms that a UUID has.
fn message_id(text: &str) -> Option<Uuid> {
    (text.len() == uuid::fmt::Hyphenated::LENGTH).then(|| Uuid::try_parse(text).ok())?
}

fn not_found() -> Problem {
    Problem::new(
        Code::NotFound,
        "no message of yours has this id, or it was finished long enough ago to be gone",
    )
}
