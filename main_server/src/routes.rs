//! Every route of both doors, and the order of the layers around them.
//!
//! ```text
//! request ─▶ count refusals ─▶ admit (role, registry, revocation lists, validity) ─▶ keep bounds ─▶ the route's role ─▶ handler
//! ```
//!
//! A handler reads its body, asks the caller's admission again, and only then touches the queue.

use std::sync::Arc;

use axum::{
    Extension, Router,
    extract::{Request, State},
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use shared::{
    identity::Role,
    serve::{Connection, keep_bounds},
    wire::{Code, Problem},
};

use crate::{
    admission::{Admission, Known},
    api::{Api, openapi, operator, proxy, worker},
    refusals::DoorRefusals,
};

/// The proxies' door.
pub fn proxy_door(api: Arc<Api>, known: &Known, refusals: DoorRefusals) -> Router {
    let routes = Router::new()
        .route("/internal/v1/messages", post(proxy::submit))
        .route("/internal/v1/messages/status", post(proxy::status))
        .route("/internal/v1/reports", post(proxy::report));
    let admission = Admission::of(&[Role::Proxy], known.clone(), refusals.clone());
    layered(routes.with_state(api), admission, refusals)
}

/// The workers' door. Operators come here too; each route admits one of the two, the document both.
pub fn worker_door(api: Arc<Api>, known: &Known, refusals: DoorRefusals) -> Router {
    let admission = |roles| Admission::of(roles, known.clone(), refusals.clone());
    let workers = Router::new()
        .route("/api/v1/jobs/lease", post(worker::lease))
        .route("/api/v1/jobs/renew", post(worker::renew))
        .route("/api/v1/jobs/complete", post(worker::complete))
        .route("/api/v1/jobs/fail", post(worker::fail))
        .route_layer(from_fn_with_state(admission(&[Role::Worker]), admit));
    let operators = Router::new()
        .route("/api/v1/queues", get(operator::queues))
        .route("/api/v1/dead-letters", get(operator::list))
        .route("/api/v1/dead-letters/export", get(operator::export))
        .route("/api/v1/dead-letters/redrive", post(operator::redrive))
        .route("/api/v1/dead-letters/discard", post(operator::discard))
        .route("/api/v1/dead-letters/{message_id}", get(operator::one))
        .route_layer(from_fn_with_state(admission(&[Role::Operator]), admit));
    let either = admission(&[Role::Worker, Role::Operator]);
    let both = Router::new().route("/openapi.json", get(openapi));
    layered(workers.merge(operators).merge(both).with_state(api), either, refusals)
}

/// The layers, the last one outermost. They cover unknown paths too: a stranger learns nothing of the routes.
fn layered(routes: Router, admission: Admission, refusals: DoorRefusals) -> Router {
    routes
        .fallback(|| async { Problem::new(Code::NotFound, "no such path on this door") })
        .method_not_allowed_fallback(|| async {
            Problem::new(Code::MethodNotAllowed, "this path has other methods, see Allow")
        })
        .layer(from_fn(keep_bounds))
        .layer(from_fn_with_state(admission, admit))
        .layer(from_fn_with_state(refusals, count_refusals))
}

async fn admit(
    State(admission): State<Admission>,
    Extension(connection): Extension<Arc<Connection>>,
    mut request: Request,
    next: Next,
) -> Response {
    let caller = admission.caller(connection);
    if let Err(problem) = caller.authorize() {
        return problem.into_response();
    }
    request.extensions_mut().insert(caller);
    next.run(request).await
}

async fn count_refusals(State(refusals): State<DoorRefusals>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    if let Some(code) = response.extensions().get::<Code>() {
        refusals.count(*code);
    }
    response
}
