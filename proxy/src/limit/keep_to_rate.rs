//! Holds each client to its rate, after its admission.
//!
//! In: a request of an admitted client, decided about when its head is in. Out: the answer with what is left, if the
//! client has a limit. Refused: 429 with when to come back; a small body is read and thrown away, so that the
//! connection stays.

use std::{sync::Arc, time::Instant};

use axum::{
    body::{Body, Bytes, HttpBody as _},
    extract::Request,
    middleware::Next,
    response::Response,
};
use http_body_util::BodyExt as _;
use shared::{
    identity::Name,
    wire::{Code, Problem},
};

use super::{
    admission::beyond,
    drain::drain,
    headers,
    rate::{ClientRates, Exceeded, Rates},
};
use crate::{
    api::{refuse, refuse_early},
    edge::{Arrival, Principal},
    metrics::Shed,
    routes::Edge,
};

/// Passes a request on if its client may make it, and tells what is left.
pub(crate) async fn keep_to_rate(
    edge: &Edge,
    principal: &Principal,
    arrival: &Arrival,
    request: Request,
    next: Next,
) -> Response {
    let rates = edge.rates.of(principal);
    if rates.requests.is_none() && rates.bytes.is_none() {
        return next.run(request).await;
    }
    let client = &principal.client_id;
    let body = request.body();
    // what is longer than anything that is read here is refused for that, and costs no more than that
    let longest = edge.message.body.0.max(edge.batch.body_bytes.0) as u64;
    let bytes = if body.is_end_stream() { Some(0) } else { body.size_hint().exact() };
    let bytes = bytes.map(|bytes| bytes.min(longest));
    let mut response = match edge.rates.take(client, rates, bytes, Instant::now()) {
        Ok(()) if bytes.is_none() && rates.bytes.is_some() => {
            next.run(counted(request, edge.rates.clone(), client.clone(), rates)).await
        }
        Ok(()) => next.run(request).await,
        Err(exceeded) => {
            edge.metrics.rate_limited(exceeded.policies);
            let problem = Problem::from(exceeded);
            if drain(request).await { refuse(problem, arrival) } else { refuse_early(problem, arrival) }
        }
    };
    headers::tell(response.headers_mut(), rates, edge.rates.left(client, rates, Instant::now()));
    response
}

/// Pays for a body of unknown length as it comes in.
fn counted(request: Request, all: Arc<ClientRates>, client: Name, rates: Rates) -> Request {
    request.map(|body| {
        Body::new(body.map_frame(move |frame| {
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            all.take_bytes(&client, rates, bytes, Instant::now());
            frame
        }))
    })
}

/// Takes the messages of a batch, its body complete, beside the first one, which was taken with its head. A client
/// is held to its own limit first.
pub(crate) fn take_messages(edge: &Edge, principal: &Principal, messages: usize) -> Result<(), Problem> {
    let (further, now) = (messages.saturating_sub(1), Instant::now());
    let rates = edge.rates.of(principal);
    if rates.requests.is_some() {
        edge.rates.take_messages(&principal.client_id, rates, further, now).map_err(|exceeded| {
            edge.metrics.rate_limited(exceeded.policies);
            Problem::from(exceeded)
        })?;
    }
    edge.admission.take_messages(further, now).map_err(|wait| {
        edge.metrics.shed(Shed::Cap);
        beyond(wait)
    })
}

impl From<Exceeded> for Problem {
    fn from(Exceeded { policies, wait }: Exceeded) -> Self {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        let text = format!(
            "you send more than your limit ({}): come back in {seconds} s; whoami shows your limits",
            policies.join(", ")
        );
        Self::new(Code::RateLimited, text).with("violated-policies", policies).after(wait)
    }
}
