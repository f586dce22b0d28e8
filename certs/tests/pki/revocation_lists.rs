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

#[test]
fn a_refresh_signs_the_next_number_with_the_same_entries_and_an_openssl_that_agrees() {
    let pki = Pki::create();
    let stolen = pki.issue_client("stolen");
    // A list that is past half of its life, with an entry.
    let now = OffsetDateTime::now_utc();
    let entry = Revoked {
        serial: stolen.facts().serial.clone(),
        revoked_at: now - Duration::days(6),
        reason: RevokedReason::KeyCompromise,
    };
    let clients = pki.authority();
    let old = clients.clients().sign_crl(5, now - Duration::days(6), now + Duration::days(1), &[entry]);
    std::fs::write(pki.at("crl/revoked.pem"), old.unwrap().pem()).unwrap();
    std::fs::remove_file(pki.at("ca.key")).unwrap();
    let before = std::fs::read(pki.at("crl/services.pem")).unwrap();

    let answer = pki.run(&["crl", "--refresh"]);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    assert!(answer.out.contains("clients CA: signed anew, number 6"), "{answer:?}");
    assert!(answer.out.contains("services CA: good until") && answer.out.contains("INSERT INTO crls"));
    assert_eq!(std::fs::read(pki.at("crl/services.pem")).unwrap(), before, "not due");
    let list = openssl(&[
        "crl",
        "-in",
        &pki.at("crl/revoked.pem"),
        "-noout",
        "-text",
        "-CAfile",
        &pki.at("clients-ca.crt"),
    ]);
    assert!(list.error.contains("verify OK") && list.out.contains("Key Compromise"), "{list:?}");

    let all = pki.run(&["crl", "--refresh", "--all"]);
    assert!(all.out.contains("root CA: due, but its key is not here"), "{all:?}");
    assert_eq!(pki.authority().crls().map(|list| list.number), [1, 7, 2]);
}
