//! The handlers: read, validate, act, answer.

mod body;
mod idempotency_key;
mod submit;
mod batch;
mod message;
mod metadata;
mod members;
mod status;
mod whoami;
mod health;
mod openapi;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod claims;

use axum::response::{IntoResponse as _, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use shared::wire::{Code, Problem};

use crate::edge::{Arrival, LastAnswer};

pub use message::{Message, parse_message};

pub(crate) use batch::{Places, submit_batch};
pub(crate) use health::health;
pub(crate) use openapi::openapi;
pub(crate) use status::status;
pub(crate) use submit::submit;
pub(crate) use whoami::whoami;

/// Every answer that is no problem: as `axum::Json` gives it, with room for a usual one from the beginning.
fn json(status: StatusCode, answer: &impl Serialize) -> Response {
    let mut text = Vec::with_capacity(256);
    match serde_json::to_writer(&mut text, answer) {
        Ok(()) => {
            let json = HeaderValue::from_static("application/json");
            (status, [(header::CONTENT_TYPE, json)], text).into_response()
        }
        Err(error) => Problem::new(Code::InternalError, error.to_string()).into_response(),
    }
}

pub(crate) fn refuse(problem: Problem, arrival: &Arrival) -> Response {
    problem.of_request(arrival.request_id).into_response()
}

/// A body that is answered before its end leaves the connection unusable for another request.
pub(crate) fn refuse_early(problem: Problem, arrival: &Arrival) -> Response {
    let mut response = refuse(problem, arrival);
    response.extensions_mut().insert(LastAnswer);
    response
}
