//! `GET /health`: a client's check that its certificate is admitted here.

use axum::{Extension, response::Response};
use http::StatusCode;
use serde::Serialize;
use shared::identity::Name;

use super::json;
use crate::edge::Admitted;

#[derive(Serialize)]
struct Health<'a> {
    status: &'static str,
    client_id: &'a Name,
}

pub(crate) async fn health(Extension(Admitted(principal)): Extension<Admitted>) -> Response {
    json(StatusCode::OK, &Health { status: "ok", client_id: &principal.client_id })
}
