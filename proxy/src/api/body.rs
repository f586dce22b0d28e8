//! Reading a request's body: whole, under a limit and a deadline, of the one type that is read here.
//!
//! Refused with the rest unread: another content type or encoding, too many bytes, too slow a sender.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use http::{HeaderMap, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use shared::wire::{Code, Problem};
use tokio::time::timeout;

use crate::{config::MessageLimits, routes::Edge};

/// Checks the headers that describe the body and the answer.
pub(super) fn check_headers(headers: &HeaderMap, limits: &MessageLimits) -> Result<(), Problem> {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or("(not text)"));
    let content_type = text(header::CONTENT_TYPE);
    // Two of them are two readings of one body.
    let single = headers.get_all(header::CONTENT_TYPE).iter().count() == 1;
    if !(single && content_type.is_some_and(is_json)) {
        let found = content_type.unwrap_or("none");
        return Err(Problem::new(
            Code::UnsupportedMediaType,
            format!("content type {found:?} is not read here: send -H 'Content-Type: application/json'"),
        )
        .with("field", "Content-Type"));
    }
    let encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    let mut encodings = encodings.map(|value| value.to_str().unwrap_or("(not text)"));
    if let Some(encoding) = encodings.find(|one| !one.eq_ignore_ascii_case("identity")) {
        return Err(Problem::new(
            Code::UnsupportedMediaType,
            format!("content encoding {encoding:?} is not read here: send the body as it is"),
        )
        .with("field", "Content-Encoding"));
    }
    let accepted = headers.get_all(header::ACCEPT);
    let mut accepted = accepted.iter().filter_map(|value| value.to_str().ok()).peekable();
    if accepted.peek().is_some() && !accepted.any(accepts_json) {
        return Err(Problem::new(Code::NotAcceptable, "answers are application/json").with("field", "Accept"));
    }
    if headers.contains_key("idempotency-key") {
        // Ignoring it would promise what is not kept.
        return Err(Problem::new(Code::NotEnabled, "Idempotency-Key is not enabled on this server yet")
            .with("field", "Idempotency-Key"));
    }
    let length = text(header::CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
    if length.is_some_and(|length| length > limits.body.0 as u64) {
        return Err(too_large(limits));
    }
    Ok(())
}

/// Reads the body to its end.
pub(super) async fn read(edge: &Arc<Edge>, body: Body) -> Result<Bytes, Problem> {
    let limits = &edge.message;
    let whole = Limited::new(body, limits.body.0).collect();
    match timeout(limits.body_timeout.0, whole).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large(limits)),
        Ok(Err(_)) => Err(Problem::new(Code::InvalidJson, "the body ended before it was complete")),
        Err(_) => Err(Problem::new(
            Code::RequestTimeout,
            format!("the body was not complete after {:?}", limits.body_timeout),
        )),
    }
}

fn too_large(limits: &MessageLimits) -> Problem {
    Problem::new(Code::PayloadTooLarge, format!("the body may have at most {} bytes", limits.body.0))
        .with("limit_bytes", limits.body.0)
}

/// `application/json`, with or without parameters; a charset other than UTF-8 is refused (RFC 8259 §8.1).
fn is_json(value: &str) -> bool {
    let mut parts = value.split(';').map(str::trim);
    parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("application/json"))
        && parts.all(|parameter| match parameter.split_once('=') {
            Some((name, value)) if name.trim().eq_ignore_ascii_case("charset") => {
                value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
            }
            _ => true,
        })
}

/// Whether an Accept value takes JSON. A type that is listed with `q=0` is not accepted (RFC 9110 §12.4.2).
fn accepts_json(value: &str) -> bool {
    value.split(',').any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default();
        let takes = ["*/*", "application/*", "application/json", "application/problem+json"]
            .iter()
            .any(|one| kind.eq_ignore_ascii_case(one));
        let refused = parts.any(|part| {
            part.strip_prefix("q=").is_some_and(|q| q.parse::<f32>().is_ok_and(|weight| weight == 0.0))
        });
        takes && !refused
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_in_utf_8_is_the_only_type() {
        for good in
            ["application/json", "Application/JSON; charset=utf-8", "application/json;charset=\"UTF-8\""]
        {
            assert!(is_json(good), "{good}");
        }
        for bad in ["", "text/json", "application/jsonx", "application/json; charset=latin1"] {
            assert!(!is_json(bad), "{bad}");
        }
    }

    #[test]
    fn json_is_acceptable_by_range_unless_weighed_zero() {
        for good in ["*/*", "text/html, application/*;q=0.1", "application/problem+json"] {
            assert!(accepts_json(good), "{good}");
        }
        for bad in ["text/html", "application/json;q=0", "application/xml, text/*"] {
            assert!(!accepts_json(bad), "{bad}");
        }
    }
}
