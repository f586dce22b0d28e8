//! `GET /health`: a client's check that its certificate is admitted here.

use axum::{Extension, Json};
use serde_json::{Value, json};

use crate::edge::Admitted;

pub(crate) async fn health(Extension(Admitted(principal)): Extension<Admitted>) -> Json<Value> {
    Json(json!({"status": "ok", "client_id": principal.client_id}))
}
