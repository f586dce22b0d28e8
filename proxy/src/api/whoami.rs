//! `GET /api/v1/whoami`: what the proxy sees of the caller. The first thing to try when in doubt.

use std::sync::Arc;

use axum::{Extension, extract::State, response::Response};
use http::StatusCode;
use serde_json::Value;
use shared::serve::Connection;

use super::json;
use crate::{
    edge::{Admitted, instant},
    routes::Edge,
};

pub(crate) async fn whoami(
    State(edge): State<Arc<Edge>>,
    Extension(Admitted(principal)): Extension<Admitted>,
    Extension(connection): Extension<Arc<Connection>>,
) -> Response {
    let rates = edge.rates.of(&principal);
    let (requests, bytes) = (rates.requests, rates.bytes);
    let validity = connection.peer.certificate.validity;
    let seen = serde_json::json!({
        "client_id": principal.client_id,
        "fingerprint": principal.fingerprint,
        "domain": principal.domain,
        "certificate": {
            "not_before": instant(validity.not_before),
            "not_after": instant(validity.not_after),
        },
        // the certificate, a CA above it or the registration, whichever ends first
        "expires_at": instant(principal.ends_at),
        "limits": {
            "body_bytes": edge.message.body.0,
            "message_body_characters": edge.message.characters,
            "batch_messages": edge.batch.messages,
            "batch_body_bytes": edge.batch.body_bytes.0,
            // null: no limit
            "requests_per_second": requests.map(|limit| number(limit.per_second)),
            "burst": requests.map(|limit| number(limit.burst)),
            "bytes_per_second": bytes.map(|limit| number(limit.per_second)),
            "bytes_burst": bytes.map(|limit| number(limit.burst)),
        },
    });
    json(StatusCode::OK, &seen)
}

/// As people write it: 10 and not 10.0.
fn number(number: f64) -> Value {
    number.to_string().parse().unwrap_or(Value::Null)
}
