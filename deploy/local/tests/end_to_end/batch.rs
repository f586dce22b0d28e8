//! Batches: many messages in one request, each with its own result, in order.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

mod broken;
mod keys;

use local::{Answer, Curl, Stack};
use private_postgres::psql;
use serde_json::{Value, json};

use crate::{
    support::{DEADLINE, Sender, options, shared_stack},
    traffic::undelivered,
};

const PATH: &str = "/api/v1/messages/batch";

fn message(text: &str) -> Value {
    json!({ "sender_number": "+1234567890", "message_body": text })
}

/// POSTs messages as an array.
fn post(sender: &Sender, messages: &[Value]) -> Answer {
    post_with(&sender.curl, sender, messages)
}

fn post_with(curl: &Curl, sender: &Sender, messages: &[Value]) -> Answer {
    curl.post(&sender.at(PATH), Value::from(messages).to_string()).unwrap()
}

/// POSTs a body with one message per line.
fn post_lines(sender: &Sender, lines: &str) -> Answer {
    let curl = sender.curl.clone().header("Content-Type: application/x-ndjson");
    curl.post_plain(&sender.at(PATH), lines).unwrap()
}

fn results(answer: &Answer) -> Vec<Value> {
    answer.json().unwrap()["results"].as_array().unwrap_or_else(|| panic!("{answer:?}")).clone()
}

/// The member of each result; null where it has none.
fn each(answer: &Answer, member: &str) -> Vec<Value> {
    results(answer).iter().map(|result| result[member].clone()).collect()
}

fn stored(stack: &Stack, sender: &Sender) -> String {
    let count = format!("SELECT count(*) FROM messages WHERE client_id = '{}'", sender.client.id);
    psql(stack.owner_url(), &count).unwrap().trim().to_owned()
}

#[test]
fn every_message_of_a_batch_has_its_result_in_order_and_is_delivered() {
    let stack = shared_stack();
    let sender = Sender::new(stack);
    let messages: Vec<_> = (0..1000).map(|number| message(&format!("number {number}"))).collect();
    let answer = post(&sender, &messages);
    let body = answer.json().unwrap();
    assert_eq!((answer.status, &body["accepted"], &body["refused"]), (200, &json!(1000), &json!(0)));
    assert_eq!(each(&answer, "index"), (0..1000).map(Value::from).collect::<Vec<_>>());
    assert!(each(&answer, "status").iter().all(|status| *status == 202));
    assert!(results(&answer).iter().all(|one| one["queued_at"].is_string() && one.get("replayed").is_none()));
    let ids = each(&answer, "message_id");
    let ids: Vec<_> = ids.iter().map(|id| id.as_str().unwrap().to_owned()).collect();
    assert!(undelivered(stack, &ids.iter().cloned().collect()).is_empty());
    let delivered = stack.delivered().unwrap();
    for (number, id) in ids.iter().enumerate().step_by(99) {
        let line = delivered.iter().find(|line| line["message_id"] == id.as_str()).unwrap();
        assert_eq!(line["message_body"], format!("number {number}"));
    }
}

#[test]
fn a_message_that_is_none_is_refused_alone_and_its_neighbours_are_stored() {
    let stack = shared_stack();
    let sender = Sender::new(stack);
    let messages = [
        message("first"),
        message(" "),
        json!({ "sender_number": "+1234567890", "message_body": "x", "priority": 1 }),
        json!({ "sender_number": "+1234567890", "message_body": "x", "client_id": "somebody" }),
        json!([1]),
        json!({ "sender_number": "+1234567890", "message_body": "x", "metadata": { "x": "y".repeat(70_000) } }),
        message("last"),
    ];
    let as_lines = messages.iter().map(Value::to_string).collect::<Vec<_>>().join("\n");
    for (answer, how) in [(post(&sender, &messages), "array"), (post_lines(&sender, &as_lines), "lines")] {
        let body = answer.json().unwrap();
        assert_eq!(
            (answer.status, &body["accepted"], &body["refused"]),
            (200, &json!(2), &json!(5)),
            "{how}"
        );
        assert_eq!(each(&answer, "status"), [202, 400, 422, 400, 400, 413, 202], "{how}");
        let codes =
            ["", "invalid_field", "not_enabled", "unknown_field", "invalid_json", "payload_too_large", ""];
        for (result, code) in results(&answer).iter().zip(codes) {
            assert_eq!(result["code"].as_str().unwrap_or_default(), code, "{how}: {result}");
            assert_eq!(result["detail"].is_string(), !code.is_empty(), "{how}: {result}");
        }
        assert_eq!(results(&answer)[1]["field"], "/message_body", "{how}");
        assert_eq!(answer.header("content-type"), Some("application/json"), "{how}");
    }
    assert_eq!(stored(stack, &sender), "4");
}

#[test]
fn a_batch_of_which_nothing_is_a_message_is_answered_400_with_every_reason() {
    let sender = Sender::new(shared_stack());
    let answer = post(&sender, &[json!({ "priority": 1 }), message("")]);
    let problem = answer.json().unwrap();
    // its own once, and that of each message
    let text = String::from_utf8_lossy(&answer.body);
    assert_eq!(text.matches("\"status\":").count(), 3, "{text}");
    assert_eq!(
        (answer.status, &problem["status"], answer.code().as_str()),
        (400, &json!(400), "not_enabled")
    );
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    assert_eq!((&problem["accepted"], &problem["refused"]), (&json!(0), &json!(2)));
    assert_eq!(each(&answer, "code"), ["not_enabled", "invalid_field"]);
    assert_eq!(problem["request_id"].as_str(), answer.header("x-request-id"));
}

#[test]
fn a_batch_is_bounded_in_messages_and_in_bytes() {
    // not in time: a machine that is busy takes long for so much
    let patch = "[message]\nbody_timeout = '5m'\n[upstream]\nwaiting_time = '25s'\ntimeout = '25s'\nretry_for = '25s'";
    let stack = Stack::start(options().processes(1, 1, 0).proxy_config(patch)).unwrap();
    let sender = Sender::new(&stack);
    let answer = post(&sender, &vec![message("x"); 1001]);
    assert_eq!((answer.status, answer.code().as_str()), (413, "payload_too_large"), "{answer:?}");
    assert_eq!(answer.json().unwrap()["limit_messages"], 1000);

    let big = json!({ "sender_number": "+1234567890", "message_body": "x", "metadata": { "x": "y".repeat(60_000) } });
    let batch = |bytes: usize| {
        let text = Value::from(vec![big.clone(); 60]).to_string();
        format!("{text}{}", " ".repeat(bytes - text.len()))
    };
    let most = 4 << 20;
    for header in ["X-How: counted", "Transfer-Encoding: chunked"] {
        let curl = sender.curl.clone().header(header);
        let answer = curl.post(&sender.at(PATH), batch(most + 1)).unwrap();
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (413, "payload_too_large"),
            "{header}: {answer:?}"
        );
        assert_eq!(answer.json().unwrap()["limit_bytes"], most, "{header}");
    }
    assert_eq!(stored(&stack, &sender), "0");
    for header in ["X-How: counted", "Transfer-Encoding: chunked"] {
        let answer = sender.curl.clone().header(header).post(&sender.at(PATH), batch(most)).unwrap();
        assert_eq!((answer.status, &answer.json().unwrap()["accepted"]), (200, &json!(60)), "{header}");
    }
}

#[test]
fn what_a_batch_cannot_be_is_refused_by_name() {
    let sender = Sender::new(shared_stack());
    let one = format!("[{}]", message("x"));
    for (content_type, body, status, code, field) in [
        ("application/json", "[]", 400, "invalid_field", ""),
        ("application/x-ndjson", "\n\n", 400, "invalid_field", ""),
        ("application/json", "", 400, "invalid_json", ""),
        ("application/json", "{}", 400, "invalid_json", ""),
        ("text/plain", &one, 415, "unsupported_media_type", "Content-Type"),
        ("application/x-ndjson; charset=latin1", &one, 415, "unsupported_media_type", "Content-Type"),
    ] {
        let curl = sender.curl.clone().header(&format!("Content-Type: {content_type}"));
        let answer = curl.post_plain(&sender.at(PATH), body).unwrap();
        let named = answer.json().unwrap()["field"].as_str().unwrap_or_default().to_owned();
        let found = (answer.status, answer.code(), named);
        assert_eq!(found, (status, code.to_owned(), field.to_owned()), "{content_type}: {body}");
    }
    let accepting = sender.curl.clone().header("Accept: text/html");
    assert_eq!(accepting.post(&sender.at(PATH), &one).unwrap().status, 406);
    let got = sender.get(PATH);
    assert_eq!((got.status, got.header("allow")), (405, Some("POST")), "{got:?}");
    let lines = sender.curl.clone().header("Content-Type: application/jsonl");
    let answer = lines.post_plain(&sender.at(PATH), message("x").to_string()).unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[test]
fn a_batch_that_no_main_server_answers_for_is_503_as_a_whole() {
    let patch = "[upstream]\nretry_for = '500ms'";
    let stack = Stack::start(options().processes(1, 1, 0).proxy_config(patch)).unwrap();
    let sender = Sender::new(&stack);
    stack.main_servers[0].process.kill().unwrap();
    let answer = post(&sender, &[message(" "), message("x"), message("y")]);
    assert_eq!((answer.status, answer.code().as_str()), (503, "upstream_unavailable"), "{answer:?}");
    assert_eq!(each(&answer, "status"), [400, 503, 503]);
    assert!(answer.header("retry-after").is_some());
    stack.main_servers[0].process.start().unwrap();
    stack.main_servers[0].process.wait_until_ready().unwrap();
    let again = local::eventually(DEADLINE, || {
        Some(post(&sender, &[message("x")])).filter(|answer| answer.status == 200)
    });
    assert!(again.is_some());
}
