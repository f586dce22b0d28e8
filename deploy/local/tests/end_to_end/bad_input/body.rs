//! Bodies that are too long, too short or too slow.

use local::Stack;
use private_postgres::psql;
use rustls::version::TLS13;
use serde_json::{Value, json};

use super::{MESSAGE, assert_nothing_else_arrived, assert_refused};
use crate::support::{DEADLINE, Sender, caller::Caller, options, shared_stack};

const HEAD: &str = "POST /api/v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
const LIMIT: usize = 64 * 1024;

/// A message of exactly so many bytes.
fn message_of(bytes: usize) -> String {
    let message = |padding: usize| {
        let metadata = json!({ "x": "x".repeat(padding) });
        json!({ "sender_number": "+1234567890", "message_body": "big", "metadata": metadata }).to_string()
    };
    let message = message(bytes - message(0).len());
    assert_eq!(message.len(), bytes);
    message
}

#[test]
fn a_body_of_64_kib_is_taken_and_one_byte_more_is_not() {
    let stack = shared_stack();
    let sender = Sender::new(stack);
    let url = sender.at("/api/v1/messages");
    let chunked = || sender.curl.clone().header("Transfer-Encoding: chunked");
    for http in ["--http1.1", "--http2"] {
        for (curl, how) in [(sender.curl.clone(), "counted"), (chunked(), "chunked")] {
            let curl = curl.flag(http);
            for bytes in [LIMIT + 1, 4 * LIMIT, 4 << 20] {
                let answer = curl.post(&url, message_of(bytes)).unwrap();
                let what = format!("{bytes} bytes, {how}, {http}");
                assert_refused(&answer, (413, "payload_too_large", ""), &what);
                assert_eq!(answer.json().unwrap()["limit_bytes"], LIMIT, "{what}");
            }
        }
    }
    assert_nothing_else_arrived(stack, &sender);

    for http in ["--http1.1", "--http2"] {
        for curl in [sender.curl.clone(), chunked()] {
            let answer = curl.flag(http).post(&url, message_of(LIMIT)).unwrap();
            assert_eq!(answer.status, 202, "{http}: {answer:?}");
            let id = answer.json().unwrap()["message_id"].as_str().unwrap().to_owned();
            stack.wait_for_delivery(&id, DEADLINE).unwrap();
        }
    }
}

#[test]
fn a_body_without_end_is_refused_when_it_is_too_long() {
    let stack = shared_stack();
    let sender = Sender::new(stack);
    for http in ["--http1.1", "--http2"] {
        let curl = sender.curl.clone().flag(http).header("Expect:").header("Content-Type: application/json");
        let endless = curl.with("--upload-file", "/dev/zero").with("--request", "POST");
        let answer = endless.get(&sender.at("/api/v1/messages")).unwrap();
        assert_refused(&answer, (413, "payload_too_large", ""), http);
    }
    assert_nothing_else_arrived(stack, &sender);
}

#[test]
fn a_body_that_ends_early_is_no_message_even_if_it_looks_like_one() {
    let stack = shared_stack();
    let sender = Sender::new(stack);
    let mut call = Caller::of(&sender.client, &TLS13).connect(stack.url()).unwrap();
    let promised = MESSAGE.len() + 1;
    call.send(format!("{HEAD}Content-Length: {promised}\r\n\r\n{MESSAGE}").as_bytes()).unwrap();
    drop(call);
    let mut call = Caller::of(&sender.client, &TLS13).connect(stack.url()).unwrap();
    let chunk = format!("{:x}\r\n{MESSAGE}\r\n", MESSAGE.len());
    call.send(format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n{chunk}").as_bytes()).unwrap();
    drop(call);
    assert_nothing_else_arrived(stack, &sender);
}

#[test]
fn a_body_that_stalls_is_answered_408_and_not_stored() {
    let patch = "[message]\nbody_timeout = \"500ms\"";
    let stack = Stack::start(options().processes(1, 1, 0).proxy_config(patch)).unwrap();
    let sender = Sender::new(&stack);
    let mut call = Caller::of(&sender.client, &TLS13).connect(stack.url()).unwrap();
    let promised = MESSAGE.len() + 1;
    call.send(format!("{HEAD}Content-Length: {promised}\r\n\r\n{MESSAGE}").as_bytes()).unwrap();
    let (status, body) = call.answer().unwrap();
    assert_eq!(status, 408, "{body}");
    let problem: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(problem["code"], "request_timeout");
    assert_eq!(call.read_to_close().unwrap(), "");
    assert_eq!(psql(stack.owner_url(), "SELECT count(*) FROM messages").unwrap().trim(), "0");
}
