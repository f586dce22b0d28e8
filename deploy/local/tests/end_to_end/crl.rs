//! Revoking by list: on every kind of connection, at every door, and what a list that is broken, late or missing
//! does.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

mod sources;

use certs::ServiceRequest;
use local::{Answer, Client, Curl, Stack, eventually};
use rustls::HandshakeKind;
use serde_json::json;
use shared::identity::Role;

use crate::support::{
    DEADLINE, Sender,
    caller::{Caller, VERSIONS},
    holder::{Holder, new_name},
    options, shared_stack,
};

/// Asks until the answer has this code, or none if `code` is empty.
fn wait_for_code(ask: impl Fn() -> Answer, code: &str) -> Answer {
    let mut last = None;
    let seen = eventually(DEADLINE, || {
        let answer = ask();
        let seen = answer.code() == code && answer.status != 0;
        last = Some(answer);
        seen.then_some(())
    });
    assert!(seen.is_some(), "never {code:?}: {last:?}");
    last.unwrap()
}

fn refused_as_revoked(sender: &Sender) -> Answer {
    wait_for_code(|| sender.get("/health"), "certificate_revoked")
}

#[test]
fn a_client_on_its_issuers_list_is_told_so_with_time_and_reason() {
    let stack = shared_stack();
    let (revoked, other) = (Sender::new(stack), Sender::new(stack));
    stack.revoke_by_crl(&revoked.client.cert).unwrap();
    let answer = refused_as_revoked(&revoked);
    let problem = answer.json().unwrap();
    assert_eq!(answer.status, 403);
    assert_eq!(problem["reason_code"], "keyCompromise");
    assert!(problem["revoked_at"].as_str().unwrap().ends_with('Z'), "{problem}");
    assert_eq!(revoked.post_message("no").code(), "certificate_revoked");
    assert_eq!(other.post_message("yes").status, 202);
}

#[test]
fn a_list_refuses_new_resumed_idle_and_busy_connections_of_its_clients_and_no_others() {
    let stack = shared_stack();
    for version in VERSIONS {
        let (revoked, other) = (Sender::new(stack), Sender::new(stack));
        let caller = Caller::of(&revoked.client, version);
        let open = |caller: &Caller| {
            let mut call = caller.connect(stack.url()).unwrap();
            assert_eq!(call.get("/health").unwrap().0, 200);
            call
        };
        let (mut idle, mut busy) = (open(&caller), open(&caller));
        let mut of_other = open(&Caller::of(&other.client, version));
        let (half, rest) = (r#"{"sender_number": "+1234567890", "#, r#""message_body": "too late"}"#);
        let head = format!(
            "POST /api/v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{half}",
            half.len() + rest.len()
        );
        busy.send(head.as_bytes()).unwrap();

        stack.revoke_by_crl(&revoked.client.cert).unwrap();
        refused_as_revoked(&revoked);
        assert_eq!(idle.read_to_close().unwrap(), "", "{version:?}");
        busy.send(rest.as_bytes()).unwrap();
        let (status, problem) = busy.answer().unwrap();
        assert_eq!(status, 403, "{version:?}: {problem}");
        assert!(problem.contains("\"certificate_revoked\""), "{version:?}: {problem}");
        let mut resumed = caller.connect(stack.url()).unwrap();
        assert_eq!(resumed.handshake_kind(), Some(HandshakeKind::Resumed), "{version:?}");
        let (status, problem) = resumed.get("/health").unwrap();
        assert!(status == 403 && problem.contains("\"certificate_revoked\""), "{version:?}: {problem}");

        assert_eq!(of_other.get("/health").unwrap().0, 200, "{version:?}");
    }
}

#[test]
fn a_worker_on_the_services_list_is_refused_on_open_connections_too() {
    let stack = shared_stack();
    let name = new_name();
    let worker = stack.authority().issue_service(Role::Worker, &name, &ServiceRequest::default()).unwrap();
    let holder = Holder::of(stack, worker.leaf);
    let statement = format!(
        "INSERT INTO services (service_id, role, cert_fingerprint, expires_at) \
         VALUES ('{name}', 'worker', '{}', NOW() + INTERVAL '1 day')",
        holder.leaf.fingerprint()
    );
    stack.sql(&statement).unwrap();
    let url = format!("{}/api/v1/jobs/lease", stack.main_servers[0].worker_url);
    // no job is asked for, so that an admitted worker is answered at once, and takes none
    let nothing = json!({ "queue": "default", "max": 0, "wait_seconds": 0 }).to_string();
    let ask = || Curl::of(&holder.client).post(&url, &nothing).unwrap();
    wait_for_code(ask, "invalid_field");
    let mut idle =
        Caller::of(&holder.client, VERSIONS[1]).connect(&stack.main_servers[0].worker_url).unwrap();
    assert_eq!(idle.get("/api/v1/jobs/lease").unwrap().0, 405);

    stack.revoke_by_crl(&holder.client.cert).unwrap();
    assert_eq!(wait_for_code(ask, "certificate_revoked").status, 403);
    assert_eq!(idle.read_to_close().unwrap(), "");

    // the stack's own worker goes on
    let accepted = Sender::new(stack).post_message("to the worker that is left").json().unwrap();
    stack.wait_for_delivery(accepted["message_id"].as_str().unwrap(), DEADLINE).unwrap();
}

#[test]
fn a_list_is_read_at_the_databases_hint_long_before_the_next_poll() {
    let rarely = "[registry]\npoll = '10m'\nmax_staleness = '20m'";
    let stack =
        Stack::start(options().processes(1, 1, 0).proxy_config(rarely).main_server_config(rarely)).unwrap();
    let revoked = Sender::new(&stack);
    stack.revoke_by_crl(&revoked.client.cert).unwrap();
    refused_as_revoked(&revoked);
    let proxy = stack.pki().join("services/proxy/proxy-1/proxy-1.crt");
    stack.revoke_by_crl(&proxy).unwrap();
    let key = stack.pki().join("services/proxy/proxy-1/proxy-1.key");
    let ca = stack.pki().join("ca.crt");
    let proxy = Client { id: "proxy-1".to_owned(), cert: proxy, key, ca };
    let messages = format!("{}/internal/v1/messages", stack.main_servers[0].url);
    wait_for_code(|| Curl::of(&proxy).post(&messages, "[]").unwrap(), "certificate_revoked");
}

#[test]
fn the_roots_list_revokes_a_whole_issuing_ca() {
    let stack = Stack::start(options().processes(1, 1, 0)).unwrap();
    let sender = Sender::new(&stack);
    assert_eq!(sender.get("/health").status, 200);
    stack.revoke_by_crl(&stack.pki().join("clients-ca.crt")).unwrap();
    refused_as_revoked(&sender);
    // the services' CA is not touched: the proxy is still admitted at the main server
    assert_eq!(stack.main_servers[0].process.get("/readyz").unwrap().0, 200);
    assert_eq!(sender.get("/health").code(), "certificate_revoked");
}
