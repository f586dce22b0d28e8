//! What is no message is refused by name, and nothing of it reaches the worker.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

mod body;
mod head;

use local::{Answer, Stack};
use private_postgres::psql;
use serde_json::json;

use crate::support::{DEADLINE, Sender, shared_stack};

const MESSAGE: &str = r#"{"sender_number":"+1234567890","message_body":"hello"}"#;

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
