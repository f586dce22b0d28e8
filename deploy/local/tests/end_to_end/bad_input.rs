//! What is no message is refused by name, and nothing of it reaches the worker.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use local::{Answer, Stack};
use private_postgres::psql;
use rustls::version::TLS13;
use serde_json::{Value, json};

use crate::support::{DEADLINE, Sender, caller::Caller, options, shared_stack};

const MESSAGE: &str = r#"{"sender_number":"+1234567890","message_body":"hello"}"#;
const HEAD: &str = "POST /api/v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
const LIMIT: usize = 64 * 1024;

/// A refusal: status, code, and the member or header it names (empty: none).
type Expected = (u16, &'static str, &'static str);

fn assert_refused(answer: &Answer, expected: Expected, what: &str) {
    let (status, code, field) = expected;
    assert_eq!(
        (answer.exit_code, answer.status, answer.code().as_str()),
        (0, status, code),
        "{what}: {answer:?}"
    );
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{what}");
    let problem = answer.json().unwrap();
    assert_eq!(problem["field"].as_str().unwrap_or_default(), field, "{what}: {problem}");
    assert_eq!(problem["status"], status, "{what}");
    assert_eq!(problem["type"], format!("urn:portcullis:problem:{code}"), "{what}");
    for member in ["title", "detail"] {
        assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{what}: {problem}");
    }
    assert!(problem["request_id"].as_str().is_some(), "{what}: {problem}");
    assert_eq!(problem["request_id"].as_str(), answer.header("x-request-id"), "{what}");
}

/// Sends one good message, waits for it, and looks whether it is the only one.
fn assert_nothing_else_arrived(stack: &Stack, sender: &Sender) {
    let accepted = sender.post(MESSAGE);
    assert_eq!(accepted.status, 202, "{accepted:?}");
    let id = accepted.json().unwrap()["message_id"].as_str().unwrap().to_owned();
    stack.wait_for_delivery(&id, DEADLINE).unwrap();
    let stored = format!("SELECT count(*) FROM messages WHERE client_id = '{}'", sender.client.id);
    assert_eq!(psql(stack.owner_url(), &stored).unwrap().trim(), "1");
    let delivered = stack.delivered().unwrap();
    let own: Vec<_> =
        delivered.iter().filter(|line| line["client_id"] == sender.client.id.as_str()).collect();
    assert_eq!(own.len(), 1, "{own:?}");
}

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
fn bodies_that_are_no_json_object_are_refused() {
    let stack = shared_stack();
    let sender = Sender::new(stack);
    let bodies: [&[u8]; 15] = [
        b"",
        b" \n",
        b"{",
        b"[]",
        b"null",
        b"\"text\"",
        b"{\"sender_number\":\"+1234567890\",\"message_body\":\"x\"",
        b"{\"sender_number\":\"+1234567890\",\"message_body\":\"x\",}",
        b"{\"sender_number\":\"+1234567890\",\"message_body\":\"x\"}{}",
        b"{\"sender_number\":\"+1234567890\",\"message_body\":\"x\"}\0",
        b"{'sender_number':'+1234567890','message_body':'x'}",
        b"sender_number=%2B1234567890&message_body=x",
        b"{\"sender_number\":\"+1234567890\",\"message_body\":\"\xff\xfe\"}",
        b"{\"sender_number\":\"+1234567890\",\"message_body\":\"a\nb\"}",
        b"\0",
    ];
    for body in bodies {
        let answer = sender.curl.post(&sender.at("/api/v1/messages"), body).unwrap();
        assert_refused(&answer, (400, "invalid_json", ""), &String::from_utf8_lossy(body));
    }
    assert_nothing_else_arrived(stack, &sender);
}

#[test]
fn members_are_refused_by_name() {
    let stack = shared_stack();
    let sender = Sender::new(stack);
    let with_number = |number: &str| json!({ "sender_number": number, "message_body": "x" }).to_string();
    let with_body = |body: &str| json!({ "sender_number": "+1234567890", "message_body": body }).to_string();
    let with = |members: &str| format!(r#"{{"sender_number":"+1234567890","message_body":"x",{members}}}"#);
    let number: Expected = (400, "invalid_field", "/sender_number");
    let body: Expected = (400, "invalid_field", "/message_body");
    let metadata: Expected = (400, "invalid_field", "/metadata");
    let cases = [
        // numbers
        (with_number("+1234567\n"), number),
        (with_number("\n+1234567"), number),
        (with_number("+١٢٣٤٥٦٧"), number),
        (with_number("+１２３４５６７"), number),
        (with_number("1234567890"), number),
        (with_number("+0123456789"), number),
        (with_number("+1"), number),
        (with_number("+1234567890123456"), number),
        (with_number("+123 456"), number),
        (with_number(""), number),
        (r#"{"sender_number":1234567890,"message_body":"x"}"#.to_owned(), number),
        (r#"{"sender_number":null,"message_body":"x"}"#.to_owned(), number),
        (r#"{"message_body":"x"}"#.to_owned(), number),
        // texts
        (with_body(""), body),
        (with_body(" \t\r\n\u{a0}\u{2003}"), body),
        (with_body(&"x".repeat(1001)), body),
        (with_body(&"☃".repeat(1001)), body),
        (r#"{"sender_number":"+1234567890"}"#.to_owned(), body),
        (r#"{"sender_number":"+1234567890","message_body":["x"]}"#.to_owned(), body),
        (r#"{"sender_number":"+1234567890","message_body":"\ud800"}"#.to_owned(), body),
        // twice
        (with(r#""sender_number":"+1234567890""#), number),
        (with(r#""message_body":"y""#), body),
        (with(r#""message\u005fbody":"y""#), body),
        // metadata and routing key
        (with(r#""metadata":"text""#), metadata),
        (with(r#""metadata":[1]"#), metadata),
        (with(r#""metadata":{"beyond any float":1e400}"#), metadata),
        (with(r#""metadata":{"a":1,"a":2}"#), metadata),
        (with(r#""routing_key":"white space""#), (400, "invalid_field", "/routing_key")),
        // nobody knows these, least of all as a way to be somebody else
        (with(r#""client_id":"client_001""#), (400, "unknown_field", "/client_id")),
        (
            with(r#""message_id":"00000000-0000-7000-8000-000000000000""#),
            (400, "unknown_field", "/message_id"),
        ),
        (with(r#""a/b~c":1"#), (400, "unknown_field", "/a~1b~0c")),
        (with(r#""Sender_Number":"+1""#), (400, "unknown_field", "/Sender_Number")),
        // not built yet
        (with(r#""priority":1"#), (422, "not_enabled", "/priority")),
        (with(r#""deliver_at":"2030-01-01T00:00:00Z""#), (422, "not_enabled", "/deliver_at")),
        (with(r#""expires_at":"2030-01-01T00:00:00Z""#), (422, "not_enabled", "/expires_at")),
        (with(r#""ordering_key":"a""#), (422, "not_enabled", "/ordering_key")),
        (with(r#""sealed_body":"a""#), (422, "not_enabled", "/sealed_body")),
    ];
    for (message, expected) in cases {
        assert_refused(&sender.post(&message), expected, &message);
    }
    assert_nothing_else_arrived(stack, &sender);
}

#[test]
fn a_text_with_a_nul_in_it_is_delivered_with_it() {
    let stack = shared_stack();
    let sender = Sender::new(stack);
    let text = "before\0after";
    let answer = sender.post_message(text);
    assert_eq!(answer.status, 202, "{answer:?}");
    let id = answer.json().unwrap()["message_id"].as_str().unwrap().to_owned();
    let line = stack.wait_for_delivery(&id, DEADLINE).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["message_body"], text);
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
            &["Content-Type: application/json", "Idempotency-Key: \"k1\""],
            (422, "not_enabled", "Idempotency-Key"),
        ),
        (&["Content-Type: application/json", "Idempotency-Key;"], (422, "not_enabled", "Idempotency-Key")),
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

#[test]
fn the_longest_text_arrives_character_by_character() {
    let stack = shared_stack();
    let sender = Sender::new(stack);
    // Four bytes in UTF-8, two units in UTF-16, one character.
    let text = "𝄞".repeat(999) + "\n";
    let answer = sender.post_message(&text);
    assert_eq!(answer.status, 202, "{answer:?}");
    let id = answer.json().unwrap()["message_id"].as_str().unwrap().to_owned();
    let line = stack.wait_for_delivery(&id, DEADLINE).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["message_body"], text);
}

#[test]
fn metadata_arrives_unchanged_on_one_line() {
    let stack = shared_stack();
    let sender = Sender::new(stack);
    // Line breaks between the members and in the strings, raw and escaped; separators that some readers take
    // for line breaks; a number that no float holds; an order that no map keeps.
    let metadata = "{\r\n  \"z\": \"a\\nb\\r\\nc\\u2028d\",\n\t\"a\": [ 1.000000000000000000001 , 1E+300,\n -0 ],\
                    \"é\u{2028}\u{85}\": { \"\\ud83d\\ude00\" : \"😀 \\\" \\\\ {\\\"\" }, \"\": null }";
    let compact = "{\"z\":\"a\\nb\\r\\nc\\u2028d\",\"a\":[1.000000000000000000001,1E+300,-0],\
                   \"é\u{2028}\u{85}\":{\"\\ud83d\\ude00\":\"😀 \\\" \\\\ {\\\"\"},\"\":null}";
    let message =
        format!("{{\"sender_number\":\"+1234567890\",\"message_body\":\"x\",\n\"metadata\":{metadata}}}");
    let answer = sender.post(&message);
    assert_eq!(answer.status, 202, "{answer:?}");
    let id = answer.json().unwrap()["message_id"].as_str().unwrap().to_owned();
    let line = stack.wait_for_delivery(&id, DEADLINE).unwrap();
    assert!(line.contains(&format!("\"metadata\":{compact}")), "{line}");
}
