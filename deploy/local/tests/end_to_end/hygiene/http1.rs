//! The probing of HTTP/1.1: one connection for each probe, and what is read of it.

use local::Stack;
use rustls::version::TLS13;

use super::{Met, assert_stored};
use crate::support::{
    Sender,
    caller::{Call, Caller},
};

pub(super) const MESSAGE: &str = r#"{"sender_number":"+1234567890","message_body":"probe"}"#;

/// What is sent, where it is spoken of, what it is answered.
pub(super) struct Probe {
    pub(super) what: &'static str,
    pub(super) section: &'static str,
    pub(super) bytes: Vec<u8>,
    pub(super) met: Met,
}

pub(super) fn probe(what: &'static str, section: &'static str, bytes: impl Into<Vec<u8>>, met: Met) -> Probe {
    Probe { what, section, bytes: bytes.into(), met }
}

/// A whole request that stores a message, if it is taken for one.
pub(super) fn hidden() -> String {
    post(&format!("Content-Length: {}\r\n", MESSAGE.len()), MESSAGE)
}

/// A POST of a message with these header lines, each with its end, and this body.
pub(super) fn post(lines: &str, body: &str) -> String {
    format!(
        "POST /api/v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{lines}\r\n{body}"
    )
}

/// The message as a chunk, and the end of a chunked body.
pub(super) fn chunked() -> String {
    format!("{:x}\r\n{MESSAGE}\r\n0\r\n\r\n", MESSAGE.len())
}

/// Makes each probe on a connection of its own, and a hidden request after it.
pub(super) fn assert_met(stack: &Stack, probes: Vec<Probe>) {
    let sender = Sender::new(stack);
    let caller = Caller::of(&sender.client, &TLS13).speaking(b"http/1.1");
    let mut stored = 0;
    for Probe { what, section, bytes, met } in probes {
        let what = format!("{what} ({section})");
        let mut call = caller.connect(stack.url()).unwrap();
        call.send(&bytes).unwrap();
        if met.ends_the_connection() {
            // what comes after it is on its way, too
            let _ = call.send(hidden().as_bytes());
        }
        meet(&mut call, met, &what);
        stored += usize::from(met.is_stored());
        assert_stored(stack, &sender, stored);
    }
}

fn meet(call: &mut Call, met: Met, what: &str) {
    if met != Met::Closed {
        let (status, body) = call.answer().unwrap_or_else(|error| panic!("{what}: {error}"));
        match met {
            Met::Stored | Met::StoredForGood => assert_eq!(status, 202, "{what}: {body}"),
            Met::Answered | Met::AnsweredForGood => assert_eq!(status, 200, "{what}: {body}"),
            _ => assert_problem(status, &body, met, what),
        }
    }
    if met.ends_the_connection() {
        assert_eq!(call.read_to_close().unwrap_or_default(), "", "{what}: more was answered");
    } else {
        let next =
            call.get("/health").unwrap_or_else(|error| panic!("{what}: the connection ended: {error}"));
        assert_eq!(next.0, 200, "{what}: {}", next.1);
    }
}

fn assert_problem(status: u16, body: &str, met: Met, what: &str) {
    let problem: serde_json::Value =
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{what}: {status} {body:?}: {error}"));
    let (Met::Refused(code) | Met::RefusedForGood(code)) = met else { panic!("{what}: {met:?}") };
    assert_eq!(
        (problem["code"].as_str(), problem["status"].as_u64()),
        (Some(code), Some(status.into())),
        "{what}"
    );
    assert!(problem["request_id"].as_str().is_some(), "{what}: {problem}");
    assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{what}: {problem}");
}
