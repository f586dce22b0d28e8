//! What a batch is answered: one result per message, in order, and how many were accepted and refused.
//!
//! 200 if anything was stored. If nothing was: the first refusal that passes (503, 429), so that the whole is
//! sent again; else 400, for nothing in it will ever be taken.

use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use serde_json::{Map, Value};
use shared::wire::{Code, Problem};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    api::{
        json, refuse,
        submit::{Stored, as_replayed},
    },
    edge::Arrival,
};

/// What became of one message.
pub(super) type Outcome = Result<Stored, Problem>;

#[derive(Serialize)]
struct Answer {
    results: Vec<OfMessage>,
    accepted: usize,
    refused: usize,
}

#[derive(Serialize)]
struct OfMessage {
    index: usize,
    status: u16,
    #[serde(flatten)]
    became: Became,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Became {
    Stored {
        message_id: Uuid,
        #[serde(with = "time::serde::rfc3339")]
        queued_at: OffsetDateTime,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        replayed: bool,
    },
    Refused {
        code: Code,
        detail: String,
        /// Such as `field`.
        #[serde(flatten)]
        members: Map<String, Value>,
    },
}

/// The answer to a batch; `keyed` if it has an idempotency key as a whole.
pub(super) fn answer(outcomes: Vec<Outcome>, keyed: bool, arrival: &Arrival) -> Response {
    let accepted = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    let replayed = outcomes.iter().flatten().filter(|stored| stored.replayed).count();
    let passing = |problem: &&Problem| problem.code.retry_after().is_some();
    let mut refusals = outcomes.iter().filter_map(|outcome| outcome.as_ref().err());
    let first = refusals.clone().find(passing).or_else(|| refusals.next()).map(|problem| problem.code);
    let refused = outcomes.len() - accepted;
    let results =
        outcomes.into_iter().enumerate().map(|(index, outcome)| of_message(index, outcome)).collect();
    let answer = Answer { results, accepted, refused };
    match first.filter(|_| accepted == 0) {
        Some(code) => nothing_stored(code, answer, arrival),
        None if keyed && replayed == accepted => as_replayed(json(StatusCode::OK, &answer)),
        None => json(StatusCode::OK, &answer),
    }
}

fn of_message(index: usize, outcome: Outcome) -> OfMessage {
    let (status, became) = match outcome {
        Ok(Stored { message_id, queued_at, replayed }) => {
            (StatusCode::ACCEPTED, Became::Stored { message_id, queued_at, replayed })
        }
        Err(Problem { code, detail, members, .. }) => {
            (code.status(), Became::Refused { code, detail, members })
        }
    };
    OfMessage { index, status: status.as_u16(), became }
}

fn nothing_stored(code: Code, answer: Answer, arrival: &Arrival) -> Response {
    let status = if code.retry_after().is_some() { code.status() } else { StatusCode::BAD_REQUEST };
    let mut problem = Problem::new(code, "no message of the batch was stored; results says why, for each")
        .answered_with(status);
    if let Ok(Value::Object(members)) = serde_json::to_value(answer) {
        problem.members.extend(members);
    }
    refuse(problem, arrival)
}
