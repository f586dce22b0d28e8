//! The line that a proxy writes for each request: what it says, in base units, as JSON.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use std::{collections::BTreeSet, fs};

use local::{Stack, eventually};
use serde_json::Value;

use crate::support::{
    DEADLINE, Sender, options,
    steady::{Speaking, Steady},
};

/// The line of the request that was answered with this id.
fn line(stack: &Stack, request_id: &str) -> Value {
    let found = || {
        let log = fs::read_to_string(&stack.proxies[0].process.log).unwrap();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut of_request =
            lines.filter(|line| line["target"] == "access" && line["request_id"] == request_id);
        let line = of_request.next()?;
        assert!(of_request.next().is_none(), "two lines for {request_id}");
        Some(line)
    };
    eventually(DEADLINE, found).unwrap_or_else(|| panic!("no line for {request_id}"))
}

#[test]
fn each_request_has_one_line_with_its_bytes_and_the_time_of_each_stage_it_came_to() {
    let log = "[log]\nformat = 'json'";
    let stack = Stack::start(options().proxy_config(log)).unwrap();
    let sender = Sender::new(&stack);
    let body = r#"{"sender_number":"+1234567890","message_body":"hello"}"#;
    let batch = format!("[{body},{body}]");
    let fingerprint = sender.get("/api/v1/whoami").json().unwrap()["fingerprint"].clone();
    for (path, posted, status, stored) in [
        ("/api/v1/messages", body, 202, true),
        ("/api/v1/messages/batch", &batch, 200, true),
        ("/api/v1/messages", "{", 400, false),
    ] {
        let answer = sender.curl.post(&sender.at(path), posted).unwrap();
        assert_eq!(answer.status, status, "{answer:?}");
        let line = line(&stack, answer.header("x-request-id").unwrap());
        assert_eq!(line["client_id"], sender.client.id, "{line}");
        assert_eq!(line["fingerprint"], fingerprint, "{line}");
        assert_eq!((&line["path"], &line["status"]), (&path.into(), &status.into()), "{line}");
        assert_eq!(line["bytes"], posted.len(), "{line}");
        let seconds = |stage: &str| line[stage].as_f64();
        let (all, receive) = (seconds("seconds").unwrap(), seconds("receive_seconds").unwrap());
        let (wait, store) = (seconds("wait_seconds"), seconds("store_seconds"));
        assert_eq!((wait.is_some(), store.is_some()), (stored, stored), "{line}");
        assert!(all > 0.0 && receive <= all && store.unwrap_or_default() <= all, "{line}");
    }
    let answer = sender.get("/health");
    let line = line(&stack, answer.header("x-request-id").unwrap());
    assert_eq!((&line["bytes"], &line["wait_seconds"]), (&0.into(), &Value::Null), "{line}");
}

/// From many clients at once, so that threads have lines to hold, and none may be lost or written twice.
fn every_answer_has_one_line_at_the_end(format: &str, is_of_a_message: fn(&str) -> bool) {
    let stack = Stack::start(options().proxy_config(&format!("[log]\nformat = '{format}'"))).unwrap();
    let ways = [Speaking::Http1, Speaking::Http2, Speaking::Anew].repeat(4);
    let steady = Steady::start(&Sender::new(&stack).client, &[stack.url().to_owned()], &ways, 1);
    steady.wait_for(300);
    let answered = steady.accepted().len();
    stack.stop().unwrap();
    let log = fs::read_to_string(&stack.proxies[0].process.log).unwrap();
    let lines: Vec<_> = log.lines().filter(|line| is_of_a_message(line)).collect();
    assert_eq!(lines.len(), answered);
    assert_eq!(lines.iter().collect::<BTreeSet<_>>().len(), answered, "each has an id and a time of its own");
}

#[test]
fn every_answer_has_one_line_of_text() {
    every_answer_has_one_line_at_the_end("text", |line| {
        line.contains("  INFO access: request request_id=") && line.contains(" status=202 ")
    });
}

#[test]
fn every_answer_has_one_line_of_json() {
    every_answer_has_one_line_at_the_end("json", |line| {
        serde_json::from_str::<Value>(line)
            .is_ok_and(|line| line["target"] == "access" && line["status"] == 202)
    });
}
