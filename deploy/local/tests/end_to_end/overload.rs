//! More than can be taken: refused at once, in words, and what was taken is delivered.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use std::thread;

use local::{Curl, Stack, eventually};
use rustix::process::Signal;
use rustls::version::TLS13;
use serde_json::Value;

use crate::{
    support::{DEADLINE, PATIENT, Sender, caller::Caller, options},
    traffic::metric,
};

const MESSAGE: &str = r#"{"sender_number": "+1234567890", "message_body": "one of many"}"#;

/// Posts so many messages on one connection; the statuses and bodies.
fn post_many(stack: &Stack, sender: &Sender, count: usize) -> Vec<(u16, String)> {
    let mut call = Caller::of(&sender.client, &TLS13).connect(stack.url()).unwrap();
    let head = "POST /api/v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    let request = format!("{head}Content-Length: {}\r\n\r\n{MESSAGE}", MESSAGE.len());
    let mut post = || {
        call.send(request.as_bytes()).unwrap();
        call.answer().unwrap()
    };
    (0..count).map(|_| post()).collect()
}

#[test]
fn beyond_the_cap_503_is_answered_and_what_is_admitted_is_delivered() {
    let patch = format!("[admission]\nmessages_per_second = 1\nburst = 5\n{PATIENT}");
    let stack = Stack::start(options().proxy_config(&patch)).unwrap();
    let senders: Vec<_> = (0..4).map(|_| Sender::new(&stack)).collect();
    let answers: Vec<_> = thread::scope(|scope| {
        let posting: Vec<_> =
            senders.iter().map(|sender| scope.spawn(|| post_many(&stack, sender, 50))).collect();
        posting.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let (admitted, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|(status, _)| *status == 202);
    assert!(admitted.len() >= 5, "{admitted:?}");
    assert!(refused.len() >= 50, "{}", refused.len());
    for (status, body) in &refused {
        let problem: Value = serde_json::from_str(body).unwrap();
        assert_eq!((*status, problem["code"].as_str()), (503, Some("overloaded")), "{problem}");
        let kind = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity";
        assert_eq!(problem["type"], kind);
    }
    for (_, body) in &admitted {
        let accepted: Value = serde_json::from_str(body).unwrap();
        stack.wait_for_delivery(accepted["message_id"].as_str().unwrap(), DEADLINE).unwrap();
    }
    let shed = metric(&stack.proxies[0].process, "portcullis_shed_total{reason=\"cap\"}");
    assert_eq!(shed, refused.len() as u64);
    let count = private_postgres::psql(stack.owner_url(), "SELECT count(*) FROM messages").unwrap();
    assert_eq!(count.trim(), admitted.len().to_string());
}

#[test]
fn the_cap_says_when_to_come_back_and_is_for_messages_only() {
    let patch = format!("[admission]\nmessages_per_second = 0.001\nburst = 1\n{PATIENT}");
    let stack = Stack::start(options().proxy_config(&patch)).unwrap();
    let sender = Sender::new(&stack);
    assert_eq!(sender.post_message("the one").status, 202);
    let answer = sender.post_message("one too many");
    assert_eq!((answer.status, answer.code().as_str()), (503, "overloaded"), "{answer:?}");
    let retry_after: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((900..=1000).contains(&retry_after), "{answer:?}");
    assert_eq!(sender.get("/api/v1/whoami").status, 200);
    // a large body is not read to be thrown away: its connection ends instead, and the answer arrives
    let large = "x".repeat(8 << 20);
    for version in ["--http1.1", "--http2"] {
        let curl = sender.curl.clone().flag(version);
        let answer = curl.post(&sender.at("/api/v1/messages/batch"), &large).unwrap();
        assert_eq!((answer.status, answer.code().as_str()), (503, "overloaded"), "{answer:?}");
    }
}

#[test]
fn a_message_that_waits_too_long_is_refused_and_not_stored() {
    let patch = "[upstream]\nin_flight = 1\nwaiting_time = '2s'\ntimeout = '2m'\nretry_for = '2m'";
    let stack = Stack::start(options().proxy_config(patch)).unwrap();
    let sender = Sender::new(&stack);
    let server = &stack.main_servers[0].process;
    let waiting = || metric(&stack.proxies[0].process, "portcullis_upstream_waiting");
    let patient = Curl::of(&sender.client).with("--max-time", "120");
    server.signal(Signal::STOP);
    thread::scope(|scope| {
        // the only place is taken by a batch that nobody answers
        let first = scope.spawn(|| patient.post(&sender.at("/api/v1/messages"), MESSAGE).unwrap());
        eventually(DEADLINE, || (waiting() == 1).then_some(())).unwrap();
        for _ in 0..3 {
            let answer = sender.post_message("waits in vain");
            assert_eq!((answer.status, answer.code().as_str()), (503, "overloaded"), "{answer:?}");
        }
        server.signal(Signal::CONT);
        assert_eq!(first.join().unwrap().status, 202);
    });
    assert_eq!(metric(&stack.proxies[0].process, "portcullis_shed_total{reason=\"waited\"}"), 3);
    let stored = || (sender.post_message("in its turn").status == 202).then_some(());
    assert!(eventually(DEADLINE, stored).is_some());
    let count = private_postgres::psql(stack.owner_url(), "SELECT count(*) FROM messages").unwrap();
    assert_eq!(count.trim(), "2");
}
