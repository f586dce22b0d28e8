//! Rate limits by the certificate's identity: 429 with when to come back, overrides in SQL, and nobody else's.
//!
//! The rates are so slow that nothing comes back while a test runs: what is left is then a matter of counting.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use local::{Answer, Stack, eventually};
use rustls::version::TLS13;
use serde_json::{Value, json};

use crate::{
    support::{DEADLINE, Sender, caller::Caller, options, shared_stack},
    traffic::metric,
};

const SLOW: &str = "requests_per_second = 0.0001";

fn limit(stack: &Stack, sender: &Sender, columns: &str) {
    let id = &sender.client.id;
    stack.sql(&format!("UPDATE clients SET {columns} WHERE client_id = '{id}'")).unwrap();
}

/// Asks until the limits of an answer are these (none: empty); that answer was the first under them.
fn wait_for_policy(sender: &Sender, policy: &str) -> Answer {
    let mut last = None;
    let seen = eventually(DEADLINE, || {
        let answer = sender.get("/api/v1/whoami");
        let seen = answer.header("ratelimit-policy").unwrap_or_default() == policy;
        last = Some(answer);
        seen.then_some(())
    });
    assert!(seen.is_some(), "never {policy:?}: {last:?}");
    last.unwrap()
}

/// What is left by the header, of this policy.
fn left(answer: &Answer, policy: &str) -> u64 {
    let field = answer.header("ratelimit").unwrap_or_else(|| panic!("{answer:?}"));
    let item = field.split(", ").find(|item| item.starts_with(&format!("\"{policy}\";"))).unwrap();
    item.split(';').find_map(|part| part.strip_prefix("r=")).unwrap().parse().unwrap()
}

fn batch(sender: &Sender, messages: usize) -> Answer {
    let message = json!({ "sender_number": "+1234567890", "message_body": "one of many" });
    let body = Value::from(vec![message; messages]).to_string();
    sender.curl.post(&sender.at("/api/v1/messages/batch"), body).unwrap()
}

#[test]
fn a_client_over_its_rate_gets_429_with_when_to_come_back() {
    let stack = shared_stack();
    let sender = Sender::new(stack);
    limit(stack, &sender, &format!("{SLOW}, burst = 3"));
    let whoami = wait_for_policy(&sender, "\"requests\";q=3;w=30000");
    assert_eq!((whoami.status, left(&whoami, "requests")), (200, 2), "{whoami:?}");
    let told = whoami.json().unwrap()["limits"].clone();
    assert_eq!(
        [&told["requests_per_second"], &told["burst"], &told["bytes_per_second"]],
        [&json!(0.0001), &json!(3), &Value::Null]
    );
    for expected in [1, 0] {
        let answer = sender.post_message("within the limit");
        assert_eq!((answer.status, left(&answer, "requests")), (202, expected), "{answer:?}");
    }
    let before = metric(&stack.proxies[0].process, "portcullis_rate_limited_total{limit=\"requests\"}");
    for answer in [sender.post_message("one too many"), sender.get("/api/v1/whoami")] {
        assert_eq!((answer.status, answer.code().as_str()), (429, "rate_limited"), "{answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        let problem = answer.json().unwrap();
        assert_eq!(problem["type"], "https://iana.org/assignments/http-problem-types#quota-exceeded");
        assert_eq!(problem["violated-policies"], json!(["requests"]));
        assert_eq!(left(&answer, "requests"), 0);
        let retry_after: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((9000..=10_000).contains(&retry_after), "{answer:?}");
    }
    let after = metric(&stack.proxies[0].process, "portcullis_rate_limited_total{limit=\"requests\"}");
    assert!(after >= before + 2, "{before} {after}");
}

#[test]
fn an_override_in_sql_takes_effect_without_a_restart() {
    let stack = shared_stack();
    let sender = Sender::new(stack);
    // one connection, which no change of a limit may end
    let mut call = Caller::of(&sender.client, &TLS13).connect(stack.url()).unwrap();
    let mut wait_for = |status: u16| {
        let seen = eventually(DEADLINE, || (call.get("/health").unwrap().0 == status).then_some(()));
        assert!(seen.is_some(), "never {status}");
    };
    wait_for(200);
    limit(stack, &sender, &format!("{SLOW}, burst = 1"));
    wait_for(429);
    limit(stack, &sender, "requests_per_second = 100000, burst = 5000");
    wait_for(200);
    limit(stack, &sender, &format!("{SLOW}, burst = 1"));
    wait_for(429);
    limit(stack, &sender, "requests_per_second = NULL, burst = NULL");
    wait_for(200);
    let unlimited = wait_for_policy(&sender, "");
    assert_eq!((unlimited.status, unlimited.header("ratelimit")), (200, None));
}

#[test]
fn one_clients_limit_is_not_anothers() {
    let stack = shared_stack();
    let (limited, other) = (Sender::new(stack), Sender::new(stack));
    limit(stack, &limited, &format!("{SLOW}, burst = 1"));
    wait_for_policy(&limited, "\"requests\";q=1;w=10000");
    limit(stack, &other, &format!("{SLOW}, burst = 2"));
    assert_eq!(left(&wait_for_policy(&other, "\"requests\";q=2;w=20000"), "requests"), 1);
    assert_eq!(limited.post_message("x").status, 429);
    assert_eq!(other.post_message("x").status, 202);
    assert_eq!(Sender::new(stack).post_message("x").status, 202);
}

#[test]
fn a_batch_counts_its_messages() {
    let stack = shared_stack();
    let sender = Sender::new(stack);
    limit(stack, &sender, &format!("{SLOW}, burst = 10"));
    wait_for_policy(&sender, "\"requests\";q=10;w=100000");
    let answer = batch(&sender, 6);
    assert_eq!((answer.status, left(&answer, "requests")), (200, 3), "{answer:?}");
    let answer = batch(&sender, 6);
    assert_eq!((answer.status, answer.code().as_str()), (429, "rate_limited"), "{answer:?}");
    // nothing of it was taken but the request that it was; and three more would have been enough
    assert_eq!(left(&answer, "requests"), 2);
    let retry_after: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((39_000..=40_000).contains(&retry_after), "{answer:?}");
    let answer = batch(&sender, 2);
    assert_eq!((answer.status, left(&answer, "requests")), (200, 0), "{answer:?}");
    let count = format!("SELECT count(*) FROM messages WHERE client_id = '{}'", sender.client.id);
    assert_eq!(private_postgres::psql(stack.owner_url(), &count).unwrap().trim(), "8");
}

#[test]
fn bytes_count_whether_they_are_announced_or_not() {
    let stack = shared_stack();
    for announced in [true, false] {
        let sender = Sender::new(stack);
        limit(stack, &sender, "bytes_per_second = 1, bytes_burst = 1000000");
        wait_for_policy(&sender, "\"bytes\";q=1000000;qu=\"content-bytes\";w=1000000");
        let curl = sender.curl.clone().flag("--http1.1");
        let curl = if announced { curl } else { curl.header("Transfer-Encoding: chunked") };
        let body = json!({ "sender_number": "+1234567890", "message_body": "x".repeat(900) }).to_string();
        let answer = curl.post(&sender.at("/api/v1/messages"), &body).unwrap();
        assert_eq!(answer.status, 202, "{answer:?}");
        let used = 1_000_000 - left(&answer, "bytes");
        // while it runs, a byte a second comes back
        assert!((body.len() as u64 - 60..=body.len() as u64 + 1).contains(&used), "{announced}: {used}");
        limit(stack, &sender, "bytes_per_second = 1, bytes_burst = 1");
        wait_for_policy(&sender, "\"bytes\";q=1;qu=\"content-bytes\";w=1");
        let answer = curl.post(&sender.at("/api/v1/messages"), &body).unwrap();
        // larger than the bucket, it is taken from a full one, and owed
        assert_eq!((answer.status, left(&answer, "bytes")), (202, 0), "{answer:?}");
        let answer = curl.post(&sender.at("/api/v1/messages"), &body).unwrap();
        assert_eq!((answer.status, answer.code().as_str()), (429, "rate_limited"), "{answer:?}");
        assert_eq!(answer.json().unwrap()["violated-policies"], json!(["bytes"]));
        assert_eq!(sender.get("/health").status, 200, "a request without a body asks for no bytes");
    }
}

#[test]
fn a_connection_goes_on_after_429_and_nothing_of_the_refused_body_is_read_as_a_request() {
    let stack = shared_stack();
    let sender = Sender::new(stack);
    limit(stack, &sender, &format!("{SLOW}, burst = 1"));
    wait_for_policy(&sender, "\"requests\";q=1;w=10000");
    let mut call = Caller::of(&sender.client, &TLS13).connect(stack.url()).unwrap();
    let body = "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for _ in 0..3 {
        let head = "POST /api/v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
        call.send(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes()).unwrap();
        assert_eq!(call.answer().unwrap().0, 429);
    }
}

#[test]
fn the_proxys_own_limit_holds_for_whom_no_row_says_otherwise() {
    let patch = "[rate]\nrequests_per_second = 0.0001\nburst = 50";
    let stack = Stack::start(options().proxy_config(patch)).unwrap();
    let (sender, free) = (Sender::new(&stack), Sender::new(&stack));
    let policy = "\"requests\";q=50;w=500000";
    wait_for_policy(&sender, policy);
    limit(&stack, &free, "requests_per_second = 0");
    wait_for_policy(&free, "");
    let status = |sender: &Sender| sender.get("/health").status;
    let statuses: Vec<_> = (0..51).map(|_| (status(&sender), status(&free))).collect();
    assert_eq!(statuses[0], (200, 200));
    assert_eq!(statuses[50], (429, 200));
}
