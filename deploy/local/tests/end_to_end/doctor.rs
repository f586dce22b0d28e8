//! What `portcullis-certs doctor` says of everything that only a real proxy can answer: each refusal is explained.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use std::time::Duration;

use certs::{
    Authority, ClientRequest, LeafRequest, Purpose, TrustDomain,
    client_tls::ClientFiles,
    doctor::{Check, Finding, Outcome, Question, Report, examine},
};
use local::{Client, Curl, Stack, eventually};

use crate::support::{
    DEADLINE,
    holder::{Holder, expired, new_name, not_yet_valid, request},
    options, shared_stack,
};

/// The files that a client passes to curl.
fn files(client: &Client) -> ClientFiles {
    ClientFiles {
        cert: Some(client.cert.clone()),
        key: Some(client.key.clone()),
        cacerts: vec![client.ca.clone()],
        ..ClientFiles::default()
    }
}

fn diagnose(stack: &Stack, files: ClientFiles) -> Report {
    let question = Question { url: stack.url().parse().unwrap(), files, patience: Duration::from_secs(20) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(examine(&question))
}

fn finding(report: &Report, check: Check) -> &Finding {
    report.findings().iter().find(|finding| finding.check == check).unwrap()
}

/// `whoami` fails with this code, which is explained, and says what to do.
#[track_caller]
fn assert_refused(report: &Report, code: &str, words: &str) {
    let whoami = finding(report, Check::Whoami);
    assert_eq!((whoami.outcome, whoami.code.as_deref()), (Outcome::Fail, Some(code)), "{report:?}");
    assert_eq!(finding(report, Check::CertificateAccepted).outcome, Outcome::Pass, "the path is believed");
    let said = format!("{} {}", whoami.text, whoami.remedy.as_deref().unwrap());
    assert!(said.contains(words), "{words:?} is not in {said:?}");
    assert!(!report.ok());
}

/// The server's alert has this number.
#[track_caller]
fn assert_alert(report: &Report, number: u8) {
    let accepted = finding(report, Check::CertificateAccepted);
    assert_eq!((accepted.outcome, accepted.alert), (Outcome::Fail, Some(number)), "{report:?}");
    assert!(accepted.remedy.is_some());
    assert_eq!(finding(report, Check::Whoami).outcome, Outcome::Skip);
}

/// Waits until whoami is answered with this code.
fn wait_for(stack: &Stack, client: &Client, code: &str) {
    let curl = Curl::of(client);
    let url = format!("{}/api/v1/whoami", stack.url());
    let mut last = None;
    let seen = eventually(DEADLINE, || {
        let answer = curl.get(&url).unwrap();
        let seen = answer.code() == code;
        last = Some(answer);
        seen.then_some(())
    });
    assert!(seen.is_some(), "never {code}: {last:?}");
}

#[test]
fn a_client_with_nothing_wrong_passes_every_check() {
    let stack = shared_stack();
    let client = stack.fresh_client().unwrap();
    let report = diagnose(stack, files(&client));
    assert!(report.ok(), "{report:?}");
    for check in Check::ALL {
        assert_eq!(finding(&report, check).outcome, Outcome::Pass, "{check:?}: {report:?}");
    }
    assert!(finding(&report, Check::Whoami).text.contains(&client.id));
}

#[test]
fn a_client_whose_row_refuses_it_is_told_why_by_the_code() {
    // "Certificate not revoked", "Client status = 'active' in database"
    let stack = shared_stack();
    for (columns, code, words) in [
        ("status = 'revoked', revocation_reason = 'keyCompromise'", "certificate_revoked", "keyCompromise"),
        ("status = 'suspended'", "client_suspended", "status to active"),
        ("expires_at = NOW() - INTERVAL '1 minute'", "certificate_expired", "renew"),
    ] {
        let client = stack.fresh_client().unwrap();
        stack.sql(&format!("UPDATE clients SET {columns} WHERE client_id = '{}'", client.id)).unwrap();
        wait_for(stack, &client, code);
        assert_refused(&diagnose(stack, files(&client)), code, words);
    }
}

#[test]
fn a_certificate_that_nobody_registered_is_told_with_the_fingerprint_that_the_operator_needs() {
    // "Certificate fingerprint in database"
    let stack = shared_stack();
    let leaf = stack.authority().clients().sign(&request(stack, &new_name())).unwrap();
    let holder = Holder::of(stack, leaf);
    let report = diagnose(stack, files(&holder.client));
    assert_refused(&report, "certificate_unknown", &holder.leaf.fingerprint().to_string());
}

#[test]
fn a_certificate_that_is_registered_for_another_client_is_told() {
    let stack = shared_stack();
    let leaf = stack.authority().clients().sign(&request(stack, &new_name())).unwrap();
    let holder = Holder::of(stack, leaf);
    holder.register_as(stack, &new_name());
    wait_for(stack, &holder.client, "certificate_mismatch");
    assert_refused(&diagnose(stack, files(&holder.client)), "certificate_mismatch", "the name that is in it");
}

#[test]
fn a_certificate_outside_its_dates_is_told_by_its_dates_and_by_the_proxy() {
    // "Certificate not expired"
    let stack = shared_stack();
    for (distort, code, words) in [
        (expired as fn(LeafRequest) -> LeafRequest, "certificate_expired", "renew"),
        (not_yet_valid, "certificate_not_yet_valid", "clock"),
    ] {
        let name = new_name();
        let leaf = stack.authority().clients().sign(&distort(request(stack, &name))).unwrap();
        let holder = Holder::of(stack, leaf);
        holder.register_as(stack, &name);
        let report = diagnose(stack, files(&holder.client));
        assert_eq!(finding(&report, Check::Dates).outcome, Outcome::Fail);
        assert_refused(&report, code, words);
    }
}

#[test]
fn a_certificate_of_a_ca_that_the_proxy_does_not_know_is_told_by_the_alert() {
    // "Server trusts CA certificate", "unknown ca", "authentication failure"
    let stack = shared_stack();
    let stranger = Authority::create(TrustDomain::default()).unwrap();
    let request = stranger.client_leaf(&new_name(), &ClientRequest::default());
    let self_signed = Holder::of(stack, request.self_signed().unwrap());
    assert_alert(&diagnose(stack, files(&self_signed.client)), 48);
    // of a CA of the same name: the signature does not verify
    let holder = Holder::of(stack, stranger.clients().sign(&request).unwrap());
    assert_alert(&diagnose(stack, files(&holder.client)), 51);
    // the issuing CA is not in the file, and the proxy has it: nothing is wrong
    let client = stack.fresh_client().unwrap();
    let chain = std::fs::read_to_string(&client.cert).unwrap();
    let leaf =
        stack.authority().clients().sign(&crate::support::holder::request(stack, &new_name())).unwrap();
    let mut alone =
        Holder::with_chain(stack, chain.split_inclusive("-----END CERTIFICATE-----\n").next().unwrap(), leaf);
    alone.client.key.clone_from(&client.key);
    let report = diagnose(stack, files(&alone.client));
    assert!(report.ok(), "{report:?}");
    assert_eq!(finding(&report, Check::Chain).outcome, Outcome::Warn);
}

#[test]
fn a_certificate_for_another_purpose_is_told_by_the_alert_too() {
    let stack = shared_stack();
    let request = LeafRequest { purposes: vec![Purpose::ServerAuth], ..request(stack, &new_name()) };
    let holder = Holder::of(stack, stack.authority().clients().sign(&request).unwrap());
    let report = diagnose(stack, files(&holder.client));
    assert_eq!(finding(&report, Check::Purpose).outcome, Outcome::Fail);
    assert_alert(&report, 43);
}

#[test]
fn a_client_that_shows_no_certificate_is_told_that_the_proxy_asks_for_one() {
    let stack = shared_stack();
    let cacerts = vec![stack.pki().join("ca.crt")];
    assert_alert(&diagnose(stack, ClientFiles { cacerts, ..ClientFiles::default() }), 116);
}

#[test]
fn a_proxy_of_another_installation_is_told_by_its_ca() {
    // "Correct CA certificate on client"
    let stack = shared_stack();
    let client = stack.fresh_client().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("ca.crt");
    let stranger = Authority::create(TrustDomain::default()).unwrap();
    std::fs::write(&other, stranger.root().certificate_pem()).unwrap();
    let report = diagnose(stack, ClientFiles { cacerts: vec![other], ..files(&client) });
    assert_eq!(finding(&report, Check::ServerTrust).outcome, Outcome::Fail, "{report:?}");
    assert_eq!(finding(&report, Check::Whoami).outcome, Outcome::Skip);
}

#[test]
fn a_proxy_with_strict_handshakes_is_understood_by_its_alerts() {
    let stack = Stack::start(options().proxy_config("[tls]\nhandshake = 'strict'")).unwrap();
    for (columns, number) in [("status = 'revoked'", 44), ("status = 'suspended'", 49)] {
        let client = stack.fresh_client().unwrap();
        stack.sql(&format!("UPDATE clients SET {columns} WHERE client_id = '{}'", client.id)).unwrap();
        let url = format!("{}/api/v1/whoami", stack.url());
        let refused =
            eventually(DEADLINE, || (Curl::of(&client).get(&url).unwrap().status == 0).then_some(()));
        assert!(refused.is_some());
        assert_alert(&diagnose(&stack, files(&client)), number);
    }
}
