//! `POST /api/v1/messages/batch`: up to a thousand messages in, one result for each after their commits.
//!
//! In: a JSON array or one message per line, read while it comes in. Out: 200 with a result per message, in
//! order. Nothing is sent on before the body is complete and the client is authorized again, so that a broken
//! upload stores nothing. Refused as a whole: what is no list, what is too large, and another body under a key
//! that the batch has as a whole.

mod places;
mod split;
mod items;
mod answer;
#[cfg(any(test, fuzzing))]
pub(super) mod claims;

use std::sync::Arc;

use axum::{
    Extension,
    body::{Body, HttpBody as _},
    extract::{Request, State},
    response::Response,
};
use http::HeaderMap;
use shared::{
    serve::{Connection, SetAside},
    wire::{
        Code, Problem,
        submit::{IdempotencyKey, SubmittedMessage},
    },
};

pub(crate) use self::places::Places;

use self::{
    answer::{Outcome, answer},
    items::{Incoming, Item},
    split::Format,
};
use super::{
    body, idempotency_key, refuse, refuse_early,
    submit::{authorize_again, note, stored, submitted},
};
use crate::{
    edge::{Admitted, Arrival, Principal},
    limit::{take_messages, take_up},
    routes::Edge,
};

const TYPES: [&str; 3] = [body::JSON, "application/x-ndjson", "application/jsonl"];

/// A message that may be stored, and its place in the batch.
type Placed = (usize, SubmittedMessage);

pub(crate) async fn submit_batch(
    State(edge): State<Arc<Edge>>,
    Extension(Admitted(admitted)): Extension<Admitted>,
    Extension(connection): Extension<Arc<Connection>>,
    Extension(arrival): Extension<Arrival>,
    request: Request,
) -> Response {
    let (head, body) = match take_up(&edge, &arrival, request).await {
        Ok(request) => request.into_parts(),
        Err(refused) => return refused,
    };
    let (format, key) = match check_head(&edge, &head.headers) {
        Ok(checked) => checked,
        Err(problem) if body.is_end_stream() => return refuse(problem, &arrival),
        Err(problem) => return refuse_early(problem, &arrival),
    };
    let Some(_place) = edge.batches.take(&admitted.client_id) else {
        let text = "too many batches are being read and stored, of all or of you; try again later";
        return refuse_early(Problem::new(Code::Overloaded, text), &arrival);
    };
    let incoming = match receive(&edge, format, key.is_some(), body).await {
        Ok(incoming) => incoming,
        Err(problem) => return refuse_early(problem, &arrival),
    };
    let (items, digest) = match incoming.end() {
        Ok(whole) => whole,
        Err(problem) => return refuse(problem, &arrival),
    };
    // Again, now that the body is complete: it may have taken long enough for a revocation.
    let principal = match authorize_again(&edge, &connection) {
        Ok(principal) => principal,
        Err(problem) => return refuse_early(problem, &arrival),
    };
    if let Err(problem) = take_messages(&edge, &principal, items.len()) {
        return refuse(problem, &arrival);
    }
    let keyed = key.is_some();
    let key = key.map(|key| IdempotencyKey { key, index: None, batch: Some(digest) });
    let (mut outcomes, messages) = place(items, key.as_ref(), &principal, &arrival);
    let set_aside = head.extensions.get();
    if let Err(problem) = store(&edge, messages, keyed, &mut outcomes, set_aside).await {
        return refuse(problem, &arrival);
    }
    answer(outcomes.into_iter().flatten().collect(), keyed, &arrival)
}

fn check_head(edge: &Edge, headers: &HeaderMap) -> Result<(Format, Option<String>), Problem> {
    let media_type = body::check_headers(headers, &TYPES, edge.batch.body_bytes.0)?;
    let format = if media_type == body::JSON { Format::Array } else { Format::Lines };
    Ok((format, idempotency_key::of_request(headers)?))
}

async fn receive(edge: &Edge, format: Format, keyed: bool, body: Body) -> Result<Incoming<'_>, Problem> {
    let mut incoming = Incoming::new(format, (&edge.batch, &edge.message), keyed);
    let (most, limit) = (edge.batch.body_bytes.0, edge.message.body_timeout);
    body::read_each(body, most, limit, |piece| incoming.feed(piece)).await?;
    Ok(incoming)
}

/// The refusals, each at its place, and the messages for the places that are still empty.
fn place(
    items: Vec<Item>,
    key: Option<&IdempotencyKey>,
    principal: &Principal,
    arrival: &Arrival,
) -> (Vec<Option<Outcome>>, Vec<Placed>) {
    let (mut outcomes, mut messages) = (Vec::with_capacity(items.len()), Vec::new());
    for (place, item) in items.into_iter().enumerate() {
        match item {
            Err(problem) => outcomes.push(Some(Err(problem))),
            Ok(mut message) => {
                let own = message.idempotency_key.take();
                let own = own.map(|key| IdempotencyKey { key, index: None, batch: None });
                // The first message that is one holds the key itself.
                let index = u32::try_from(place).ok().filter(|_| !messages.is_empty());
                let key = key.map(|key| IdempotencyKey { index, ..key.clone() }).or(own);
                messages.push((place, submitted(message, key, principal, arrival)));
                outcomes.push(None);
            }
        }
    }
    (outcomes, messages)
}

/// Sends the messages on and notes what became of them. The first message of a batch with a key as a whole goes
/// first and alone: if the key stands for another body, it is found out with nothing stored.
async fn store(
    edge: &Edge,
    mut messages: Vec<Placed>,
    keyed: bool,
    outcomes: &mut [Option<Outcome>],
    set_aside: Option<&SetAside>,
) -> Result<(), Problem> {
    if keyed && !messages.is_empty() {
        let (place, first) = messages.remove(0);
        let submitted = edge.forward.submit(first).await;
        note(submitted.as_ref().ok(), set_aside);
        let outcome = submitted.and_then(|one| stored(&one.result));
        outcomes[place] = Some(Ok(outcome.map_err(|problem| of_gate(place, problem))?));
    }
    let (places, messages): (Vec<_>, Vec<_>) = messages.into_iter().unzip();
    let results = edge.forward.submit_all(messages).await;
    for (place, result) in places.into_iter().zip(results) {
        note(result.as_ref().ok(), set_aside);
        outcomes[place] = Some(result.and_then(|one| stored(&one.result)));
    }
    Ok(())
}

fn of_gate(place: usize, mut problem: Problem) -> Problem {
    problem.detail = format!(
        "no message of the batch was stored, for the one at index {place}, which holds its key, was refused: {}",
        problem.detail
    );
    problem
}
