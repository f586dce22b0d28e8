//! Paths, methods and headers that ask for what is not done here.

use super::{Expected, MESSAGE, assert_nothing_else_arrived, assert_refused};
use crate::support::{Sender, shared_stack};

#[test]
fn headers_that_ask_for_what_is_not_done_are_refused_by_name() {
    let stack = shared_stack();
    let sender = Sender::new(stack);
    let url = sender.at("/api/v1/messages");
    let media: Expected = (415, "unsupported_media_type", "Content-Type");
    let encoding: Expected = (415, "unsupported_media_type", "Content-Encoding");
    let cases: [(&[&str], Expected); 11] = [
        // what curl says by itself: application/x-www-form-urlencoded
        (&[], media),
        (&["Content-Type:"], media),
        (&["Content-Type: text/plain"], media),
        (&["Content-Type: application/json; charset=iso-8859-1"], media),
        (&["Content-Type: application/jsonp"], media),
        (&["Content-Type: application/json", "Content-Encoding: gzip"], encoding),
        (&["Content-Type: application/json", "Content-Encoding: identity, br"], encoding),
        (&["Content-Type: application/json", "Accept: text/html"], (406, "not_acceptable", "Accept")),
        (
            &["Content-Type: application/json", "Accept: application/json;q=0"],
            (406, "not_acceptable", "Accept"),
        ),
        (
            &["Content-Type: application/json", "Idempotency-Key: \"two words\""],
            (400, "invalid_field", "Idempotency-Key"),
        ),
        (&["Content-Type: application/json", "Idempotency-Key;"], (400, "invalid_field", "Idempotency-Key")),
    ];
    for http in ["--http1.1", "--http2"] {
        for (headers, expected) in cases {
            let curl = sender.curl.clone().flag(http);
            let curl = headers.iter().fold(curl, |curl, header| curl.header(header));
            let answer = curl.post_plain(&url, MESSAGE).unwrap();
            assert_refused(&answer, expected, &format!("{headers:?}, {http}"));
        }
    }
    assert_nothing_else_arrived(stack, &sender);
}

#[test]
fn what_is_not_there_and_what_cannot_be_done_to_it_are_told_apart() {
    let stack = shared_stack();
    let sender = Sender::new(stack);
    for path in ["/", "/api/v1", "/api/v1/messages/", "/api/v2/messages", "/livez", "/readyz", "/metrics"] {
        assert_refused(&sender.get(path), (404, "not_found", ""), path);
        let posted = sender.curl.post(&sender.at(path), MESSAGE).unwrap();
        assert_refused(&posted, (404, "not_found", ""), path);
    }
    for (method, path, allowed) in [
        ("GET", "/api/v1/messages", "POST"),
        ("DELETE", "/api/v1/messages", "POST"),
        ("PUT", "/api/v1/messages", "POST"),
        ("POST", "/api/v1/whoami", "GET,HEAD"),
        ("POST", "/health", "GET,HEAD"),
        ("DELETE", "/api/v1/health", "GET,HEAD"),
    ] {
        let what = format!("{method} {path}");
        let answer = sender.curl.clone().with("--request", method).get(&sender.at(path)).unwrap();
        assert_refused(&answer, (405, "method_not_allowed", ""), &what);
        assert_eq!(answer.header("allow"), Some(allowed), "{what}");
    }
    assert_nothing_else_arrived(stack, &sender);
}
