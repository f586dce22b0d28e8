//! Each alert that a server can send about a client's certificate is explained, and so is where it came from.

use certs::{ClientRequest, LeafRequest, Purpose};
use time::{Duration, OffsetDateTime};

use super::{
    Patient,
    server::{Prepared, Server},
};
use crate::support::{name, openssl};

/// A certificate of the patient's clients CA, changed before it is signed.
fn client_leaf(patient: &Patient, change: impl Fn(LeafRequest) -> LeafRequest) -> certs::Leaf {
    let authority = patient.pki.authority();
    let request = authority.client_leaf(&name("client_002"), &ClientRequest::default());
    authority.clients().sign(&change(request)).unwrap()
}

#[test]
fn every_alert_about_a_certificate_has_its_word_and_what_to_do() {
    let patient = Patient::healthy();
    for (number, word, check, remedy) in [
        (42, "bad_certificate", "certificate_accepted", "ask the operator"),
        (43, "unsupported_certificate", "certificate_accepted", "issue client"),
        (44, "certificate_revoked", "certificate_accepted", "new certificate"),
        (45, "certificate_expired", "certificate_accepted", "renew"),
        (46, "certificate_unknown", "certificate_accepted", "issued to you"),
        (47, "illegal_parameter", "certificate_accepted", "another network"),
        (48, "unknown_ca", "certificate_accepted", "tls.clients_ca"),
        (49, "access_denied", "certificate_accepted", "registered and active"),
        (112, "unrecognized_name", "server_name", "the name that the operator gave you"),
        (116, "certificate_required", "certificate_accepted", "--cert"),
        (40, "handshake_failure", "tls_version", "ECDHE"),
        (51, "decrypt_error", "certificate_accepted", "two installations"),
        (70, "protocol_version", "tls_version", "updated"),
        (71, "insufficient_security", "tls_version", "cipher suites"),
        (99, "without a name", "certificate_accepted", "number"),
    ] {
        let server = Server::alerting(number);
        let url = format!("https://localhost:{}", server.port());
        let diagnosis = Patient { url, ..Patient::like(&patient) }.diagnosis();
        diagnosis.assert_fails(check, &[&format!("alert {number} "), word, remedy]);
        assert_eq!(diagnosis.finding(check)["alert"], number);
    }
}

#[test]
fn a_client_that_shows_nothing_is_told_to_show_its_certificate_in_both_versions_of_tls() {
    // What programs print as "handshake failure" (TLS 1.2) or "certificate required" (TLS 1.3).
    let mut patient = Patient::healthy();
    (patient.cert, patient.key) = (None, None);
    for (version, number) in [("-tls1_3", 116), ("-tls1_2", 40)] {
        let server =
            Prepared::of(&patient).asking(&patient.pki.at("clients-ca.crt")).with(&[version]).start();
        patient.url = format!("https://localhost:{}", server.port());
        let diagnosis = patient.diagnosis();
        diagnosis.assert_fails("files_exist", &["no client certificate", "--cert"]);
        let finding = diagnosis.finding("certificate_accepted");
        assert_eq!((&finding["outcome"], &finding["alert"]), (&"fail".into(), &number.into()), "{finding}");
        assert!(finding["do"].as_str().unwrap().contains("--cert"), "{finding}");
    }
}

#[test]
fn an_alert_after_the_handshake_of_tls_1_3_is_said_to_look_like_a_broken_connection() {
    // The server believes another CA than the one that issued this certificate.
    let patient = Patient::healthy();
    for (version, late) in [("-tls1_3", true), ("-tls1_2", false)] {
        let server =
            Prepared::of(&patient).asking(&patient.pki.at("services-ca.crt")).with(&[version]).start();
        let url = format!("https://localhost:{}", server.port());
        let diagnosis = Patient { url, ..Patient::like(&patient) }.diagnosis();
        diagnosis.assert_fails(
            "certificate_accepted",
            &["alert 48", "unknown_ca", "put the CA's certificate after yours"],
        );
        assert_eq!(diagnosis.text("certificate_accepted").contains("after the handshake"), late, "{version}");
        assert_eq!(diagnosis.outcome("whoami"), "skip");
    }
}

#[test]
fn an_expired_certificate_is_told_twice_by_its_dates_and_by_the_alert() {
    let patient = Patient::healthy();
    let now = OffsetDateTime::now_utc();
    let leaf = client_leaf(&patient, |request| LeafRequest {
        not_before: now - Duration::days(30),
        not_after: now - Duration::days(1),
        ..request
    });
    let server = Prepared::of(&patient).asking(&patient.pki.at("clients-ca.crt")).start();
    let diagnosis = patient.showing(&leaf).calling(&server).diagnosis();
    diagnosis.assert_fails("dates", &["expired on", "renew"]);
    assert_eq!(diagnosis.finding("certificate_accepted")["alert"], 45);
}

#[test]
fn a_certificate_on_the_servers_revocation_list_is_told_to_be_revoked() {
    let patient = Patient::healthy();
    let server = Prepared::of(&patient).asking(&patient.pki.at("clients-ca.crt"));
    // A list of openssl's own: the doctor must not depend on how a list came about.
    let folder = server.folder();
    let at = |file: &str| folder.join(file).to_str().unwrap().to_owned();
    std::fs::write(at("index.txt"), "").unwrap();
    let config = format!(
        "[ca]\ndefault_ca=d\n[d]\ndatabase={}\ndefault_md=sha256\ndefault_crl_days=1\n",
        at("index.txt")
    );
    std::fs::write(at("ca.conf"), config).unwrap();
    let (ca, key) = (patient.pki.at("clients-ca.crt"), patient.pki.at("clients-ca.key"));
    let cert = patient.cert.as_ref().unwrap().to_str().unwrap();
    let by = ["-config", &at("ca.conf"), "-cert", &ca, "-keyfile", &key].map(str::to_owned);
    for step in [vec!["-revoke", cert], vec!["-gencrl", "-out", &at("crl.pem")]] {
        let mut arguments = vec!["ca"];
        arguments.extend(by.iter().map(String::as_str));
        arguments.extend(step);
        let done = openssl(&arguments);
        assert_eq!(done.code, Some(0), "{done:?}");
    }
    let server = server.with(&["-crl_check", "-CRL", &at("crl.pem")]).start();
    let diagnosis = patient.calling(&server).diagnosis();
    diagnosis.assert_fails("certificate_accepted", &["alert 44", "revoked", "new certificate"]);
}

#[test]
fn a_certificate_for_another_purpose_is_told_before_any_server_refuses_it() {
    for purposes in [vec![Purpose::ServerAuth], vec![Purpose::CodeSigning], Vec::new()] {
        let patient = Patient::healthy();
        let leaf = client_leaf(&patient, |request| LeafRequest { purposes: purposes.clone(), ..request });
        patient.showing(&leaf).diagnosis().assert_fails("purpose", &["clientAuth", "issue client"]);
    }
}
