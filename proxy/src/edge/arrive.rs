//! The two ends of a request: it is taken up under its id, and when it is answered counted, logged and noted for the
//! report.
//!
//! The latter also ends the connection after an answer that asks for it: a refused certificate's, or one given
//! with the body unread.

mod span;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    extract::{MatchedPath, Request},
    response::Response,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header};
use shared::{
    identity::Name,
    serve::{Connection, SetAside},
    telemetry::{ACCESS, write_at_once},
    traces::{TraceParent, TraceSpan},
    wire::Code,
};
use tracing::info;
use uuid::Uuid;

use super::Principal;
use crate::routes::Edge;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What a request is known by from its arrival on.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// Minted by the door.
    pub request_id: Uuid,
    /// The span that what is done for it belongs to: ours, if we record any; else the caller's, if it sent a valid one.
    pub traceparent: Option<TraceParent>,
}

/// Marks an answer after which the connection ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LastAnswer;

/// What is kept of a request until it is answered.
pub(super) struct Arrived {
    began: Instant,
    request_id: Uuid,
    method: &'static str,
    version: Version,
    path: Option<MatchedPath>,
    set_aside: Option<SetAside>,
    caller: Option<TraceParent>,
    span: Option<TraceSpan>,
}

impl Arrived {
    /// A request's head is in.
    pub(super) fn now(edge: &Edge, request_id: Uuid, request: &Request) -> Self {
        let set_aside: Option<SetAside> = request.extensions().get().cloned();
        // what its stages are counted from: a part must not be longer than the whole
        let began = set_aside.as_ref().and_then(SetAside::began).unwrap_or_else(Instant::now);
        let method = word(request.method());
        let path = request.extensions().get::<MatchedPath>().cloned();
        let caller = traceparent(request.headers());
        let span = span::begin(edge, method, words(path.as_ref()), caller);
        Self { began, request_id, method, version: request.version(), path, set_aside, caller, span }
    }

    /// What others know the request by.
    pub(super) fn arrival(&self) -> Arrival {
        let traceparent = self.span.as_ref().map(TraceSpan::context).or(self.caller);
        Arrival { request_id: self.request_id, traceparent }
    }

    /// The memory that is set aside for its body.
    pub(super) const fn set_aside(&self) -> Option<&SetAside> {
        self.set_aside.as_ref()
    }

    /// Its answer's head is ready.
    pub(super) fn answered(
        self,
        edge: &Edge,
        connection: &Connection,
        admitted: Option<&Arc<Principal>>,
        mut response: Response,
    ) -> Response {
        let Self { began, request_id, method, version, path, set_aside, mut span, .. } = self;
        let path = words(path.as_ref());
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
        let admitted = admitted.map(|one| &one.client_id);
        let refused = code.filter(|code| refuses_the_holder(*code));
        match (refused, admitted) {
            (Some(code), _) => {
                edge.activity.refused(fingerprint, edge.authorizer.client_of(&fingerprint), code);
            }
            (None, Some(client_id)) => edge.activity.admitted(fingerprint, client_id),
            (None, None) => {}
        }
        let elapsed = began.elapsed();
        let stages = set_aside.as_ref().map(SetAside::stages).unwrap_or_default();
        if let Some(span) = &mut span {
            span::describe(span, request_id, admitted, response.status(), code, stages);
        }
        edge.metrics.answered(path, response.status(), code, elapsed);
        info!(
            target: ACCESS,
            %request_id,
            client_id = admitted.map(Name::as_str),
            %fingerprint,
            remote = %connection.remote,
            method,
            path,
            status = response.status().as_u16(),
            code = code.map(Code::as_str),
            bytes = stages.bytes,
            receive_seconds = stages.receive.as_ref().map(Duration::as_secs_f64),
            wait_seconds = stages.wait.as_ref().map(Duration::as_secs_f64),
            store_seconds = stages.store.as_ref().map(Duration::as_secs_f64),
            seconds = elapsed.as_secs_f64(),
            "request"
        );
        if refused.is_some() {
            write_at_once();
        }
        response
    }
}

/// A route as it is written in the table of routes; what matches none has one word, whatever was asked for.
fn words(path: Option<&MatchedPath>) -> &str {
    path.map_or("(none)", MatchedPath::as_str)
}

/// Whether a code is about the certificate, so that the main server hears of it and its line does not wait.
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

/// The caller's span, if it says so once and in the form of the standard.
fn traceparent(headers: &HeaderMap) -> Option<TraceParent> {
    let mut values = headers.get_all("traceparent").iter();
    let value = values.next()?;
    if values.next().is_some() { None } else { TraceParent::parse(value.as_bytes()) }
}

/// A method that HTTP knows (RFC 9110 §9, RFC 5789). Others may be as long as a head and say anything; they have the word
/// that OpenTelemetry has for them.
fn word(method: &Method) -> &'static str {
    const KNOWN: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
    KNOWN.into_iter().find(|known| method == known).unwrap_or("_OTHER")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_that_http_does_not_know_is_not_repeated() {
        assert_eq!(["GET", "PATCH"].map(|name| word(&name.parse().unwrap())), ["GET", "PATCH"]);
        assert_eq!(["get", "+491511234567"].map(|name| word(&name.parse().unwrap())), ["_OTHER"; 2]);
    }

    #[test]
    fn a_trace_is_the_callers_only_if_it_says_so_once() {
        let one = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let mut headers = HeaderMap::new();
        assert_eq!(traceparent(&headers), None);
        headers.insert("traceparent", HeaderValue::from_static(one));
        assert_eq!(traceparent(&headers).map(|parent| parent.to_string()).as_deref(), Some(one));
        headers.append("traceparent", HeaderValue::from_static(one));
        assert_eq!(traceparent(&headers), None);
    }
}
