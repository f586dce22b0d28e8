//! `GET /openapi.json`: what this door answers, for programs; to admitted clients, like everything here.

use axum::response::IntoResponse;

const DOCUMENT: &str = include_str!("../../../docs/openapi/proxy.json");

pub(crate) async fn openapi() -> impl IntoResponse {
    shared::openapi::serve(DOCUMENT)
}
