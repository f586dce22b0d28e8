//! Certificates, as `openssl` sees them.

use certs::{Authority, ClientRequest, Host, IssueError, KeyUsage, LeafRequest, ServiceRequest, TrustDomain};
use shared::identity::{Role, SpiffeId};
use time::{Duration, OffsetDateTime};

use crate::support::{Pki, name, openssl};

/// Verifies strictly (RFC 5280) from a leaf through its issuing CA to the root.
fn verify(pki: &Pki, issuing: &str, purpose: &str, leaf: &str, more: &[&str]) -> Result<(), String> {
    let (root, issuing) = (pki.at("ca.crt"), pki.at(issuing));
    let mut arguments =
        vec!["verify", "-x509_strict", "-purpose", purpose, "-CAfile", &root, "-untrusted", &issuing];
    arguments.extend(more);
    arguments.push(leaf);
    let answer = openssl(&arguments);
    if answer.code == Some(0) { Ok(()) } else { Err(answer.error) }
}

#[test]
fn a_client_certificate_verifies_up_to_the_root() {
    let pki = Pki::create();
    pki.issue_client("client_001");
    let leaf = pki.at("clients/client_001/client_001.crt");
    assert_eq!(verify(&pki, "clients-ca.crt", "sslclient", &leaf, &[]), Ok(()));
    // with nothing but the files of the client's own folder
    let root = pki.at("clients/client_001/ca.crt");
    assert_eq!(openssl(&["verify", "-CAfile", &root, "-untrusted", &leaf, &leaf]).code, Some(0));
}

#[test]
fn a_client_certificate_makes_no_server() {
    let pki = Pki::create();
    pki.issue_client("client_001");
    let purposes =
        openssl(&["x509", "-in", &pki.at("clients/client_001/client_001.crt"), "-noout", "-purpose"]).out;
    assert!(purposes.contains("SSL client : Yes"), "{purposes}");
    assert!(purposes.contains("SSL server : No"), "{purposes}");
    assert!(purposes.contains("SSL client CA : No"), "{purposes}");
}

#[test]
fn clients_and_services_do_not_vouch_for_each_other() {
    let pki = Pki::create();
    pki.issue_client("client_001");
    pki.issue_service(Role::Worker, "w1");
    for (leaf, right, wrong) in [
        ("clients/client_001/client_001.crt", "clients-ca.crt", "services-ca.crt"),
        ("services/worker/w1/w1.crt", "services-ca.crt", "clients-ca.crt"),
    ] {
        let trusting = |anchor: &str| {
            openssl(&["verify", "-partial_chain", "-trusted", &pki.at(anchor), &pki.at(leaf)]).code
        };
        assert_eq!(trusting(right), Some(0), "{leaf}");
        assert_ne!(trusting(wrong), Some(0), "{leaf}");
    }
}

#[test]
fn a_server_is_known_by_its_hosts_and_by_no_other() {
    let pki = Pki::create();
    for role in [Role::Proxy, Role::MainServer] {
        pki.issue_service(role, "s1");
        let leaf = pki.at(&format!("services/{role}/s1/s1.crt"));
        for purpose in ["sslserver", "sslclient"] {
            assert_eq!(verify(&pki, "services-ca.crt", purpose, &leaf, &[]), Ok(()));
        }
        let as_server = |more: &[&str]| verify(&pki, "services-ca.crt", "sslserver", &leaf, more);
        assert_eq!(as_server(&["-verify_hostname", "localhost"]), Ok(()));
        assert_eq!(as_server(&["-verify_ip", "127.0.0.1"]), Ok(()));
        assert_eq!(as_server(&["-verify_ip", "::1"]), Ok(()));
        assert!(as_server(&["-verify_hostname", "example.com"]).is_err());
        assert!(as_server(&["-verify_hostname", "s1"]).is_err());
    }
}

#[test]
fn a_server_without_a_host_is_refused() {
    let authority = Pki::create().authority();
    for role in [Role::Proxy, Role::MainServer] {
        let refused = authority.issue_service(role, &name("s1"), &ServiceRequest::default());
        assert!(matches!(refused, Err(IssueError::NoHost(r)) if r == role));
    }
}

#[test]
fn a_worker_or_operator_makes_no_server() {
    let pki = Pki::create();
    for role in [Role::Worker, Role::Operator] {
        pki.issue_service(role, "w1");
        let leaf = pki.at(&format!("services/{role}/w1/w1.crt"));
        assert_eq!(verify(&pki, "services-ca.crt", "sslclient", &leaf, &[]), Ok(()));
        assert!(verify(&pki, "services-ca.crt", "sslserver", &leaf, &[]).is_err());
    }
}

#[test]
fn every_certificate_says_what_rfc_5280_asks_of_it() {
    let pki = Pki::create();
    pki.issue_client("client_001");
    pki.issue_service(Role::Proxy, "p1");
    for (file, usage, constraints) in [
        ("ca.crt", "Certificate Sign, CRL Sign", "CA:TRUE"),
        ("clients-ca.crt", "Certificate Sign, CRL Sign", "CA:TRUE, pathlen:0"),
        ("services-ca.crt", "Certificate Sign, CRL Sign", "CA:TRUE, pathlen:0"),
        ("clients/client_001/client_001.crt", "Digital Signature", "CA:FALSE"),
        ("services/proxy/p1/p1.crt", "Digital Signature", "CA:FALSE"),
    ] {
        let text = openssl(&["x509", "-in", &pki.at(file), "-noout", "-text"]).out;
        let lines: Vec<_> = text.lines().map(str::trim).collect();
        let after = |heading: &str| lines.windows(2).find(|pair| pair[0] == heading).map(|pair| pair[1]);
        assert!(lines.contains(&"Version: 3 (0x2)"), "{file}: {text}");
        assert_eq!(after("X509v3 Key Usage: critical"), Some(usage), "{file}");
        assert_eq!(after("X509v3 Basic Constraints: critical"), Some(constraints), "{file}");
        assert!(after("X509v3 Subject Key Identifier:").is_some(), "{file}");
        assert!(after("X509v3 Authority Key Identifier:").is_some(), "{file}");
        assert!(lines.contains(&"ASN1 OID: prime256v1"), "{file}");
        // 20 octets, positive: openssl would write a negative number with its sign
        let serial = after("Serial Number:").unwrap();
        assert_eq!(serial.split(':').count(), 20, "{file}: {serial}");
        assert!(u8::from_str_radix(&serial[..2], 16).unwrap() < 0x80, "{file}: {serial}");
    }
}

#[test]
fn a_certificate_names_its_holder_in_its_subject_and_in_its_spiffe_id() {
    let pki = Pki::nowhere();
    assert_eq!(pki.run(&["init-ca", "--no-passphrase", "--trust-domain", "example.org"]).code, Some(0));
    assert_eq!(pki.run(&["issue", "client", "client_001", "--domain", "example.com"]).code, Some(0));
    assert_eq!(pki.run(&["issue", "main-server", "m1", "--host", "m1.example.org,::1"]).code, Some(0));
    let facts = |file: &str| {
        let options = ["-noout", "-subject", "-nameopt", "RFC2253", "-ext", "subjectAltName"];
        openssl(&[&["x509", "-in", &pki.at(file)][..], &options].concat()).out
    };
    let client = facts("clients/client_001/client_001.crt");
    assert!(client.contains("CN=client_001,OU=example.com,O=MessageBroker"), "{client}");
    assert!(client.contains("URI:spiffe://example.org/client/client_001\n"), "{client}");
    let server = facts("services/main-server/m1/m1.crt");
    assert!(server.contains("URI:spiffe://example.org/main-server/m1, DNS:m1.example.org, IP"), "{server}");
}

#[test]
fn what_the_proxy_reads_of_a_certificate_is_what_was_asked_for() {
    let pki = Pki::create();
    let issued = pki.issue_client("client_001");
    let facts = issued.facts();
    assert_eq!(
        facts.spiffe.as_ref().map(SpiffeId::to_string).as_deref(),
        Some("spiffe://portcullis.internal/client/client_001")
    );
    assert!(facts.client_auth && !facts.signs_certificates && facts.authority.is_none());
    assert_eq!(facts.serial.len(), 20);
    let authority = pki.authority();
    assert_eq!(facts.issuer_key_id, authority.clients().facts().key_id);
    assert_eq!(facts.issuer, authority.clients().facts().subject);
    assert_eq!(authority.clients().facts().authority, Some(Some(0)));
    assert_eq!(authority.root().facts().authority, Some(None));
    assert_eq!(issued.chain().len(), 2);
}

#[test]
fn a_certificate_is_valid_at_once_even_where_the_clock_is_behind() {
    let before = OffsetDateTime::now_utc();
    let pki = Pki::create();
    let issued = pki.issue_client("client_001");
    assert!(issued.not_before() <= before - Duration::minutes(4));
    assert!(issued.not_after() > before + Duration::days(364));
    // and never before its issuer, nor that before the root
    let authority = pki.authority();
    let begins = [authority.root().facts(), authority.clients().facts(), issued.facts()]
        .map(|f| f.validity.not_before);
    assert!(begins.is_sorted(), "{begins:?}");
}

#[test]
fn a_certificate_never_outlives_its_issuer() {
    // An hour ago: the CA ends within a day, not on the edge of one, however long this takes.
    let made = OffsetDateTime::now_utc() - Duration::hours(1);
    let authority = Authority::create_at(TrustDomain::default(), made).unwrap();
    let issuer_ends = authority.clients().facts().validity.not_after;
    assert_eq!(issuer_ends, (made + Duration::days(1826)).unix_timestamp());
    let issue = |days| {
        authority.issue_client(&name("client_001"), &ClientRequest { days, ..ClientRequest::default() })
    };
    for days in [1826, 1827, 100_000, u32::MAX] {
        let refused = issue(days);
        assert!(
            matches!(refused, Err(IssueError::OutlivesIssuer { days_left: 1825, .. })),
            "{days}: {refused:?}"
        );
    }
    let longest = issue(1825).unwrap().facts().validity.not_after;
    assert!(longest <= issuer_ends && issuer_ends - longest < 86_400, "{longest} of {issuer_ends}");
}

#[test]
fn no_two_certificates_share_a_serial() {
    let authority = Pki::create().authority();
    let serial = |_| {
        let issued = authority.issue_client(&name("client_001"), &ClientRequest::default());
        issued.unwrap().facts().serial.clone()
    };
    let serials: std::collections::HashSet<_> = (0..50).map(serial).collect();
    assert_eq!(serials.len(), 50);
}

#[test]
fn tests_can_make_every_wrong_certificate() {
    let pki = Pki::create();
    let authority = pki.authority();
    let right = authority.client_leaf(&name("client_001"), &ClientRequest::default());
    let now = OffsetDateTime::now_utc();
    let judged = |request: &LeafRequest| {
        let leaf = authority.clients().sign(request).unwrap();
        verify(&pki, "clients-ca.crt", "sslclient", &pki.keep(&leaf), &[])
    };
    assert_eq!(judged(&right), Ok(()));
    let expired = LeafRequest {
        not_before: now - Duration::days(2),
        not_after: now - Duration::days(1),
        ..right.clone()
    };
    assert!(judged(&expired).is_err_and(|why| why.contains("certificate has expired")));
    let early = LeafRequest { not_before: now + Duration::days(1), ..right.clone() };
    assert!(judged(&early).is_err_and(|why| why.contains("not yet valid")));
    let serving = LeafRequest { purposes: vec![certs::Purpose::ServerAuth], ..right.clone() };
    assert!(judged(&serving).is_err_and(|why| why.contains("unsuitable certificate purpose")));
    let unsaid = LeafRequest { purposes: vec![], ..right.clone() };
    assert_eq!(judged(&unsaid), Ok(())); // which is why the proxy asks for the extension itself
    let signing = LeafRequest { key_usages: vec![KeyUsage::KeyCertSign], ..right.clone() };
    assert!(judged(&signing).is_err());
    let sub_ca = LeafRequest { authority: true, key_usages: vec![KeyUsage::KeyCertSign], ..right.clone() };
    assert!(authority.clients().sign(&sub_ca).unwrap().facts().authority.is_some());
    let nobody = right.self_signed().unwrap();
    assert!(verify(&pki, "clients-ca.crt", "sslclient", &pki.keep(&nobody), &[]).is_err());
    let twin = Pki::create().authority();
    assert_eq!(twin.clients().facts().subject, authority.clients().facts().subject);
    let forged = twin.clients().sign(&right).unwrap();
    assert!(verify(&pki, "clients-ca.crt", "sslclient", &pki.keep(&forged), &[]).is_err());
    let elsewhere = LeafRequest { hosts: vec![Host::Dns("localhost".to_owned())], uris: vec![], ..right };
    assert!(authority.clients().sign(&elsewhere).unwrap().facts().spiffe.is_none());
}
