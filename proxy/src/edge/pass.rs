//! The one layer around every handler: what happens to each request between the door and its handler, and to its
//! answer on the way back, in the order of these lines.
//!
//! In: a request on a connection whose path TLS verified. Out: its answer, counted and logged. Refused: whose
//! certificate is, what is beyond the bounds, what is beyond its client's rate. One layer, not one for each step: every
//! layer is a service to clone and two futures on the heap, for every message.

use std::sync::Arc;

use axum::{
    extract::{Extension, Request, State},
    middleware::Next,
    response::Response,
};
use shared::serve::{Connection, RequestId, check_bounds};

use super::{Admitted, Arrival, Principal, admit, arrive::Arrived, strip_claims};
use crate::{limit, routes::Edge};

/// The layer.
pub(crate) async fn pass(
    State(edge): State<Arc<Edge>>,
    Extension(connection): Extension<Arc<Connection>>,
    Extension(RequestId(request_id)): Extension<RequestId>,
    mut request: Request,
    next: Next,
) -> Response {
    let arrived = Arrived::now(&edge, request_id, &request);
    let arrival = arrived.arrival();
    strip_claims(request.headers_mut());
    let admitted = admit::admit(&edge, &connection, arrived.set_aside()).await;
    let answer = match &admitted {
        Ok(principal) => {
            let mut answer = admitted_on(&edge, &connection, principal, arrival, request, next).await;
            admit::tell_the_end(principal, answer.headers_mut());
            answer
        }
        Err(refusal) => admit::refused(*refusal, &connection, request_id),
    };
    arrived.answered(&edge, &connection, admitted.as_ref().ok(), answer)
}

async fn admitted_on(
    edge: &Edge,
    connection: &Connection,
    principal: &Arc<Principal>,
    arrival: Arrival,
    request: Request,
    next: Next,
) -> Response {
    // behind those that refuse certificates, whose holders are to hear of that whatever else is wrong
    let mut request = match check_bounds(connection, arrival.request_id, request) {
        Ok(request) => request,
        Err(refused) => return refused,
    };
    request.extensions_mut().insert(Admitted(principal.clone()));
    request.extensions_mut().insert(arrival.clone());
    limit::keep_to_rate(edge, principal, &arrival, request, next).await
}
