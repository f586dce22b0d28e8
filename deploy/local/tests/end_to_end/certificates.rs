//! Whose TLS handshake fails, by which alert, and who is let through to be told why not.
//!
//! An alert means: nobody we believe vouches for you. A 403 means: somebody does, and yet.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use certs::{Authority, LeafRequest, Purpose, TrustDomain};
use local::{Client, Curl, Stack, eventually};
use rustls::AlertDescription;
use time::{Duration, OffsetDateTime};

use crate::support::{
    DEADLINE,
    caller::{Caller, VERSIONS},
    holder::{Holder, expired, new_name, not_yet_valid, request},
    options, shared_stack,
};

/// Every way to ask gives this alert, and curl never gets an answer.
fn assert_alert(stack: &Stack, client: &Client, expected: AlertDescription, who: &str) {
    for version in VERSIONS {
        let alert = Caller::of(client, version).alert(stack.url());
        assert_eq!(alert, Ok(expected), "{who}, {version:?}");
    }
    assert_curl_is_refused(stack, &Curl::of(client), who);
}

fn assert_curl_is_refused(stack: &Stack, curl: &Curl, who: &str) {
    let message = r#"{"sender_number":"+1234567890","message_body":"never"}"#;
    for (tls, http) in [("1.3", "--http2"), ("1.3", "--http1.1"), ("1.2", "--http2"), ("1.2", "--http1.1")] {
        let curl = curl.clone().with("--tls-max", tls).flag(http);
        let answer = curl.post(&format!("{}/api/v1/messages", stack.url()), message).unwrap();
        // 35: the handshake failed. 56: so it did, but in TLS 1.3 that is heard when reading. 98: because
        // there was no certificate.
        assert!(matches!(answer.exit_code, 35 | 56 | 98), "{who}, TLS {tls}, {http}: {answer:?}");
        assert!(answer.errors.contains("alert"), "{who}, TLS {tls}, {http}: {answer:?}");
        assert_eq!(answer.status, 0, "{who}, TLS {tls}, {http}: {answer:?}");
    }
}

/// An authority with all the names of the stack's, and other keys. It is old enough to have been there when
/// the certificates began that have expired.
fn forger() -> Authority {
    let then = OffsetDateTime::now_utc() - Duration::days(365);
    Authority::create_at(TrustDomain::default(), then).unwrap()
}

#[test]
fn a_client_without_a_certificate_is_told_so_by_an_alert() {
    let stack = shared_stack();
    let ca = stack.pki().join("ca.crt");
    for version in VERSIONS {
        let alert = Caller::without_certificate(&ca, version).alert(stack.url());
        assert_eq!(alert, Ok(AlertDescription::CertificateRequired), "{version:?}");
    }
    assert_curl_is_refused(stack, &Curl::believing(&ca), "nobody");
}

#[test]
fn a_certificate_that_its_holder_signed_is_refused() {
    let stack = shared_stack();
    let holder = Holder::of(stack, request(stack, &new_name()).self_signed().unwrap());
    assert_alert(stack, &holder.client, AlertDescription::UnknownCA, "self-signed");
}

#[test]
fn a_certificate_of_another_ca_with_the_same_names_is_refused_even_if_registered() {
    let stack = shared_stack();
    let name = new_name();
    let holder = Holder::of(stack, forger().clients().sign(&request(stack, &name)).unwrap());
    holder.register_as(stack, &name);
    assert_alert(stack, &holder.client, AlertDescription::DecryptError, "another CA");
}

#[test]
fn a_forged_certificate_with_the_genuine_ca_behind_it_is_refused() {
    let stack = shared_stack();
    let leaf = forger().clients().sign(&request(stack, &new_name())).unwrap();
    let own = leaf.certificate_pem().split_inclusive("-----END CERTIFICATE-----\n").next().unwrap();
    let chain = own.to_owned() + stack.authority().clients().certificate_pem();
    let holder = Holder::with_chain(stack, &chain, leaf);
    assert_alert(stack, &holder.client, AlertDescription::DecryptError, "a genuine CA that did not sign it");
}

#[test]
fn a_forged_certificate_outside_its_validity_is_never_explained() {
    // webpki checks dates before signatures: "expired" says nothing about who signed.
    let stack = shared_stack();
    for (when, distort) in
        [("expired", expired as fn(LeafRequest) -> LeafRequest), ("not yet valid", not_yet_valid)]
    {
        let name = new_name();
        let request = distort(request(stack, &name));
        let self_signed = Holder::of(stack, request.self_signed().unwrap());
        self_signed.register_as(stack, &name);
        let who = format!("self-signed and {when}");
        assert_alert(stack, &self_signed.client, AlertDescription::UnknownCA, &who);

        let of_forger = Holder::of(stack, forger().clients().sign(&request).unwrap());
        of_forger.register_as(stack, &new_name());
        let who = format!("of a CA of the same name and {when}");
        assert_alert(stack, &of_forger.client, AlertDescription::DecryptError, &who);
    }
}

#[test]
fn a_ca_certificate_is_no_clients_certificate() {
    let stack = shared_stack();
    let key = stack.authority().clients().key().unwrap();
    // Shown as it stands, by somebody who stole its key.
    let leaf = request(stack, &new_name()).self_signed().unwrap();
    let holder = Holder::with_chain(stack, stack.authority().clients().certificate_pem(), leaf);
    std::fs::write(&holder.client.key, key.pem()).unwrap();
    assert_alert(stack, &holder.client, AlertDescription::CertificateUnknown, "the clients CA itself");

    // And a leaf that the clients CA signed with CA:TRUE in it.
    let request = LeafRequest { authority: true, ..request(stack, &new_name()) };
    let holder = Holder::of(stack, stack.authority().clients().sign(&request).unwrap());
    assert_alert(
        stack,
        &holder.client,
        AlertDescription::CertificateUnknown,
        "a leaf that claims to be a CA",
    );
}

#[test]
fn a_certificate_for_another_purpose_is_refused_also_outside_its_validity() {
    let stack = shared_stack();
    for purposes in [vec![Purpose::ServerAuth], vec![Purpose::CodeSigning], Vec::new()] {
        let name = new_name();
        let wrong = LeafRequest { purposes: purposes.clone(), ..request(stack, &name) };
        for request in [wrong.clone(), expired(wrong.clone()), not_yet_valid(wrong)] {
            let holder = Holder::of(stack, stack.authority().clients().sign(&request).unwrap());
            let who = format!("for {purposes:?}");
            assert_alert(stack, &holder.client, AlertDescription::UnsupportedCertificate, &who);
        }
    }
}

#[test]
fn a_certificate_without_a_purpose_is_admitted_where_the_operator_says_so() {
    let mut stack = Stack::start(options().processes(1, 1, 0)).unwrap();
    stack.add_proxy("[tls]\nunsafe_missing_eku = true").unwrap();
    let sign = |purposes| {
        let name = new_name();
        let request = LeafRequest { purposes, ..request(&stack, &name) };
        let holder = Holder::of(&stack, stack.authority().clients().sign(&request).unwrap());
        holder.register_as(&stack, &name);
        holder
    };
    let (unstated, other) = (sign(Vec::new()), sign(vec![Purpose::ServerAuth]));
    let lax = format!("{}/health", stack.proxies[1].url);
    let admitted = eventually(DEADLINE, || (unstated.curl().get(&lax).unwrap().status == 200).then_some(()));
    assert!(admitted.is_some(), "{:?}", unstated.curl().get(&lax));
    for (url, holder) in [(&stack.proxies[0].url, &unstated), (&stack.proxies[1].url, &other)] {
        let alert = Caller::of(&holder.client, VERSIONS[1]).alert(url);
        assert_eq!(alert, Ok(AlertDescription::UnsupportedCertificate));
    }
}

#[test]
fn a_genuine_certificate_outside_its_validity_is_refused_with_the_reason() {
    let stack = shared_stack();
    for (distort, code) in [
        (expired as fn(LeafRequest) -> LeafRequest, "certificate_expired"),
        (not_yet_valid, "certificate_not_yet_valid"),
    ] {
        let name = new_name();
        let leaf = stack.authority().clients().sign(&distort(request(stack, &name))).unwrap();
        let holder = Holder::of(stack, leaf);
        holder.register_as(stack, &name);
        for (tls, http) in [("1.3", "--http2"), ("1.2", "--http1.1")] {
            let curl = holder.curl().with("--tls-max", tls).flag(http);
            for path in ["/health", "/api/v1/whoami", "/no/such/path"] {
                let answer = curl.get(&format!("{}{path}", stack.url())).unwrap();
                assert_eq!(
                    (answer.exit_code, answer.status, answer.code().as_str()),
                    (0, 403, code),
                    "{answer:?}"
                );
                assert_eq!(answer.header("content-type"), Some("application/problem+json"));
                let problem = answer.json().unwrap();
                assert_eq!(problem["fingerprint"], holder.leaf.fingerprint().to_string());
            }
        }
    }
}
