//! Admits a request or answers why not, with its body unread.
//!
//! A refused certificate gets its answer on every request it makes, and its connection ends with it.

use std::sync::Arc;

use axum::{
    extract::{Extension, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use shared::serve::Connection;

use super::{Arrival, Principal, arrive::LastAnswer};
use crate::routes::Edge;

/// The principal of an admitted request.
#[derive(Debug, Clone)]
pub struct Admitted(pub Principal);

/// The layer.
pub(crate) async fn admit(
    State(edge): State<Arc<Edge>>,
    Extension(connection): Extension<Arc<Connection>>,
    Extension(arrival): Extension<Arrival>,
    mut request: Request,
    next: Next,
) -> Response {
    match edge.authorizer.authorize(&connection.peer) {
        Ok(principal) => {
            let admitted = Admitted(principal);
            request.extensions_mut().insert(admitted.clone());
            let mut response = next.run(request).await;
            response.extensions_mut().insert(admitted);
            response
        }
        Err(refusal) => {
            let problem = refusal.to_problem(&connection.peer.certificate.fingerprint);
            let mut response = problem.of_request(arrival.request_id).into_response();
            response.extensions_mut().insert(LastAnswer);
            response
        }
    }
}
