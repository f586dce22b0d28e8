//! `GET /openapi.json` at the worker door: what it answers, for programs; to workers and operators.

use axum::response::IntoResponse;

const DOCUMENT: &str = include_str!("../../../docs/openapi/main_server.json");

/// Answers the document.
pub async fn openapi() -> impl IntoResponse {
    shared::openapi::serve(DOCUMENT)
}
