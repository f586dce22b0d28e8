//! Who is believed and yet refused: 403 with the reason, on every way in, and nobody else disturbed.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use std::thread;

use local::{Answer, Client, Curl, Stack, eventually};
use rustls::HandshakeKind;
use serde_json::Value;
use sqlx::{Connection as _, Executor as _, PgConnection};

use crate::support::{
    DEADLINE, Sender,
    caller::{Caller, VERSIONS},
    holder::{Holder, new_name, request},
    repeater::Repeater,
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

#[test]
fn revoking_a_client_on_an_open_connection_refuses_its_next_request_and_disturbs_nobody_else() {
    let stack = shared_stack();
    for (http, version) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let (revoked, other) = (Sender::new(stack), Sender::new(stack));
        let start =
            |sender: &Sender| Repeater::start(&sender.curl.clone().flag(http), &sender.at("/api/v1/whoami"));
        let (doomed, kept) = (start(&revoked), start(&other));
        for repeater in [&doomed, &kept] {
            // The second answer came over the connection of the first.
            let seen = repeater.wait_for(|answer| answer.status == 200);
            assert_eq!((seen.connections, seen.version.as_str()), (0, version));
        }
        update(stack, &revoked.client, "status = 'revoked'");
        doomed.wait_for(|answer| answer.status == 403);
        for _ in 0..5 {
            doomed.wait_for(|answer| answer.status == 403);
            kept.wait_for(|answer| answer.status == 200);
        }
        let answers = doomed.results();
        let first = answers.iter().position(|answer| answer.status != 200).unwrap();
        assert!(answers[first..].iter().all(|answer| answer.status != 200), "{answers:?}");
        let answers = kept.results();
        assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
        assert!(answers[1..].iter().all(|answer| answer.connections == 0), "{answers:?}");
    }
}

#[test]
fn an_idle_connection_of_a_revoked_client_is_closed_and_no_other() {
    let stack = shared_stack();
    for version in VERSIONS {
        let (revoked, other) = (Sender::new(stack), Sender::new(stack));
        let open = |sender: &Sender| {
            let mut call = Caller::of(&sender.client, version).connect(stack.url()).unwrap();
            assert_eq!(call.get("/health").unwrap().0, 200);
            call
        };
        let (mut doomed, mut kept) = (open(&revoked), open(&other));
        update(stack, &revoked.client, "status = 'revoked'");
        assert_eq!(doomed.read_to_close().unwrap(), "");
        assert_eq!(kept.get("/health").unwrap().0, 200);
    }
}

#[test]
fn a_refused_client_is_told_why_however_often_its_row_is_read() {
    let stack = shared_stack();
    let (refused, other) = (Sender::new(stack), Sender::new(stack));
    update(stack, &refused.client, "status = 'suspended'");
    wait_for_status(stack, &refused.curl, 403);
    // A transaction that began before makes every sync fetch all that changed since.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut lasting = runtime.block_on(PgConnection::connect(stack.owner_url())).unwrap();
    runtime.block_on(lasting.execute("BEGIN; SELECT pg_current_xact_id()")).unwrap();
    update(stack, &refused.client, "status = 'revoked'");
    let revoked =
        eventually(DEADLINE, || (refused.get("/health").code() == "certificate_revoked").then_some(()));
    assert!(revoked.is_some());

    let mut call = Caller::of(&refused.client, VERSIONS[1]).connect(stack.url()).unwrap();
    for status in ["suspended", "active"] {
        update(stack, &other.client, &format!("status = '{status}'"));
        wait_for_status(stack, &other.curl, if status == "active" { 200 } else { 403 });
    }
    let (status, body) = call.get("/health").unwrap();
    assert_eq!(status, 403, "{body}");
}

#[test]
fn a_revoked_client_cannot_resume() {
    let stack = shared_stack();
    for version in VERSIONS {
        let sender = Sender::new(stack);
        let caller = Caller::of(&sender.client, version);
        let ask = || {
            let mut call = caller.connect(stack.url()).unwrap();
            let (status, body) = call.get("/health").unwrap();
            (call.handshake_kind(), status, body)
        };
        let (kind, status, _) = ask();
        assert_eq!((kind, status), (Some(HandshakeKind::Full), 200));
        let (kind, status, _) = ask();
        assert_eq!((kind, status), (Some(HandshakeKind::Resumed), 200), "{version:?}");
        update(stack, &sender.client, "status = 'revoked'");
        let refused = eventually(DEADLINE, || Some(ask()).filter(|(_, status, _)| *status != 200));
        let (kind, status, body) = refused.unwrap();
        assert_eq!(status, 403, "{version:?}: {body}");
        assert!(body.contains("certificate_revoked"), "{version:?}: {body}");
        // It was a session of the time before, and that did not help.
        assert_eq!(kind, Some(HandshakeKind::Resumed), "{version:?}");
    }
}

/// Runs `ask` 200 times, eight at a time, and answers those whose 403 curl did not see.
fn failures_out_of_200(ask: impl Fn() -> Answer + Sync) -> Vec<Answer> {
    let ask = &ask;
    thread::scope(|scope| {
        let runs: Vec<_> = (0..8)
            .map(|_| scope.spawn(move || (0..25).map(|_| ask()).filter(unseen).collect::<Vec<_>>()))
            .collect();
        runs.into_iter().flat_map(|run| run.join().unwrap()).collect()
    })
}

fn unseen(answer: &Answer) -> bool {
    (answer.exit_code, answer.status) != (0, 403) || answer.code() != "certificate_revoked"
}

/// A revoked client, and the URL it posts to.
fn revoked(stack: &Stack) -> (Sender, String) {
    let sender = Sender::new(stack);
    update(stack, &sender.client, "status = 'revoked'");
    wait_for_status(stack, &sender.curl, 403);
    let url = sender.at("/api/v1/messages");
    (sender, url)
}

#[test]
fn curl_sees_the_403_every_time_with_64_kib_unread() {
    let (sender, url) = revoked(shared_stack());
    for http in ["--http1.1", "--http2"] {
        let curl = sender.curl.clone().flag(http);
        let failures = failures_out_of_200(|| curl.post(&url, vec![b'x'; 64 * 1024]).unwrap());
        assert!(failures.is_empty(), "{http}: {} of 200, first: {:?}", failures.len(), failures[0]);
    }
}

#[test]
fn curl_sees_the_403_every_time_while_it_sends_without_end() {
    let (sender, url) = revoked(shared_stack());
    for http in ["--http1.1", "--http2"] {
        // Without Expect, curl would send nothing before it has been told to go on.
        let curl = sender.curl.clone().flag(http).header("Expect:").header("Content-Type: application/json");
        let endless = curl.with("--upload-file", "/dev/zero").with("--request", "POST");
        let failures = failures_out_of_200(|| endless.get(&url).unwrap());
        assert!(failures.is_empty(), "{http}: {} of 200, first: {:?}", failures.len(), failures[0]);
    }
}
