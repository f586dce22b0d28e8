//! `GET /openapi.json`: what a listener answers, for programs. In: a document of `docs/openapi`, as it is checked in. Out:
//! a handler that serves it, to whoever the listener admits.

use axum::response::IntoResponse;
use http::{HeaderValue, header};

/// Answers with a document.
#[must_use]
pub fn serve(document: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], document)
}
