//! Who is believed and yet refused: 403 with the reason, on every way in, and nobody else disturbed.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

mod connections;
mod unread;

use local::{Answer, Client, Curl, Stack, eventually};
use serde_json::Value;

use crate::support::{
    DEADLINE, Sender,
    holder::{Holder, new_name, request},
    shared_stack,
};

/// Versions of TLS and HTTP, as curl's options.
const WAYS: [[&str; 3]; 4] = [
    ["--tls-max", "1.3", "--http2"],
    ["--tls-max", "1.3", "--http1.1"],
    ["--tls-max", "1.2", "--http2"],
    ["--tls-max", "1.2", "--http1.1"],
];

fn update(stack: &Stack, client: &Client, columns: &str) {
    stack.sql(&format!("UPDATE clients SET {columns} WHERE client_id = '{}'", client.id)).unwrap();
}

/// Waits until whoami is answered with this status.
fn wait_for_status(stack: &Stack, curl: &Curl, status: u16) -> Answer {
    let mut last = None;
    let seen = eventually(DEADLINE, || {
        let answer = curl.get(&format!("{}/api/v1/whoami", stack.url())).unwrap();
        let seen = answer.status == status;
        last = Some(answer);
        seen.then_some(())
    });
    assert!(seen.is_some(), "never {status}: {last:?}");
    last.unwrap()
}

#[test]
fn a_revocation_as_the_guide_writes_it_is_explained_without_the_operators_words() {
    let stack = shared_stack();
    let sender = Sender::new(stack);
    let fingerprint = sender.get("/api/v1/whoami").json().unwrap()["fingerprint"].clone();
    update(
        stack,
        &sender.client,
        "status = 'revoked', revoked_at = NOW(), revocation_reason = 'Certificate compromised'",
    );
    wait_for_status(stack, &sender.curl, 403);
    let answers = [
        sender.post_message("never"),
        sender.get("/health"),
        sender.get("/api/v1/health"),
        sender.get("/no/such/path"),
    ];
    for answer in answers {
        assert_eq!((answer.status, answer.code().as_str()), (403, "certificate_revoked"), "{answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        let problem = answer.json().unwrap();
        assert_eq!(problem["type"], "urn:portcullis:problem:certificate_revoked");
        assert_eq!(problem["status"], 403);
        assert_eq!(problem["fingerprint"], fingerprint);
        assert_eq!(problem["reason_code"], "unspecified");
        let revoked_at = problem["revoked_at"].as_str().unwrap();
        let format = &time::format_description::well_known::Rfc3339;
        assert!(time::OffsetDateTime::parse(revoked_at, format).is_ok(), "{revoked_at}");
        assert_eq!(problem["request_id"].as_str(), answer.header("x-request-id"));
        let text = String::from_utf8_lossy(&answer.body).to_lowercase();
        assert!(!text.contains("compromise"), "{text}");
    }
}

#[test]
fn a_reason_out_of_rfc_5280_is_told_as_its_code() {
    let stack = shared_stack();
    let sender = Sender::new(stack);
    update(stack, &sender.client, "status = 'revoked', revocation_reason = 'keyCompromise'");
    let problem = wait_for_status(stack, &sender.curl, 403).json().unwrap();
    assert_eq!(problem["reason_code"], "keyCompromise");
}

#[test]
fn each_refusal_has_its_own_code() {
    let stack = shared_stack();
    let past = "expires_at = NOW() - INTERVAL '1 minute'";
    // Ended by a date in the row that passes while nobody writes to it.
    let soon = "expires_at = NOW() + INTERVAL '1 second'";
    for (columns, code) in [
        ("status = 'suspended'", "client_suspended"),
        ("status = 'expired'", "certificate_expired"),
        (past, "certificate_expired"),
        (soon, "certificate_expired"),
    ] {
        let sender = Sender::new(stack);
        update(stack, &sender.client, columns);
        let answer = wait_for_status(stack, &sender.curl, 403);
        assert_eq!(answer.code(), code, "{columns}");
        assert_eq!(sender.post_message("never").code(), code, "{columns}");
        assert_eq!(answer.json().unwrap()["revoked_at"], Value::Null, "{columns}");
    }
}

#[test]
fn a_certificate_that_nobody_registered_is_unknown_before_and_after_its_row() {
    let stack = shared_stack();
    let name = new_name();
    let leaf = stack.authority().clients().sign(&request(stack, &name)).unwrap();
    let holder = Holder::of(stack, leaf);
    let answer = wait_for_status(stack, &holder.curl(), 403);
    assert_eq!(answer.code(), "certificate_unknown");
    // The holder is told what the operator needs.
    assert_eq!(answer.json().unwrap()["fingerprint"], holder.leaf.fingerprint().to_string());
    holder.register_as(stack, &name);
    wait_for_status(stack, &holder.curl(), 200);
    stack.sql(&format!("DELETE FROM clients WHERE client_id = '{name}'")).unwrap();
    assert_eq!(wait_for_status(stack, &holder.curl(), 403).code(), "certificate_unknown");
}

#[test]
fn a_certificate_that_names_one_client_and_is_registered_for_another_is_a_mismatch() {
    let stack = shared_stack();
    let leaf = stack.authority().clients().sign(&request(stack, &new_name())).unwrap();
    let holder = Holder::of(stack, leaf);
    holder.register_as(stack, &new_name());
    let mismatch = eventually(DEADLINE, || {
        let answer = holder.curl().get(&format!("{}/health", stack.url())).unwrap();
        assert_eq!(answer.status, 403, "{answer:?}");
        (answer.code() == "certificate_mismatch").then_some(())
    });
    assert!(mismatch.is_some());
}

#[test]
fn a_suspended_client_is_admitted_again_when_it_is_reactivated() {
    let stack = shared_stack();
    let sender = Sender::new(stack);
    for _ in 0..3 {
        update(stack, &sender.client, "status = 'suspended'");
        assert_eq!(wait_for_status(stack, &sender.curl, 403).code(), "client_suspended");
        update(stack, &sender.client, "status = 'active'");
        wait_for_status(stack, &sender.curl, 200);
    }
    assert_eq!(sender.post_message("back").status, 202);
}

#[test]
fn a_renewed_certificate_admits_the_new_one_and_stops_the_old_one() {
    let stack = shared_stack();
    let sender = Sender::new(stack);
    let name = sender.client.id.parse().unwrap();
    let renewed = Holder::of(stack, stack.authority().clients().sign(&request(stack, &name)).unwrap());
    assert_eq!(wait_for_status(stack, &renewed.curl(), 403).code(), "certificate_unknown");
    // As openssl prints it: the database takes the colons and the prefix away.
    let pairs: Vec<_> = renewed.leaf.fingerprint().to_string().into_bytes();
    let pairs: Vec<_> = pairs.chunks(2).map(|pair| String::from_utf8_lossy(pair).into_owned()).collect();
    let columns = format!(
        "cert_fingerprint = 'SHA256 Fingerprint={}', expires_at = NOW() + INTERVAL '365 days', \
         status = 'active'",
        pairs.join(":")
    );
    update(stack, &sender.client, &columns);
    let seen = wait_for_status(stack, &renewed.curl(), 200).json().unwrap();
    assert_eq!(seen["client_id"], sender.client.id);
    assert_eq!(wait_for_status(stack, &sender.curl, 403).code(), "certificate_unknown");
}

#[test]
fn every_version_of_tls_and_http_admits_and_refuses_alike() {
    let stack = shared_stack();
    let sender = Sender::new(stack);
    let message = r#"{"sender_number":"+1234567890","message_body":"hello"}"#;
    let ask = |way: &[&str; 3]| {
        let curl = sender.curl.clone().with(way[0], way[1]).flag(way[2]).flag("--verbose");
        let answer = curl.post(&sender.at("/api/v1/messages"), message).unwrap();
        assert!(answer.errors.contains(&format!("SSL connection using TLSv{}", way[1])), "{answer:?}");
        let agreed = if way[2] == "--http2" { "ALPN: server accepted h2" } else { "accepted http/1.1" };
        assert!(answer.errors.contains(agreed), "{answer:?}");
        answer
    };
    for way in &WAYS {
        assert_eq!(ask(way).status, 202, "{way:?}");
    }
    update(stack, &sender.client, "status = 'revoked'");
    wait_for_status(stack, &sender.curl, 403);
    for way in &WAYS {
        let answer = ask(way);
        assert_eq!(
            (answer.exit_code, answer.status, answer.code().as_str()),
            (0, 403, "certificate_revoked"),
            "{way:?}"
        );
    }
}
