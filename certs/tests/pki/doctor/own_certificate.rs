//! The client's certificate in itself: its dates, and the path to a CA.

use std::fs;

use certs::{Authority, ClientRequest, LeafRequest, TrustDomain};
use time::{Duration, OffsetDateTime};

use super::Patient;
use crate::support::name;

#[test]
fn a_certificate_outside_its_dates_is_told_with_the_date_and_what_the_clock_says() {
    // "Check certificate expiration dates"
    let now = OffsetDateTime::now_utc();
    for (from, to, word, remedy) in [
        (now - Duration::days(30), now - Duration::days(1), "expired on", "renew"),
        (now + Duration::days(1), now + Duration::days(30), "not valid before", "clock"),
    ] {
        let patient = Patient::healthy();
        let authority = patient.pki.authority();
        let request = authority.client_leaf(&name("client_002"), &ClientRequest::default());
        let leaf =
            authority.clients().sign(&LeafRequest { not_before: from, not_after: to, ..request }).unwrap();
        let diagnosis = patient.showing(&leaf).diagnosis();
        diagnosis.assert_fails("dates", &[word, remedy]);
        assert_eq!(
            diagnosis.outcome("chain"),
            "pass",
            "its path is another matter: {}",
            diagnosis.answer.out
        );
    }
}

#[test]
fn a_certificate_that_ends_within_thirty_days_is_a_warning() {
    let patient = Patient::healthy();
    let authority = patient.pki.authority();
    let leaf = authority
        .clients()
        .sign(
            &authority
                .client_leaf(&name("client_002"), &ClientRequest { days: 20, ..ClientRequest::default() }),
        )
        .unwrap();
    let diagnosis = patient.showing(&leaf).diagnosis();
    assert_eq!(diagnosis.outcome("dates"), "warn");
    assert!(diagnosis.finding("dates")["do"].as_str().unwrap().contains("renew"));
}

#[test]
fn a_chain_without_its_issuing_ca_is_a_warning_that_says_where_it_belongs() {
    // "Verify certificate chain"
    let mut patient = Patient::healthy();
    let chain = fs::read_to_string(patient.cert.as_ref().unwrap()).unwrap();
    let leaf = chain.split_inclusive("-----END CERTIFICATE-----\n").next().unwrap();
    patient.cert = Some(patient.write("alone.crt", leaf));
    let diagnosis = patient.diagnosis();
    assert_eq!(diagnosis.outcome("chain"), "warn");
    assert!(diagnosis.text("chain").contains("Portcullis Clients CA: that CA is not in the file"));
}

#[test]
fn a_certificate_of_a_ca_that_was_made_anew_is_told_apart_from_a_stranger() {
    let patient = Patient::healthy();
    let other = Authority::create(TrustDomain::default()).unwrap();
    let leaf =
        other.clients().sign(&other.client_leaf(&name("client_001"), &ClientRequest::default())).unwrap();
    let own = leaf.certificate_pem().split_inclusive("-----END CERTIFICATE-----\n").next().unwrap();
    let forged = own.to_owned() + patient.pki.authority().clients().certificate_pem();
    let mut patient = patient.showing(&leaf);
    patient.cert = Some(patient.write("shown.crt", forged));
    patient.diagnosis().assert_fails("chain", &["did not sign it", "two installations"]);
}

#[test]
fn a_self_signed_certificate_is_told_that_nobody_vouches_for_it() {
    let patient = Patient::healthy();
    let request = patient.pki.authority().client_leaf(&name("client_001"), &ClientRequest::default());
    let leaf = request.self_signed().unwrap();
    patient.showing(&leaf).diagnosis().assert_fails("chain", &["self-signed", "issue client"]);
}
