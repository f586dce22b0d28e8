//! The outermost layer: takes a request up under its id, and when it is answered counts, logs and notes it for the report.
//!
//! It also ends the connection after an answer that asks for it: a refused certificate's, or one given
//! with the body unread.

use std::{sync::Arc, time::Instant};

use axum::{
    extract::{Extension, MatchedPath, Request, State},
    middleware::Next,
    response::Response,
};
use http::{HeaderName, HeaderValue, Version, header};
use shared::{
    identity::Name,
    serve::{Connection, RequestId},
    wire::Code,
};
use tracing::info;
use uuid::Uuid;

use super::Admitted;
use crate::routes::Edge;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What a request is known by from its arrival on.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// Minted by the door.
    pub request_id: Uuid,
    /// W3C trace context, when the caller sent a valid one.
    pub traceparent: Option<String>,
}

/// Marks an answer after which the connection ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LastAnswer;

/// The layer.
pub(crate) async fn arrive(
    State(edge): State<Arc<Edge>>,
    Extension(connection): Extension<Arc<Connection>>,
    Extension(RequestId(request_id)): Extension<RequestId>,
    mut request: Request,
    next: Next,
) -> Response {
    let began = Instant::now();
    let arrival = Arrival {
        request_id,
        traceparent: request
            .headers()
            .get("traceparent")
            .and_then(|value| value.to_str().ok())
            .filter(|value| is_traceparent(value))
            .map(str::to_owned),
    };
    let (method, version) = (request.method().clone(), request.version());
    let path = request.extensions().get::<MatchedPath>().cloned();
    let path = path.as_ref().map_or("(none)", MatchedPath::as_str);
    request.extensions_mut().insert(arrival);

    let mut response = next.run(request).await;

    if let Ok(value) =
        HeaderValue::from_str(request_id.as_hyphenated().encode_lower(&mut Uuid::encode_buffer()))
    {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    if response.extensions().get::<LastAnswer>().is_some() {
        if version <= Version::HTTP_11 {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        connection.close();
    }
    let code = response.extensions().get::<Code>().copied();
    let fingerprint = connection.peer.certificate.fingerprint;
    let admitted = response.extensions().get::<Admitted>().map(|one| &one.0.client_id);
    match (code.filter(|code| refuses_the_holder(*code)), admitted) {
        (Some(code), _) => {
            edge.activity.refused(fingerprint, edge.authorizer.client_of(&fingerprint), code);
        }
        (None, Some(client_id)) => edge.activity.admitted(fingerprint, client_id),
        (None, None) => {}
    }
    let elapsed = began.elapsed();
    edge.metrics.answered(path, response.status(), code, elapsed);
    info!(
        target: "access",
        %request_id,
        client_id = admitted.map(Name::as_str),
        %fingerprint,
        remote = %connection.remote,
        %method,
        path,
        status = response.status().as_u16(),
        code = code.map(Code::as_str),
        micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
        "request"
    );
    response
}

/// Whether a code is about the certificate, so that the main server hears of it.
const fn refuses_the_holder(code: Code) -> bool {
    matches!(
        code,
        Code::CertificateRevoked
            | Code::CertificateExpired
            | Code::CertificateNotYetValid
            | Code::CertificateUnknown
            | Code::CertificateMismatch
            | Code::ClientSuspended
            | Code::RegistryStale
            | Code::CrlStale
    )
}

/// `00-<32 hex>-<16 hex>-<2 hex>`, ids not all zero (W3C Trace Context §3.2).
fn is_traceparent(text: &str) -> bool {
    let hex = |part: &str, length| {
        part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let set = |part: &str| part.bytes().any(|byte| byte != b'0');
    let mut parts = text.split('-');
    let (Some(version), Some(trace), Some(parent), Some(flags), None) =
        (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    version == "00" && hex(trace, 32) && set(trace) && hex(parent, 16) && set(parent) && hex(flags, 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_valid_traceparent_is_carried_on() {
        assert!(is_traceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
        for bad in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
        ] {
            assert!(!is_traceparent(bad), "{bad}");
        }
    }
}
