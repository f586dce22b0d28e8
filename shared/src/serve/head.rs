//! What a request's head must be, beyond what the parser insists on: of our size, and with one reading.
//!
//! In: a head that hyper, the only parser, took for HTTP. Out: nothing. Refused: too long or too many parts, and what
//! RFC 9110, 9112 and 9113 forbid or leave open and no client needs. hyper itself removes `Content-Length` beside
//! `Transfer-Encoding`, reads the body by the latter and ends the connection after it (RFC 9112 §6.1), and folds equal
//! `Content-Length` lines into one (RFC 9110 §8.6): one reading each, so they are not looked at here.

use http::{
    HeaderMap, HeaderName, Method, Uri, Version,
    header::{CONTENT_LENGTH, EXPECT, HOST, TRANSFER_ENCODING},
    request::Parts,
    uri::{Authority, Scheme},
};

use super::{Limits, metrics::Bound};
use crate::wire::{Code, Problem};

/// Holds a head to the bounds and the rules; beside the problem, the bound that it is counted under.
pub(super) fn check_head(head: &Parts, limits: &Limits) -> Result<(), (Bound, Problem)> {
    check_size(head, limits)?;
    check_form(head).map_err(|problem| (Bound::Malformed, problem))
}

/// The bytes of a head, about as they are in HTTP/1.1.
pub(super) fn size_of(head: &Parts) -> usize {
    let lines = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
    head.method.as_str().len() + target_length(&head.uri) + lines.sum::<usize>() + 12
}

fn check_size(head: &Parts, limits: &Limits) -> Result<(), (Bound, Problem)> {
    let target = target_length(&head.uri);
    if target > limits.target_bytes.0 {
        let text = format!("the target has {target} bytes, {} are allowed", limits.target_bytes.0);
        return Err((Bound::TargetBytes, Problem::new(Code::UriTooLong, text)));
    }
    let lines = head.headers.len();
    if lines > limits.headers {
        let text = format!("there are {lines} header lines, {} are allowed", limits.headers);
        return Err((Bound::Headers, Problem::new(Code::HeadTooLarge, text)));
    }
    let bytes = size_of(head);
    if bytes > limits.head_bytes.0 {
        let text = format!("the head has {bytes} bytes, {} are allowed", limits.head_bytes.0);
        return Err((Bound::HeadBytes, Problem::new(Code::HeadTooLarge, text)));
    }
    Ok(())
}

fn target_length(target: &Uri) -> usize {
    target.authority().map_or(0, |authority| authority.as_str().len())
        + target.path_and_query().map_or(0, |path| path.as_str().len())
}

fn check_form(head: &Parts) -> Result<(), Problem> {
    if head.method == Method::CONNECT {
        return Err(invalid("CONNECT is for proxies of connections, and this is none (RFC 9110 §9.3.6)"));
    }
    if !head.uri.path().starts_with('/') {
        return Err(invalid("the target must be a path (origin-form, RFC 9112 §3.2.1)"));
    }
    if head.version == Version::HTTP_2 {
        check_http2(head)?
    } else {
        check_http1(head)?
    }
    check_framing(&head.headers)?;
    let expected = head.headers.get_all(EXPECT);
    if expected.iter().any(|value| !value.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        let text = "no other expectation than 100-continue is met here (RFC 9110 §10.1.1)";
        return Err(Problem::new(Code::ExpectationFailed, text).with("field", "Expect"));
    }
    Ok(())
}

fn check_http1(head: &Parts) -> Result<(), Problem> {
    if head.uri.authority().is_some() || head.uri.scheme().is_some() {
        return Err(invalid("the target must be a path: no proxy is asked here (RFC 9112 §3.2.2)"));
    }
    let hosts = head.headers.get_all(HOST).iter().count();
    // HTTP/1.0 knows no Host
    if hosts == 0 && head.version < Version::HTTP_11 {
        return Ok(());
    }
    if hosts != 1 {
        return Err(invalid("there must be one Host (RFC 9112 §3.2)").with("field", "Host"));
    }
    check_host(&head.headers)
}

fn check_http2(head: &Parts) -> Result<(), Problem> {
    if head.uri.scheme().is_some_and(|scheme| *scheme != Scheme::HTTPS) {
        return Err(invalid(":scheme must be https (RFC 9110 §7.4)").with("field", ":scheme"));
    }
    let hosts = head.headers.get_all(HOST).iter().count();
    let authority = head.uri.authority();
    if hosts > 1 || (hosts == 0 && authority.is_none()) {
        return Err(invalid("there must be :authority or one Host (RFC 9113 §8.3.1)").with("field", "Host"));
    }
    if authority.is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(invalid(":authority names no user (RFC 9113 §8.3.1)").with("field", ":authority"));
    }
    if hosts == 1 {
        check_host(&head.headers)?;
        let host = head.headers.get(HOST).map(http::HeaderValue::as_bytes);
        if let (Some(host), Some(authority)) = (host, authority)
            && !authority.as_str().as_bytes().eq_ignore_ascii_case(host)
        {
            return Err(invalid(":authority and Host differ (RFC 9113 §8.3.1)").with("field", "Host"));
        }
    }
    let padded = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    for (name, value) in &head.headers {
        let bytes = value.as_bytes();
        if padded(bytes.first()) || padded(bytes.last()) {
            return Err(field("begins or ends with white space (RFC 9113 §8.2.1)", name));
        }
    }
    Ok(())
}

fn check_host(headers: &HeaderMap) -> Result<(), Problem> {
    let host = headers.get(HOST).and_then(|host| Authority::try_from(host.as_bytes()).ok());
    if host.is_some_and(|host| !host.host().is_empty() && !host.as_str().contains('@')) {
        return Ok(());
    }
    Err(invalid("this is no host, nor host:port (RFC 9110 §7.2)").with("field", "Host"))
}

/// By what the end of a body is found.
fn check_framing(headers: &HeaderMap) -> Result<(), Problem> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next()
        && (codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked"))
    {
        return Err(field("other than one \"chunked\" is not read here (RFC 9112 §6.1)", &TRANSFER_ENCODING));
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    if let Some(length) = lengths.next()
        && (lengths.next().is_some() || !length.as_bytes().iter().all(u8::is_ascii_digit))
    {
        return Err(field("must be one number (RFC 9110 §8.6)", &CONTENT_LENGTH));
    }
    Ok(())
}

fn invalid(text: &str) -> Problem {
    Problem::new(Code::InvalidRequest, text)
}

fn field(text: &str, name: &HeaderName) -> Problem {
    invalid(&format!("{name}: {text}")).with("field", name.as_str())
}
