//! Who may knock at which door: clients at the proxy, proxies and workers at the main server, each at their
//! own, and nobody whom the services table no longer knows.

mod main_server;

use certs::ServiceRequest;
use local::{Client, Curl, Stack, eventually};
use rustls::AlertDescription;
use serde_json::json;
use shared::identity::Role;

use crate::{
    support::{
        DEADLINE, Sender,
        caller::{Caller, VERSIONS},
        holder::{Holder, expired, new_name},
        options, shared_stack,
    },
    traffic::metric,
};

/// A service of the stack, as somebody who took its files.
fn service(stack: &Stack, role: &str, name: &str) -> Client {
    let folder = stack.pki().join("services").join(role).join(name);
    Client {
        id: name.to_owned(),
        cert: folder.join(format!("{name}.crt")),
        key: folder.join(format!("{name}.key")),
        ca: stack.pki().join("ca.crt"),
    }
}

/// What a worker asks, without waiting.
fn lease_request() -> String {
    json!({ "queue": "default", "max": 0, "wait_seconds": 0 }).to_string()
}

#[test]
fn a_clients_certificate_opens_no_door_of_the_main_server() {
    let stack = shared_stack();
    let client = Sender::new(stack).client;
    let server = &stack.main_servers[0];
    for door in [&server.url, &server.worker_url] {
        for version in VERSIONS {
            let alert = Caller::of(&client, version).alert(door);
            assert_eq!(alert, Ok(AlertDescription::UnknownCA), "{door}, {version:?}");
        }
        let answer = Curl::of(&client).get(&format!("{door}/api/v1/jobs/lease")).unwrap();
        assert!(matches!(answer.exit_code, 35 | 56) && answer.status == 0, "{answer:?}");
    }
}

#[test]
fn nobody_without_a_certificate_reaches_the_main_server() {
    let stack = shared_stack();
    let server = &stack.main_servers[0];
    for door in [&server.url, &server.worker_url] {
        for version in VERSIONS {
            let alert = Caller::without_certificate(&stack.pki().join("ca.crt"), version).alert(door);
            assert_eq!(alert, Ok(AlertDescription::CertificateRequired), "{door}, {version:?}");
        }
    }
}

#[test]
fn a_services_certificate_does_not_open_the_clients_door() {
    let stack = shared_stack();
    for (role, name) in [("worker", "worker-1"), ("proxy", "proxy-1"), ("main-server", "main-server-1")] {
        let service = service(stack, role, name);
        for version in VERSIONS {
            let alert = Caller::of(&service, version).alert(stack.url());
            assert_eq!(alert, Ok(AlertDescription::UnknownCA), "{role}, {version:?}");
        }
    }
}

#[test]
fn each_door_of_the_main_server_admits_its_own_role_only() {
    let stack = shared_stack();
    let server = &stack.main_servers[0];
    let (proxy_door, worker_door) =
        (format!("{}/internal/v1/messages", server.url), format!("{}/api/v1/jobs/lease", server.worker_url));
    let wrong = [
        (&proxy_door, "worker", "worker-1"),
        (&proxy_door, "main-server", "main-server-1"),
        (&worker_door, "proxy", "proxy-1"),
        (&worker_door, "main-server", "main-server-1"),
    ];
    for (url, role, name) in wrong {
        for http in ["--http1.1", "--http2"] {
            let curl = Curl::of(&service(stack, role, name)).flag(http);
            let answer = curl.post(url, "[]").unwrap();
            assert_eq!((answer.status, answer.code().as_str()), (403, "role_not_admitted"), "{answer:?}");
            assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        }
    }
    // The right ones are admitted, so it was the role and nothing else.
    let proxy = Curl::of(&service(stack, "proxy", "proxy-1")).post(&proxy_door, "[]").unwrap();
    assert_eq!(proxy.status, 200, "{proxy:?}");
    let worker = Curl::of(&service(stack, "worker", "worker-1")).post(&worker_door, lease_request()).unwrap();
    assert_eq!(worker.code(), "invalid_field", "{worker:?}");
}

#[test]
fn what_the_main_servers_doors_refuse_is_audited_with_its_code_also_by_alert() {
    let stack = shared_stack();
    let server = &stack.main_servers[0];
    let audited = |fingerprint: &str, expected: &str| {
        let log = format!(
            "SELECT string_agg(concat_ws(' ', what, client_id, new ->> 'door'), ', ' ORDER BY id) FROM audit_log
             WHERE cert_fingerprint = '{fingerprint}'"
        );
        let seen = eventually(DEADLINE, || (stack.sql(&log).unwrap().trim() == expected).then_some(()));
        assert!(seen.is_some(), "{expected} is not {}", stack.sql(&log).unwrap());
    };
    let name = new_name();
    let request = stack.authority().service_leaf(Role::Worker, &name, &ServiceRequest::default());
    let sign = |request| Holder::of(stack, stack.authority().services().sign(&request).unwrap());
    let (unknown, ended) = (sign(request.clone()), sign(expired(request)));

    let lease = format!("{}/api/v1/jobs/lease", server.worker_url);
    let fingerprint = unknown.leaf.fingerprint().to_string();
    let first = format!("refused certificate_unknown worker/{name} worker door");
    for _ in 0..3 {
        assert_eq!(unknown.curl().post(&lease, lease_request()).unwrap().code(), "certificate_unknown");
    }
    audited(&fingerprint, &first);
    assert_eq!(unknown.curl().post(&lease, lease_request()).unwrap().code(), "certificate_unknown");
    let messages = format!("{}/internal/v1/messages", server.url);
    assert_eq!(unknown.curl().post(&messages, "[]").unwrap().code(), "role_not_admitted");
    audited(&fingerprint, &format!("{first}, refused role_not_admitted worker/{name} proxy door"));

    for version in VERSIONS {
        let alert = Caller::of(&ended.client, version).alert(&server.worker_url);
        assert_eq!(alert, Ok(AlertDescription::CertificateExpired), "{version:?}");
    }
    let of_ended = ended.leaf.fingerprint().to_string();
    audited(&of_ended, &format!("refused certificate_expired worker/{name} worker door"));
}

#[test]
fn a_service_is_admitted_only_while_its_row_says_so() {
    let stack = shared_stack();
    let name = new_name();
    let worker = stack.authority().issue_service(Role::Worker, &name, &ServiceRequest::default()).unwrap();
    let holder = Holder::of(stack, worker.leaf);
    let url = format!("{}/api/v1/jobs/lease", stack.main_servers[0].worker_url);
    let ask = || holder.curl().post(&url, lease_request()).unwrap();
    let wait_for_code = |code: &str| {
        let mut last = None;
        let seen = eventually(DEADLINE, || {
            let answer = ask();
            let seen = answer.code() == code;
            last = Some(answer);
            seen.then_some(())
        });
        assert!(seen.is_some(), "never {code}: {last:?}");
        last.unwrap()
    };
    // A right and a wrong number of jobs to lease tell an admitted worker from a refused one.
    let admitted = "invalid_field";

    assert_eq!((ask().status, ask().code().as_str()), (403, "certificate_unknown"));
    let statement = format!(
        "INSERT INTO services (service_id, role, cert_fingerprint, expires_at) \
         VALUES ('{name}', 'worker', '{}', NOW() + INTERVAL '1 day')",
        holder.leaf.fingerprint()
    );
    stack.sql(&statement).unwrap();
    wait_for_code(admitted);
    let set = |columns: &str| {
        stack.sql(&format!("UPDATE services SET {columns} WHERE service_id = '{name}'")).unwrap();
    };
    set("status = 'suspended'");
    assert_eq!(wait_for_code("client_suspended").status, 403);
    set("status = 'active'");
    wait_for_code(admitted);
    set("expires_at = NOW() - INTERVAL '1 second'");
    assert_eq!(wait_for_code("certificate_expired").status, 403);
    set("expires_at = NOW() + INTERVAL '1 day'");
    wait_for_code(admitted);
    set("status = 'revoked', revocation_reason = 'stolen with the van'");
    let refused = wait_for_code("certificate_revoked");
    assert_eq!(refused.status, 403);
    assert!(!String::from_utf8_lossy(&refused.body).contains("van"), "{refused:?}");

    // The stack's own worker goes on.
    let sender = Sender::new(stack);
    let accepted = sender.post_message("to the worker that is left").json().unwrap();
    stack.wait_for_delivery(accepted["message_id"].as_str().unwrap(), DEADLINE).unwrap();
}

#[test]
fn a_worker_that_is_revoked_while_it_waits_gets_no_job() {
    let mut stack = Stack::start(options().processes(1, 1, 0)).unwrap();
    let name = new_name();
    let worker = stack.authority().issue_service(Role::Worker, &name, &ServiceRequest::default()).unwrap();
    let holder = Holder::of(&stack, worker.leaf);
    let statement = format!(
        "INSERT INTO services (service_id, role, cert_fingerprint, expires_at) \
         VALUES ('{name}', 'worker', '{}', NOW() + INTERVAL '1 day')",
        holder.leaf.fingerprint()
    );
    stack.sql(&statement).unwrap();
    let url = stack.main_servers[0].worker_url.clone();
    let admitted = eventually(DEADLINE, || {
        let answer = holder.curl().post(&format!("{url}/api/v1/jobs/lease"), lease_request()).unwrap();
        (answer.code() == "invalid_field").then_some(())
    });
    assert!(admitted.is_some());

    let mut poll = Caller::of(&holder.client, VERSIONS[1]).connect(&url).unwrap();
    let body = json!({ "queue": "default", "max": 1, "wait_seconds": 30 }).to_string();
    let head = "POST /api/v1/jobs/lease HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    poll.send(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes()).unwrap();
    let waits = eventually(DEADLINE, || {
        let empty = "portcullis_queue_lease_total{outcome=\"empty\"}";
        (metric(&stack.main_servers[0].process, empty) > 0).then_some(())
    });
    assert!(waits.is_some());
    stack.sql(&format!("UPDATE services SET status = 'revoked' WHERE service_id = '{name}'")).unwrap();
    let (status, body) = poll.answer().unwrap();
    assert_eq!(status, 403, "{body}");
    assert!(body.contains("certificate_revoked"), "{body}");

    let accepted = Sender::new(&stack).post_message("for another worker").json().unwrap();
    stack.add_worker("").unwrap();
    let line = stack.wait_for_delivery(accepted["message_id"].as_str().unwrap(), DEADLINE).unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&line).unwrap()["attempt"], 1);
}
