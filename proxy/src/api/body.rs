//! Reading a request's body under a limit and a deadline, of a type that is read here.
//!
//! Refused with the rest unread: another content type or encoding, too many bytes, too slow a sender.

use axum::body::Body;
use http::{HeaderMap, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use shared::{
    config::Span,
    serve::BodyFault,
    wire::{Code, Problem},
};
use tokio::time::timeout;

use crate::config::MessageLimits;

/// One JSON text (RFC 8259).
pub(super) const JSON: &str = "application/json";

/// Checks the headers that describe the body and the answer; out comes the one of `types` that the body is of.
pub(super) fn check_headers(
    headers: &HeaderMap,
    types: &[&'static str],
    most_bytes: usize,
) -> Result<&'static str, Problem> {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or("(not text)"));
    let content_type = text(header::CONTENT_TYPE);
    // Two of them are two readings of one body.
    let single = headers.get_all(header::CONTENT_TYPE).iter().count() == 1;
    let media_type = content_type.filter(|_| single).and_then(|value| one_of(types, value));
    let Some(media_type) = media_type else {
        let found = content_type.unwrap_or("none");
        let (first, all) = (types.first().unwrap_or(&""), types.join(", "));
        let detail =
            format!("content type {found:?} is not read here, only {all}: send -H 'Content-Type: {first}'");
        return Err(Problem::new(Code::UnsupportedMediaType, detail).with("field", "Content-Type"));
    };
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
    let length = text(header::CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
    if length.is_some_and(|length| length > most_bytes as u64) {
        return Err(too_large(most_bytes));
    }
    Ok(media_type)
}

/// Hands the body over piece by piece, as it comes in, up to its end; stops at the first problem.
pub(super) async fn read_each(
    body: Body,
    most_bytes: usize,
    limit: Span,
    mut take: impl FnMut(&[u8]) -> Result<(), Problem>,
) -> Result<(), Problem> {
    let mut body = Limited::new(body, most_bytes);
    let all = async {
        while let Some(frame) = body.frame().await {
            match frame {
                // trailers say nothing here
                Ok(frame) => frame.data_ref().map_or(Ok(()), |data| take(data))?,
                Err(error) if error.is::<LengthLimitError>() => return Err(too_large(most_bytes)),
                Err(error) => return Err(BodyFault::problem(error.as_ref())),
            }
        }
        Ok(())
    };
    timeout(limit.0, all).await.unwrap_or_else(|_| {
        Err(Problem::new(Code::RequestTimeout, format!("the body was not complete after {limit:?}")))
    })
}

/// Reads a body that is one message, to its end.
pub(super) async fn read(body: Body, limits: &MessageLimits) -> Result<Vec<u8>, Problem> {
    let mut whole = Vec::new();
    read_each(body, limits.body.0, limits.body_timeout, |piece| {
        whole.extend_from_slice(piece);
        Ok(())
    })
    .await?;
    Ok(whole)
}

fn too_large(most_bytes: usize) -> Problem {
    Problem::new(Code::PayloadTooLarge, format!("the body may have at most {most_bytes} bytes"))
        .with("limit_bytes", most_bytes)
}

/// The one of `types` that a value names, with or without parameters; a charset other than UTF-8 is refused
/// (RFC 8259 §8.1).
fn one_of(types: &[&'static str], value: &str) -> Option<&'static str> {
    let mut parts = value.split(';').map(str::trim);
    let named = parts.next()?;
    let utf_8 = parts.all(|parameter| match parameter.split_once('=') {
        Some((name, value)) if name.trim().eq_ignore_ascii_case("charset") => {
            value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
        }
        _ => true,
    });
    types.iter().copied().find(|one| utf_8 && named.eq_ignore_ascii_case(one))
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

    fn is_json(value: &str) -> bool {
        one_of(&[JSON], value).is_some()
    }

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
