//! Revocation lists, as `openssl` sees them.

use certs::{Revoked, RevokedReason};
use time::{Duration, OffsetDateTime};

use crate::support::{Pki, openssl};

#[test]
fn a_new_authority_has_signed_an_empty_list_for_each_ca() {
    let pki = Pki::create();
    for (list, signer) in [
        ("crl/root.pem", "ca.crt"),
        ("crl/revoked.pem", "clients-ca.crt"),
        ("crl/services.pem", "services-ca.crt"),
    ] {
        let answer = openssl(&["crl", "-in", &pki.at(list), "-noout", "-text", "-CAfile", &pki.at(signer)]);
        assert!(answer.error.contains("verify OK"), "{list}: {answer:?}");
        for fact in ["Version 2 (0x1)", "No Revoked Certificates.", "X509v3 Authority Key Identifier"] {
            assert!(answer.out.contains(fact), "{list}: {fact}");
        }
        // OpenSSL 3 writes 0x01, OpenSSL 1 writes 01
        let number = openssl(&["crl", "-in", &pki.at(list), "-noout", "-crlnumber"]).out;
        assert_eq!(number.trim().trim_start_matches("crlNumber=").trim_start_matches("0x"), "01", "{list}");
    }
}

#[test]
fn a_list_of_the_offline_root_lives_a_year_and_the_others_a_week() {
    let authority = Pki::create().authority();
    let days = authority.crls().map(|crl| (crl.next_update - crl.this_update).whole_days());
    assert_eq!(days, [365, 7, 7]);
}

#[test]
fn a_list_takes_effect_on_the_serial_it_names() {
    let pki = Pki::create();
    let revoked = pki.issue_client("stolen");
    pki.issue_client("innocent");
    let authority = pki.authority();
    let now = OffsetDateTime::now_utc();
    let entry = Revoked {
        serial: revoked.facts().serial.clone(),
        revoked_at: now,
        reason: RevokedReason::KeyCompromise,
    };
    let list = authority.clients().sign_crl(2, now, now + Duration::days(7), &[entry]).unwrap();
    let newer = pki.at("newer.pem");
    std::fs::write(&newer, list.pem()).unwrap();

    let verify = |list: &str, client: &str| {
        let leaf = pki.at(&format!("clients/{client}/{client}.crt"));
        let (root, issuing, root_list) = (pki.at("ca.crt"), pki.at("clients-ca.crt"), pki.at("crl/root.pem"));
        let lists = ["-crl_check_all", "-CRLfile", &root_list, "-CRLfile", list];
        openssl(&[&["verify", "-CAfile", &root, "-untrusted", &issuing][..], &lists, &[&leaf]].concat())
    };
    assert_eq!(verify(&pki.at("crl/revoked.pem"), "stolen").code, Some(0));
    assert_eq!(verify(&newer, "innocent").code, Some(0));
    let refused = verify(&newer, "stolen");
    assert!(refused.error.contains("certificate revoked"), "{refused:?}");
}
