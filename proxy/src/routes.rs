//! Every route of the client door.

use std::sync::Arc;

use axum::{
    Extension, Router, middleware,
    routing::{get, post},
};
use shared::{
    traces::Traces,
    wire::{Code, Problem},
};

use crate::{
    activity::Activity,
    api,
    config::{BatchLimits, MessageLimits},
    edge::{self, Arrival, Authorizer},
    forward::Forward,
    limit::{Admission, ClientRates, Refusals},
    metrics::Metrics,
};

/// What the layer and the handlers of the client door share.
#[derive(Debug)]
pub(crate) struct Edge {
    pub(crate) authorizer: Arc<Authorizer>,
    pub(crate) forward: Forward,
    pub(crate) message: MessageLimits,
    pub(crate) batch: BatchLimits,
    pub(crate) batches: Arc<api::Places>,
    pub(crate) rates: Arc<ClientRates>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) refusals: Arc<Refusals>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) activity: Arc<Activity>,
    pub(crate) traces: Traces,
}

/// The routes, in the one layer that every request passes.
pub(crate) fn routes(edge: Arc<Edge>) -> Router {
    Router::new()
        .route("/api/v1/messages", post(api::submit))
        .route("/api/v1/messages/batch", post(api::submit_batch))
        .route("/api/v1/messages/{message_id}", get(api::status))
        .route("/api/v1/whoami", get(api::whoami))
        .route("/api/v1/health", get(api::health))
        .route("/health", get(api::health))
        .route("/openapi.json", get(api::openapi))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn_with_state(edge.clone(), edge::pass))
        .with_state(edge)
}

async fn not_found(Extension(arrival): Extension<Arrival>) -> Problem {
    Problem::new(Code::NotFound, "no such resource; messages are posted to /api/v1/messages")
        .of_request(arrival.request_id)
}

async fn method_not_allowed(Extension(arrival): Extension<Arrival>) -> Problem {
    Problem::new(Code::MethodNotAllowed, "the Allow header lists the methods of this resource")
        .of_request(arrival.request_id)
}
