//! Every refusal the product can answer with: RFC 9457 problem details with a stable `code`.
//!
//! [`Code`] is the closed list: its word, status, title and type. Nothing answers an error in another shape.

use std::{borrow::Cow, fmt, num::NonZeroU32, time::Duration};

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

/// Declares the codes; one row is one refusal.
macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident, $word:literal, $status:ident, $title:literal;)*) => {
        /// The stable word of a refusal, on the wire and in metrics.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Code { $($(#[$doc])* $variant,)* }

        impl Code {
            /// Every code, in the order of their statuses.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The word on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// The HTTP status it is answered with.
            #[must_use]
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$variant => StatusCode::$status,)* }
            }

            /// A short sentence that is the same for every occurrence.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)* }
            }
        }
    };
}

codes! {
    /// The body is not one JSON value of the expected kind.
    InvalidJson, "invalid_json", BAD_REQUEST, "The body is not valid JSON";
    /// A member has a value it cannot have, or is missing.
    InvalidField, "invalid_field", BAD_REQUEST, "A field is missing or has an invalid value";
    /// A member nobody knows.
    UnknownField, "unknown_field", BAD_REQUEST, "The body has a field that is not known";
    /// No HTTP, or HTTP that could be read in two ways.
    InvalidRequest, "invalid_request", BAD_REQUEST, "The request is not HTTP as it is read here";
    /// Revoked, by SQL or by CRL.
    CertificateRevoked, "certificate_revoked", FORBIDDEN, "The certificate is revoked";
    /// Past its end, or past the end of its registration.
    CertificateExpired, "certificate_expired", FORBIDDEN, "The certificate has expired";
    /// Before its beginning.
    CertificateNotYetValid, "certificate_not_yet_valid", FORBIDDEN, "The certificate is not valid yet";
    /// Not registered.
    CertificateUnknown, "certificate_unknown", FORBIDDEN, "The certificate is not registered";
    /// Registered for another client than the one it names.
    CertificateMismatch, "certificate_mismatch", FORBIDDEN, "The certificate names another client";
    /// The client is suspended; this can be undone.
    ClientSuspended, "client_suspended", FORBIDDEN, "The client is suspended";
    /// A service whose certificate does not have a role that this door admits.
    RoleNotAdmitted, "role_not_admitted", FORBIDDEN, "This door does not admit the certificate's role";
    /// No such resource, or not the caller's.
    NotFound, "not_found", NOT_FOUND, "There is nothing here";
    /// The resource does not have this method.
    MethodNotAllowed, "method_not_allowed", METHOD_NOT_ALLOWED, "The method is not allowed here";
    /// The caller accepts none of the types we answer in.
    NotAcceptable, "not_acceptable", NOT_ACCEPTABLE, "None of the accepted types can be answered";
    /// The body did not arrive in time.
    RequestTimeout, "request_timeout", REQUEST_TIMEOUT, "The request did not arrive in time";
    /// The same key is being worked on at this moment.
    IdempotencyInFlight, "idempotency_in_flight", CONFLICT, "A request with this key is in flight";
    /// The body is larger than allowed.
    PayloadTooLarge, "payload_too_large", PAYLOAD_TOO_LARGE, "The body is too large";
    /// The path and the query are longer than allowed.
    UriTooLong, "uri_too_long", URI_TOO_LONG, "The target is too long";
    /// The body has a type or an encoding that is not read here.
    UnsupportedMediaType, "unsupported_media_type", UNSUPPORTED_MEDIA_TYPE, "The body's type is not supported";
    /// Something is expected that is not done here.
    ExpectationFailed, "expectation_failed", EXPECTATION_FAILED, "The expectation cannot be met";
    /// The key, or the id, was used with another payload.
    IdempotencyConflict, "idempotency_conflict", UNPROCESSABLE_ENTITY, "The key was used with another payload";
    /// No queue takes this message.
    Unroutable, "unroutable", UNPROCESSABLE_ENTITY, "No route takes this message";
    /// A feature that this server does not offer.
    NotEnabled, "not_enabled", UNPROCESSABLE_ENTITY, "This feature is not enabled";
    /// Too many requests.
    RateLimited, "rate_limited", TOO_MANY_REQUESTS, "The quota is exceeded";
    /// Too many messages wait.
    BacklogExceeded, "backlog_exceeded", TOO_MANY_REQUESTS, "Too many messages are waiting";
    /// As many connections with one certificate as it may have.
    TooManyConnections, "too_many_connections", TOO_MANY_REQUESTS, "Too many connections are open";
    /// Too many header lines, or too many bytes of them.
    HeadTooLarge, "head_too_large", REQUEST_HEADER_FIELDS_TOO_LARGE, "The head of the request is too large";
    /// A defect of ours.
    InternalError, "internal_error", INTERNAL_SERVER_ERROR, "An internal error";
    /// The registry snapshot is too old to decide by.
    RegistryStale, "registry_stale", SERVICE_UNAVAILABLE, "The client registry is out of date";
    /// The revocation list is too old to decide by.
    CrlStale, "crl_stale", SERVICE_UNAVAILABLE, "The revocation list is out of date";
    /// More work than this server takes on.
    Overloaded, "overloaded", SERVICE_UNAVAILABLE, "The server is overloaded";
    /// The next hop does not answer, or cannot store.
    UpstreamUnavailable, "upstream_unavailable", SERVICE_UNAVAILABLE, "The message store is unavailable";
}

impl Code {
    /// The problem type: the `RateLimit` draft's URI where one exists, else a URN of ours.
    #[must_use]
    pub fn type_uri(self) -> Cow<'static, str> {
        match self {
            Self::RateLimited => "https://iana.org/assignments/http-problem-types#quota-exceeded".into(),
            Self::Overloaded => {
                "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity".into()
            }
            other => format!("urn:portcullis:problem:{other}").into(),
        }
    }

    /// Whether the caller may send the same request again later: 429 and 503 carry `Retry-After`.
    #[must_use]
    pub fn retry_after(self) -> Option<u32> {
        matches!(self.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE).then_some(1)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One refusal, ready to be answered as `application/problem+json` (RFC 9457).
#[derive(Debug, Clone)]
pub struct Problem {
    /// The stable word.
    pub code: Code,
    /// What was wrong this time, and what to do about it.
    pub detail: String,
    /// The id of the refused request.
    pub request_id: Option<Uuid>,
    /// Seconds after which to come back, if that is known better than by the code.
    pub retry_after: Option<NonZeroU32>,
    /// The status it is answered with, if that is another one than its code's.
    pub status: Option<StatusCode>,
    /// Further members, such as `field` or `fingerprint`; none has the name of one above.
    pub members: Map<String, Value>,
}

/// The names of the members that every problem has.
const OWN: [&str; 6] = ["type", "title", "status", "detail", "code", "request_id"];

impl Problem {
    /// A problem with its code and what was wrong this time.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        let (detail, members) = (detail.into(), Map::new());
        Self { code, detail, request_id: None, retry_after: None, status: None, members }
    }

    /// Adds a member.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        debug_assert!(!OWN.contains(&name), "{name} would be written twice");
        self.members.insert(name.to_owned(), value.into());
        self
    }

    /// Says when to come back, in `Retry-After`: in whole seconds, never too early.
    #[must_use]
    pub fn after(mut self, wait: Duration) -> Self {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        self.retry_after = NonZeroU32::new(u32::try_from(seconds).unwrap_or(u32::MAX).max(1));
        self
    }

    /// Is answered with another status than its code's.
    #[must_use]
    pub const fn answered_with(mut self, status: StatusCode) -> Self {
        self.status = Some(status);
        self
    }

    fn status(&self) -> StatusCode {
        self.status.unwrap_or_else(|| self.code.status())
    }

    /// Says which request was refused.
    #[must_use]
    pub fn of_request(mut self, request_id: Uuid) -> Self {
        self.request_id = Some(request_id);
        self
    }

    /// As it is on the wire, `type` first.
    #[must_use]
    pub fn to_json(&self) -> String {
        let body = Body {
            type_uri: self.code.type_uri(),
            title: self.code.title(),
            status: self.status().as_u16(),
            detail: &self.detail,
            code: self.code,
            request_id: self.request_id,
            members: &self.members,
        };
        serde_json::to_string(&body).unwrap_or_default()
    }
}

#[derive(Serialize)]
struct Body<'a> {
    #[serde(rename = "type")]
    type_uri: Cow<'static, str>,
    title: &'static str,
    status: u16,
    detail: &'a str,
    code: Code,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<Uuid>,
    #[serde(flatten)]
    members: &'a Map<String, Value>,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status(), self.to_json()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after.map(NonZeroU32::get).or(self.code.retry_after()) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response.extensions_mut().insert(self.code);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_on_the_wire_is_the_word_in_metrics() {
        for code in Code::ALL {
            let json = serde_json::to_string(code).unwrap_or_default();
            assert_eq!(json, format!("\"{}\"", code.as_str()));
        }
    }

    #[test]
    fn a_problem_has_the_status_of_its_answer_once() {
        #[derive(Deserialize)]
        struct Read {
            status: u16,
            #[serde(flatten)]
            _others: Map<String, Value>,
        }
        let problem = Problem::new(Code::Overloaded, "busy").with("results", "none");
        for (problem, status) in
            [(problem.clone(), 503), (problem.answered_with(StatusCode::BAD_REQUEST), 400)]
        {
            // refuses a member that stands twice
            assert_eq!(serde_json::from_str::<Read>(&problem.to_json()).unwrap().status, status);
            assert_eq!(problem.into_response().status(), status);
        }
    }

    #[test]
    fn every_refusal_that_may_be_retried_says_when() {
        for code in Code::ALL {
            let retried = matches!(code.status().as_u16(), 429 | 503);
            assert_eq!(code.retry_after().is_some(), retried, "{code}");
        }
    }
}
