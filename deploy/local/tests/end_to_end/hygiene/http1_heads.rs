//! HTTP/1.1: request lines, targets, header lines.

use super::{
    Met::{Answered, AnsweredForGood, Closed, Refused, RefusedForGood, Stored},
    http1::{MESSAGE, Probe, assert_met, post, probe},
};
use crate::support::shared_stack;

/// A GET of `/health` with these header lines after `Host`.
fn get(lines: &str) -> String {
    format!("GET /health HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n")
}

fn length() -> String {
    format!("Content-Length: {}\r\n", MESSAGE.len())
}

#[test]
fn a_request_line_has_one_reading() {
    const BROKEN: super::Met = RefusedForGood("invalid_request");
    let line = |line: &str| format!("{line}\r\nHost: localhost\r\n\r\n");
    let probes = [
        ("HTTP/0.9", "9112 §2.3", "GET /health\r\n".to_owned(), BROKEN),
        ("HTTP/0.9 by name", "9112 §2.3", line("GET /health HTTP/0.9"), BROKEN),
        ("HTTP/1.2", "9112 §2.3", line("GET /health HTTP/1.2"), BROKEN),
        ("HTTP/2.0 in text", "9112 §2.3", line("GET /health HTTP/2.0"), BROKEN),
        ("a version in lower case", "9112 §2.3", line("GET /health http/1.1"), BROKEN),
        ("HTTP/1.0 without Host", "9112 §3.2", "GET /health HTTP/1.0\r\n\r\n".to_owned(), AnsweredForGood),
        ("HTTP/1.0, kept", "9112 §9.3", line("GET /health HTTP/1.0\r\nConnection: keep-alive"), Answered),
        ("an empty line before", "9112 §2.2", format!("\r\n{}", get("")), Answered),
        ("two spaces", "9112 §3", line("GET  /health HTTP/1.1"), BROKEN),
        ("a tab", "9112 §3", line("GET\t/health HTTP/1.1"), BROKEN),
        ("white space at the end", "9112 §3", line("GET /health HTTP/1.1 "), BROKEN),
        ("a space in the target", "9112 §3.2", line("GET /hea lth HTTP/1.1"), BROKEN),
        ("NUL in the method", "9110 §9.1", line("GE\0T /health HTTP/1.1"), BROKEN),
        ("no token as method", "9110 §9.1", line("G@T /health HTTP/1.1"), BROKEN),
        ("no method", "9112 §3", line(" /health HTTP/1.1"), BROKEN),
        ("a method in lower case", "9110 §9.1", line("get /health HTTP/1.1"), Refused("method_not_allowed")),
        ("NUL in the target", "9112 §3.2", line("GET /hea\0lth HTTP/1.1"), BROKEN),
        ("the preface of HTTP/2", "9113 §3.4", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), Closed),
        ("bytes of TLS", "9112 §2.2", "\u{16}\u{3}\u{1}\u{2}\r\n\r\n".to_owned(), BROKEN),
    ];
    let probes = probes.map(|(what, section, bytes, met)| probe(what, section, bytes, met));
    assert_met(shared_stack(), probes.into());
}

#[test]
fn only_a_path_is_a_target() {
    const BROKEN: super::Met = RefusedForGood("invalid_request");
    let line = |line: &str| format!("{line} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let probes = [
        ("absolute-form", "9112 §3.2.2", line("GET http://localhost/health"), BROKEN),
        ("absolute-form of another", "9112 §3.2.2", line("GET https://example.org/health"), BROKEN),
        ("asterisk-form", "9112 §3.2.4", line("OPTIONS *"), BROKEN),
        ("asterisk-form of a POST", "9112 §3.2.4", line("POST *"), BROKEN),
        ("authority-form", "9112 §3.2.3", line("CONNECT localhost:8001"), BROKEN),
        ("authority-form of a GET", "9112 §3.2.3", line("GET localhost:8001"), BROKEN),
        ("CONNECT to a path", "9110 §9.3.6", line("CONNECT /health"), BROKEN),
        ("a path without its slash", "9112 §3.2.1", line("GET health"), BROKEN),
        ("two slashes", "9112 §3.2.1", line("GET //localhost/health"), Refused("not_found")),
        ("dots", "3986 §6.2.2.3", line("GET /x/../health"), Refused("not_found")),
        ("dots in hexadecimal", "3986 §6.2.2.2", line("GET /x/%2e%2e/health"), Refused("not_found")),
        ("a fragment, which is dropped", "9112 §3.2.1", line("GET /health#x"), Answered),
        (
            "a target too long",
            "9110 §4.1",
            line(&format!("GET /{}", "x".repeat(8192))),
            RefusedForGood("uri_too_long"),
        ),
    ];
    let probes = probes.map(|(what, section, bytes, met)| probe(what, section, bytes, met));
    assert_met(shared_stack(), probes.into());
}

#[test]
fn there_is_one_host() {
    const BROKEN: super::Met = RefusedForGood("invalid_request");
    let hosts = |lines: &str| format!("GET /health HTTP/1.1\r\n{lines}\r\n");
    let probes = [
        ("no Host", "9112 §3.2", hosts(""), BROKEN),
        ("Host twice", "9112 §3.2", hosts("Host: localhost\r\nHost: localhost\r\n"), BROKEN),
        ("two Hosts", "9112 §3.2", hosts("Host: localhost\r\nHost: example.org\r\n"), BROKEN),
        (
            "two Hosts of HTTP/1.0",
            "9112 §3.2",
            "GET /health HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n".to_owned(),
            BROKEN,
        ),
        ("an empty Host", "9110 §7.2", hosts("Host:\r\n"), BROKEN),
        ("a Host with a list", "9110 §7.2", hosts("Host: localhost, example.org\r\n"), BROKEN),
        ("a Host with a user", "9110 §4.2.4", hosts("Host: user@localhost\r\n"), BROKEN),
        ("a Host with a path", "9110 §7.2", hosts("Host: localhost/x\r\n"), BROKEN),
        ("a Host with a space", "9110 §7.2", hosts("Host: local host\r\n"), BROKEN),
        ("a Host with a port", "9110 §7.2", hosts("Host: localhost:8001\r\n"), Answered),
        ("a Host of IPv6", "9110 §7.2", hosts("Host: [::1]:8001\r\n"), Answered),
    ];
    let probes = probes.map(|(what, section, bytes, met)| probe(what, section, bytes, met));
    assert_met(shared_stack(), probes.into());
}

#[test]
fn a_header_line_has_one_reading() {
    const BROKEN: super::Met = RefusedForGood("invalid_request");
    let mut probes: Vec<Probe> = [
        ("no colon", "9112 §5", get("X-A\r\n"), BROKEN),
        ("a space before the colon", "9112 §5.1", get("X-A : 1\r\n"), BROKEN),
        ("a space before the colon of a length", "9112 §5.1", get("Content-Length : 5\r\n"), BROKEN),
        (
            "a space before the first line",
            "9112 §2.2",
            "GET /health HTTP/1.1\r\n Host: localhost\r\n\r\n".to_owned(),
            BROKEN,
        ),
        ("a folded line", "9112 §5.2", get("X-A: 1\r\n 2\r\n"), BROKEN),
        ("a folded line by a tab", "9112 §5.2", get("X-A: 1\r\n\t2\r\n"), BROKEN),
        ("no name", "9110 §5.1", get(": 1\r\n"), BROKEN),
        ("a name with NUL", "9110 §5.1", get("X-\0A: 1\r\n"), BROKEN),
        ("a name that is no token", "9110 §5.1", get("X(A): 1\r\n"), BROKEN),
        ("a name with a space", "9110 §5.1", get("X A: 1\r\n"), BROKEN),
        ("a value with NUL", "9110 §5.5", get("X-A: 1\x002\r\n"), BROKEN),
        ("a value with a bell", "9110 §5.5", get("X-A: 1\x072\r\n"), BROKEN),
        ("a value with DEL", "9110 §5.5", get("X-A: 1\x7f2\r\n"), BROKEN),
        ("a bare CR in a value", "9112 §2.2", get("X-A: 1\r2\r\n"), BROKEN),
        ("a bare CR as the end of a line", "9112 §2.2", get("X-A: 1\rX-B: 2\r\n"), BROKEN),
        // §2.2 lets a single LF end a line: it then does, for whatever is on the next one
        ("bare LFs", "9112 §2.2", get("X-A: 1\r\n").replace("\r\n", "\n"), Answered),
        ("a length behind a bare LF", "9112 §2.2", post(&format!("X-A: 1\n{}", length()), MESSAGE), Stored),
        ("letters beyond ASCII in a value", "9110 §5.5", get("X-A: ä\r\n"), Answered),
        (
            "an unknown expectation",
            "9110 §10.1.1",
            get("Expect: the-unexpected\r\n"),
            RefusedForGood("expectation_failed"),
        ),
        (
            "HTTP/2 without TLS, asked for",
            "9110 §7.8",
            get(
                "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAA\r\n",
            ),
            Answered,
        ),
        ("a websocket", "9110 §7.8", get("Connection: Upgrade\r\nUpgrade: websocket\r\n"), Answered),
        (
            "a length called a hop's own",
            "9110 §7.6.1",
            post(&format!("Connection: content-length\r\n{}", length()), MESSAGE),
            Stored,
        ),
        ("the wish to end", "9112 §9.6", get("Connection: close\r\n"), AnsweredForGood),
        (
            "the wish to end, and not to",
            "9112 §9.6",
            get("Connection: close\r\nConnection: keep-alive\r\n"),
            AnsweredForGood,
        ),
        ("another method by a header", "9110 §9.1", get("X-HTTP-Method-Override: POST\r\n"), Answered),
        ("64 lines", "9110 §5.4", get(&"X-A: 1\r\n".repeat(63)), Answered),
        ("65 lines", "9110 §5.4", get(&"X-A: 1\r\n".repeat(64)), RefusedForGood("head_too_large")),
        (
            "more lines than the parser reads",
            "9110 §5.4",
            get(&"X-A: 1\r\n".repeat(200)),
            RefusedForGood("head_too_large"),
        ),
        (
            "17 KiB",
            "9110 §5.4",
            get(&format!("X-A: {}\r\n", "x".repeat(17 * 1024))),
            RefusedForGood("head_too_large"),
        ),
        (
            "more bytes than the parser reads",
            "9110 §5.4",
            get(&format!("X-A: {}\r\n", "x".repeat(40 * 1024))),
            RefusedForGood("head_too_large"),
        ),
    ]
    .into_iter()
    .map(|(what, section, bytes, met)| probe(what, section, bytes, met))
    .collect();
    probes.push(probe(
        "a value in Latin-1",
        "9110 §5.5",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-A: \xe4\r\n\r\n",
        Answered,
    ));
    assert_met(shared_stack(), probes);
}
