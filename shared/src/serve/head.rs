//! What a request's head must be, beyond what the parser insists on: of our size, and with one reading.
//!
//! In: a head that hyper, the only parser, took for HTTP. Out: nothing. Refused: too long or too many parts, and what
//! RFC 9110, 9112 and 9113 forbid or leave open and no client needs. hyper itself removes `Content-Length` beside
//! `Transfer-Encoding`, reads the body by the latter and ends the connection after it (RFC 9112 §6.1), and folds equal
//! `Content-Length` lines into one (RFC 9110 §8.6): one reading each, so they are not looked at here.

use http::{
    HeaderMap, Method, Uri, Version,
    header::{CONTENT_LENGTH, EXPECT, HOST, TRANSFER_ENCODING},
    request::Parts,
    uri::{Authority, Scheme},
};

use super::{Limits, metrics::Bound};
use crate::wire::{Code, Problem};

/// A request that is refused for its head.
#[derive(Debug)]
pub(super) struct Breach {
    /// What it is counted under.
    pub(super) bound: Bound,
    pub(super) problem: Box<Problem>,
}

impl Breach {
    pub(super) fn of(bound: Bound, code: Code, text: impl Into<String>) -> Self {
        Self { bound, problem: Box::new(Problem::new(code, text)) }
    }
}

/// Holds a head to the bounds and the rules.
pub(super) fn check_head(head: &Parts, limits: &Limits) -> Result<(), Breach> {
    check_size(head, limits)?;
    check_form(head).map_err(|problem| Breach { bound: Bound::Malformed, problem })
}

/// The bytes of a head, about as they are in HTTP/1.1.
pub(super) fn size_of(head: &Parts) -> usize {
    let lines = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
    head.method.as_str().len() + target_length(&head.uri) + lines.sum::<usize>() + 12
}

fn check_size(head: &Parts, limits: &Limits) -> Result<(), Breach> {
    let target = target_length(&head.uri);
    if target > limits.target_bytes.0 {
        let text = format!("the target has {target} bytes, {} are allowed", limits.target_bytes.0);
        return Err(Breach::of(Bound::TargetBytes, Code::UriTooLong, text));
    }
    let lines = head.headers.len();
    if lines > limits.headers {
        let text = format!("there are {lines} header lines, {} are allowed", limits.headers);
        return Err(Breach::of(Bound::Headers, Code::HeadTooLarge, text));
    }
    let bytes = size_of(head);
    if bytes > limits.head_bytes.0 {
        let text = format!("the head has {bytes} bytes, {} are allowed", limits.head_bytes.0);
        return Err(Breach::of(Bound::HeadBytes, Code::HeadTooLarge, text));
    }
    Ok(())
}

fn target_length(target: &Uri) -> usize {
    target.authority().map_or(0, |authority| authority.as_str().len())
        + target.path_and_query().map_or(0, |path| path.as_str().len())
}

type Checked = Result<(), Box<Problem>>;

fn check_form(head: &Parts) -> Checked {
    if head.method == Method::CONNECT {
        return invalid("CONNECT is for proxies of connections, and this is none (RFC 9110 §9.3.6)");
    }
    if !head.uri.path().starts_with('/') {
        return invalid("the target must be a path (origin-form, RFC 9112 §3.2.1)");
    }
    if head.version == Version::HTTP_2 {
        check_http2(head)?;
    } else {
        check_http1(head)?;
    }
    check_framing(&head.headers)?;
    let expected = head.headers.get_all(EXPECT);
    if expected.iter().any(|value| !value.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        let text = "no other expectation than 100-continue is met here (RFC 9110 §10.1.1)";
        return Err(Box::new(Problem::new(Code::ExpectationFailed, text).with("field", "Expect")));
    }
    Ok(())
}

fn check_http1(head: &Parts) -> Checked {
    if head.uri.authority().is_some() || head.uri.scheme().is_some() {
        return invalid("the target must be a path: no proxy is asked here (RFC 9112 §3.2.2)");
    }
    let hosts = head.headers.get_all(HOST).iter().count();
    // HTTP/1.0 knows no Host
    if hosts == 0 && head.version < Version::HTTP_11 {
        return Ok(());
    }
    if hosts != 1 {
        return invalid_in("Host", "there must be one (RFC 9112 §3.2)");
    }
    check_host(&head.headers)
}

fn check_http2(head: &Parts) -> Checked {
    if head.uri.scheme().is_some_and(|scheme| *scheme != Scheme::HTTPS) {
        return invalid_in(":scheme", "must be https (RFC 9110 §7.4)");
    }
    let hosts = head.headers.get_all(HOST).iter().count();
    let authority = head.uri.authority();
    if hosts > 1 || (hosts == 0 && authority.is_none()) {
        return invalid_in("Host", "there must be one, or :authority (RFC 9113 §8.3.1)");
    }
    if authority.is_some_and(|authority| authority.as_str().contains('@')) {
        return invalid_in(":authority", "must not name a user (RFC 9113 §8.3.1)");
    }
    if hosts == 1 {
        check_host(&head.headers)?;
        let host = head.headers.get(HOST).map(http::HeaderValue::as_bytes);
        if let (Some(host), Some(authority)) = (host, authority)
            && !authority.as_str().as_bytes().eq_ignore_ascii_case(host)
        {
            return invalid_in("Host", "must not differ from :authority (RFC 9113 §8.3.1)");
        }
    }
    let padded = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    for (name, value) in &head.headers {
        let bytes = value.as_bytes();
        if padded(bytes.first()) || padded(bytes.last()) {
            return invalid_in(name.as_str(), "begins or ends with white space (RFC 9113 §8.2.1)");
        }
    }
    Ok(())
}

fn check_host(headers: &HeaderMap) -> Checked {
    let host = headers.get(HOST).and_then(|host| Authority::try_from(host.as_bytes()).ok());
    if host.is_some_and(|host| !host.host().is_empty() && !host.as_str().contains('@')) {
        return Ok(());
    }
    invalid_in("Host", "is no host, nor host:port (RFC 9110 §7.2)")
}

/// By what the end of a body is found.
fn check_framing(headers: &HeaderMap) -> Checked {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next()
        && (codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked"))
    {
        return invalid_in(
            "Transfer-Encoding",
            "other than one \"chunked\" is not read here (RFC 9112 §6.1)",
        );
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    if let Some(length) = lengths.next()
        && (lengths.next().is_some() || !length.as_bytes().iter().all(u8::is_ascii_digit))
    {
        return invalid_in("Content-Length", "must be one number (RFC 9110 §8.6)");
    }
    Ok(())
}

fn invalid(text: &str) -> Checked {
    Err(Box::new(Problem::new(Code::InvalidRequest, text)))
}

fn invalid_in(field: &str, text: &str) -> Checked {
    Err(Box::new(Problem::new(Code::InvalidRequest, format!("{field}: {text}")).with("field", field)))
}
