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
use shared::wire::Problem;

use crate::edge::{Arrival, LastAnswer};

pub use message::{Message, parse_message};

pub(crate) use batch::{Places, submit_batch};
pub(crate) use health::health;
pub(crate) use openapi::openapi;
pub(crate) use status::status;
pub(crate) use submit::submit;
pub(crate) use whoami::whoami;

pub(crate) fn refuse(problem: Problem, arrival: &Arrival) -> Response {
    problem.of_request(arrival.request_id).into_response()
}

/// A body that is answered before its end leaves the connection unusable for another request.
pub(crate) fn refuse_early(problem: Problem, arrival: &Arrival) -> Response {
    let mut response = refuse(problem, arrival);
    response.extensions_mut().insert(LastAnswer);
    response
}
