//! The way to the server and the server itself: names, ports, versions, its certificate, its clock.

use std::io::{Read as _, Write as _};

use certs::{Host, LeafRequest};
use time::{Duration, OffsetDateTime, macros::format_description};

use super::{
    Patient,
    server::{Prepared, Server, leaf_of},
};
use crate::support::{Pki, answer};

#[test]
fn a_server_of_another_ca_is_told_with_the_names_of_both() {
    // "SSL handshake failure: verify that the CA certificate matches the broker's certificate"
    let stranger = Patient::healthy();
    let server = Prepared::of(&stranger).start();
    let mut patient = Patient::healthy();
    // another installation's CA has the same name: only the key tells them apart
    let diagnosis = Patient::like(&patient).calling(&server).diagnosis();
    diagnosis.assert_fails(
        "server_trust",
        &["Portcullis Services CA", "Portcullis Root CA", "ca.crt", "do not send"],
    );
    assert_eq!(diagnosis.outcome("whoami"), "skip", "nothing is sent to it: {}", diagnosis.answer.out);
    // with both installations' files it is believed
    patient.cacerts.push(stranger.cacerts[0].clone());
    assert_eq!(patient.calling(&server).diagnosis().outcome("server_trust"), "pass");
}

#[test]
fn a_self_signed_server_is_told_apart() {
    // "SELF_SIGNED_CERT_IN_CHAIN"
    let patient = Patient::healthy();
    let leaf = leaf_of(&patient, |request| request);
    let request = LeafRequest {
        hosts: Host::loopback(),
        common_name: "localhost".to_owned(),
        organizational_unit: None,
        uris: Vec::new(),
        not_before: leaf.not_before(),
        not_after: leaf.not_after(),
        purposes: vec![certs::Purpose::ServerAuth],
        key_usages: vec![certs::KeyUsage::DigitalSignature],
        authority: false,
    };
    let server = Prepared::with_leaf(&request.self_signed().unwrap()).start();
    patient
        .calling(&server)
        .diagnosis()
        .assert_fails("server_trust", &["self-signed", "--cacert", "do not send"]);
}

#[test]
fn a_strangers_certificate_cannot_write_lines_of_the_report() {
    let patient = Patient::healthy();
    let leaf = leaf_of(&patient, |request| request);
    let request = LeafRequest {
        hosts: Host::loopback(),
        common_name: "x\n[PASS] ✓ whoami: all is well\x1b[8m".to_owned(),
        organizational_unit: None,
        uris: Vec::new(),
        not_before: leaf.not_before(),
        not_after: leaf.not_after(),
        purposes: vec![certs::Purpose::ServerAuth],
        key_usages: vec![certs::KeyUsage::DigitalSignature],
        authority: false,
    };
    let server = Prepared::with_leaf(&request.self_signed().unwrap()).start();
    let said = answer(patient.calling(&server).command());
    assert!(said.out.contains(r"x\n[PASS] ✓ whoami: all is well\u{1b}[8m"), "{said:?}");
    assert!(!said.out.contains("\n[PASS] ✓ whoami") && !said.out.contains('\x1b'), "{said:?}");
}

#[test]
fn a_server_certificate_for_other_names_is_told_with_all_of_them() {
    // "Hostname/IP doesn't match certificate's altnames", "Hostname verification failed"
    let patient = Patient::healthy();
    let hosts: Vec<Host> =
        ["proxy.example.com", "10.1.2.3", "2001:db8::1"].map(|host| host.parse().unwrap()).into();
    let leaf = leaf_of(&patient, |request| LeafRequest { hosts: hosts.clone(), ..request });
    let server = Prepared::with_leaf(&leaf).start();
    let diagnosis = patient.calling(&server).diagnosis();
    diagnosis.assert_fails(
        "server_name",
        &["not for localhost, but for proxy.example.com, 10.1.2.3, 2001:db8::1", "in the URL", "--host"],
    );
    assert_eq!(diagnosis.outcome("server_trust"), "pass");
}

#[test]
fn a_server_certificate_that_has_expired_is_told_with_its_dates_and_our_clock() {
    let patient = Patient::healthy();
    let now = OffsetDateTime::now_utc();
    let leaf = leaf_of(&patient, |request| LeafRequest {
        not_before: now - Duration::days(30),
        not_after: now - Duration::days(1),
        ..request
    });
    let server = Prepared::with_leaf(&leaf).start();
    patient.calling(&server).diagnosis().assert_fails("server_trust", &["not in force", "clock", "renew"]);
}

#[test]
fn a_name_without_an_address_is_told() {
    let mut patient = Patient::healthy();
    // RFC 6761: this name never has an address
    patient.url = "https://proxy.invalid:8001".to_owned();
    patient.diagnosis().assert_fails("dns", &["proxy.invalid has no address", "spelling"]);
}

#[test]
fn a_port_on_which_nobody_listens_is_told_with_the_usual_one() {
    // "connect ECONNREFUSED"
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut patient = Patient::healthy();
    patient.url = format!("https://127.0.0.1:{closed}");
    patient.diagnosis().assert_fails("tcp", &["refuses the connection", "nothing listens", "8001"]);
}

#[test]
fn a_url_without_a_port_is_told_which_one_was_asked() {
    // 127.0.0.0/8 is all ours, and nobody listens on this address of it
    let mut patient = Patient::healthy();
    patient.url = "https://127.77.77.77".to_owned();
    patient.diagnosis().assert_fails("tcp", &["port 443", "names no port", "8001"]);
}

#[test]
fn an_address_that_never_answers_is_told_after_the_timeout() {
    let patient = Patient::healthy();
    // connected, for the kernel does that, and then silent
    let server = Server::bare(|mut socket| {
        let _ = socket.read_to_end(&mut Vec::new());
    });
    let mut patient = patient.calling(&server);
    patient.more = vec!["--timeout".to_owned(), "300ms".to_owned()];
    let mut command = crate::support::command_line();
    command
        .args(["doctor", &patient.url, "--timeout", "300ms", "--json", "--cacert"])
        .arg(&patient.cacerts[0]);
    command.arg("--cert").arg(patient.cert.as_ref().unwrap()).arg("--key").arg(patient.key.as_ref().unwrap());
    let diagnosis = super::Diagnosis::of(crate::support::answer(command));
    diagnosis.assert_fails("tls_version", &["no answer to the TLS greeting within 300ms", "firewall"]);
}

#[test]
fn a_server_that_speaks_only_old_versions_of_tls_is_told_to_be_updated() {
    // "Check TLS version compatibility"
    let patient = Patient::healthy();
    for version in ["-tls1", "-tls1_1"] {
        let server = Prepared::of(&patient).with(&[version, "-cipher", "ALL:@SECLEVEL=0"]).start();
        let diagnosis = Patient::like(&patient).calling(&server).diagnosis();
        diagnosis.assert_fails("tls_version", &["TLS 1.2", "updated"]);
    }
}

#[test]
fn a_server_without_a_common_cipher_suite_is_told_which_are_spoken() {
    // "Cipher suite mismatch"
    let patient = Patient::healthy();
    let server = Prepared::of(&patient).with(&["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA"]).start();
    patient.calling(&server).diagnosis().assert_fails("tls_version", &["no cipher suite", "AES-GCM"]);
}

#[test]
fn every_version_and_suite_that_is_spoken_is_named() {
    let patient = Patient::healthy();
    for (version, words) in [("-tls1_3", ["TLS 1.3", "TLS13_"]), ("-tls1_2", ["TLS 1.2", "TLS_ECDHE_"])] {
        let server = Prepared::of(&patient).with(&[version]).start();
        let diagnosis = Patient::like(&patient).calling(&server).diagnosis();
        assert_eq!(diagnosis.outcome("tls_version"), "pass");
        assert!(
            words.iter().all(|word| diagnosis.text("tls_version").contains(word)),
            "{}",
            diagnosis.answer.out
        );
    }
}

#[test]
fn a_server_that_does_not_serve_the_name_is_told_by_its_alert() {
    let patient = Patient::healthy();
    let server = Prepared::of(&patient)
        .with(&[
            "-servername",
            "proxy.example.com",
            "-servername_fatal",
            "-cert2",
            "server.crt",
            "-key2",
            "server.key",
        ])
        .start();
    let diagnosis = patient.calling(&server).diagnosis();
    diagnosis.assert_fails("server_name", &["alert 112", "unrecognized_name", "in the URL"]);
}

#[test]
fn a_port_that_speaks_no_tls_is_told() {
    let patient = Patient::healthy();
    let server = Server::bare(|mut socket| {
        let _ = socket.read(&mut [0; 4096]);
        let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    });
    patient.calling(&server).diagnosis().assert_fails("tls_version", &["does not speak TLS", "port"]);
}

#[test]
fn a_server_that_hangs_up_in_the_handshake_is_told() {
    let patient = Patient::healthy();
    let server = Server::bare(|mut socket| {
        let _ = socket.read(&mut [0; 4096]);
    });
    patient.calling(&server).diagnosis().assert_fails("tls_version", &["in the middle of the handshake"]);
}

/// A whoami as a proxy would answer it, at this time.
fn whoami(date: OffsetDateTime) -> String {
    let format = format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    let body = r#"{"client_id":"client_001","expires_at":"2099-01-01T00:00:00Z"}"#;
    let length = body.len();
    format!("HTTP/1.1 200 OK\nDate: {}\nContent-Length: {length}\n\n{body}", date.format(format).unwrap())
}

#[test]
fn a_clock_that_is_wrong_is_told_with_the_difference_and_fails_where_it_decides() {
    let patient = Patient::healthy();
    let now = OffsetDateTime::now_utc();
    for (date, outcome, words) in [
        (now, "pass", "agree"),
        (now - Duration::minutes(4), "warn", "4 min ahead of the server's"),
        // the certificate has not begun by the server's clock
        (now - Duration::days(3), "fail", "3 days ahead of the server's"),
        (now + Duration::hours(5), "warn", "behind the server's"),
        (now + Duration::days(3000), "fail", "days behind the server's"),
    ] {
        let server = Prepared::of(&patient).answering(&whoami(date)).start();
        let diagnosis = Patient::like(&patient).calling(&server).diagnosis();
        assert_eq!(diagnosis.outcome("clock"), outcome, "{}", diagnosis.answer.out);
        assert!(diagnosis.text("clock").contains(words), "{}", diagnosis.answer.out);
    }
}

#[test]
fn a_client_with_nothing_wrong_gets_exit_code_0_and_its_name() {
    let patient = Patient::healthy();
    let server = Prepared::of(&patient)
        .asking(&patient.pki.at("clients-ca.crt"))
        .answering(&whoami(OffsetDateTime::now_utc()))
        .start();
    let diagnosis = patient.calling(&server).diagnosis();
    assert_eq!(
        (diagnosis.first_failure(), diagnosis.answer.code),
        ("none", Some(0)),
        "{}",
        diagnosis.answer.out
    );
    assert!(diagnosis.text("whoami").contains("client_001"));
}

#[test]
fn another_web_server_is_told_from_a_proxy() {
    let patient = Patient::healthy();
    let page = "HTTP/1.1 404 Not Found\nContent-Length: 5\n\nhello";
    let server = Prepared::of(&patient).answering(page).start();
    patient
        .calling(&server)
        .diagnosis()
        .assert_fails("whoami", &["HTTP 404", "not as a proxy of Portcullis"]);
}

#[test]
fn a_ca_from_another_installation_does_not_hide_the_own_one() {
    let mut patient = Patient::healthy();
    let other = Pki::create();
    patient.cacerts.insert(0, other.dir().join("ca.crt"));
    let server = Prepared::of(&patient).start();
    assert_eq!(patient.calling(&server).diagnosis().outcome("server_trust"), "pass");
}
