//! What `/readyz` says of our own certificates and of revocation lists, at each process.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use std::fs;

use certs::{Host, ServiceRequest};
use local::{Process, Stack, eventually};
use serde_json::Value;
use shared::identity::Role;

use crate::{
    support::{
        DEADLINE, Sender,
        holder::{expired, not_yet_valid},
        options,
    },
    traffic::id_of,
};

/// The status of `/readyz`, and one of its checks.
fn check(process: &Process, name: &str) -> (u16, Value) {
    let (status, body) = process.get("/readyz").unwrap();
    (status, serde_json::from_str::<Value>(&body).unwrap()["checks"][name].take())
}

/// What the certificates of a process are used for.
fn uses(check: &Value) -> Vec<&str> {
    check["certificates"].as_array().unwrap().iter().map(|one| one["used_for"].as_str().unwrap()).collect()
}

#[test]
fn a_certificate_that_ends_soon_warns_at_every_process_and_stops_none() {
    let soon = "[tls]\nexpiry_warning = '100000d'";
    let options = options().proxy_config(soon).main_server_config(soon).worker_config(soon);
    let stack = Stack::start(options).unwrap();
    let (proxy, server, worker) =
        (&stack.proxies[0].process, &stack.main_servers[0].process, &stack.workers[0].process);
    for (process, used_for) in
        [(proxy, &["clients", "main_servers"][..]), (server, &["doors"]), (worker, &["main_servers"])]
    {
        let (status, check) = check(process, "certificates");
        assert_eq!((status, &check["ok"], &check["warning"]), (200, &true.into(), &true.into()), "{check}");
        assert_eq!(uses(&check), used_for);
        assert!(check["certificates"][0]["remaining_seconds"].as_i64().unwrap() > 0, "{check}");
        let told = || fs::read_to_string(&process.log).unwrap().contains("a certificate of ours ends soon");
        assert!(eventually(DEADLINE, || told().then_some(())).is_some(), "{}", process.log_tail());
    }
}

#[test]
fn a_worker_whose_own_certificate_has_expired_is_not_ready_and_says_why() {
    let stack = Stack::start(options()).unwrap();
    let worker = &stack.workers[0];
    let (status, before) = check(&worker.process, "certificates");
    assert_eq!((status, &before["ok"], &before["warning"]), (200, &true.into(), &Value::Null), "{before}");
    worker.process.stop().unwrap();
    let authority = stack.authority();
    let name = worker.process.name.parse().unwrap();
    let request = expired(authority.service_leaf(Role::Worker, &name, &ServiceRequest::default()));
    let leaf = authority.services().sign(&request).unwrap();
    fs::write(&worker.cert, leaf.certificate_pem()).unwrap();
    fs::write(&worker.key, leaf.key().pem()).unwrap();
    worker.process.spawn().unwrap();
    let refused = eventually(DEADLINE, || {
        let (status, body) = worker.process.get("/readyz").ok()?;
        (status == 503 && body.contains("expired at")).then_some(())
    });
    assert!(refused.is_some(), "{:?}", worker.process.get("/readyz"));
    let (_, after) = check(&worker.process, "certificates");
    assert_eq!(after["ok"], false, "{after}");
    assert!(after["certificates"][0]["remaining_seconds"].as_i64().unwrap() < 0, "{after}");
}

#[test]
fn a_certificate_that_has_ended_or_not_begun_does_not_replace_one_that_holds() {
    let often = "[tls]\nreload = '100ms'";
    let options = options().proxy_config(often).main_server_config(often).worker_config(often);
    let stack = Stack::start(options).unwrap();
    let sender = Sender::new(&stack);
    for (process, role) in stack.processes().zip([Role::Proxy, Role::Worker, Role::MainServer]) {
        let folder = stack.pki().join("services").join(role.as_str()).join(&process.name);
        let file = |end| folder.join(format!("{}.{end}", process.name));
        let before = fs::read_to_string(file("crt")).unwrap();
        let hosts = ServiceRequest { hosts: Host::loopback(), ..ServiceRequest::default() };
        let leaf = || stack.authority().service_leaf(role, &process.name.parse().unwrap(), &hosts);
        for (bad, why) in [(expired(leaf()), "expired at"), (not_yet_valid(leaf()), "is not valid before")] {
            let issued = stack.authority().services().sign(&bad).unwrap();
            fs::write(file("key"), issued.key().pem()).unwrap();
            fs::write(file("crt"), issued.certificate_pem()).unwrap();
            let refused = || check(process, "files").1["detail"].as_str()?.contains(why).then_some(());
            assert!(eventually(DEADLINE, refused).is_some(), "{why}: {}", process.log_tail());
        }
        assert_ne!(before, fs::read_to_string(file("crt")).unwrap());
        assert_eq!(check(process, "certificates").0, 200, "{}", process.name);
    }
    let message = id_of(&sender.post_message("by those that hold"));
    stack.wait_for_delivery(&message, DEADLINE).unwrap();
}

#[test]
fn each_cas_revocation_list_is_shown_with_its_age_and_the_policy_in_force() {
    let policy = "[crl]\npolicy = 'warn'";
    let options = options().proxy_config(policy).main_server_config("[crl]\npolicy = 'reject'");
    let stack = Stack::start(options).unwrap();
    for (process, policy) in [(&stack.proxies[0].process, "warn"), (&stack.main_servers[0].process, "reject")]
    {
        let (_, check) = check(process, "crl");
        let lists = check["lists"].as_array().unwrap();
        assert!(lists.len() >= 2, "{check}");
        for list in lists {
            assert_eq!((&list["state"], &list["policy"]), (&"in_force".into(), &policy.into()), "{list}");
            assert_eq!((&list["refused"], list["good_until"].is_string()), (&false.into(), policy != "warn"));
            assert!(list["age_seconds"].as_i64().unwrap() >= 0, "{list}");
            for member in ["issuer", "key", "number", "this_update", "next_update"] {
                assert!(!list[member].as_str().unwrap().is_empty(), "{member}: {list}");
            }
        }
    }
}
