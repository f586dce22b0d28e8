//! `verify`, beside `openssl verify`: the two agree, and ours says what to do.

#![expect(clippy::unwrap_used, reason = "a test whose tools are missing cannot go on")]

use std::fs;

use certs::{Authority, ClientRequest, KeyUsage, LeafRequest, Purpose, TrustDomain};
use private_postgres::psql;
use shared::identity::Role;
use time::{Duration, OffsetDateTime};

use crate::{
    registration::database,
    support::{Answer, Pki, name, openssl},
};

/// What `openssl` says of a client's certificate, with every list.
fn openssl_verify(pki: &Pki, leaf: &str, issuing: &str, purpose: &str) -> Answer {
    let [root, issuing, lists @ ..] =
        ["ca.crt", issuing, "crl/root.pem", "crl/revoked.pem", "crl/services.pem"].map(|file| pki.at(file));
    let [root_list, clients_list, services_list] = &lists;
    openssl(&[
        "verify",
        "-x509_strict",
        "-crl_check_all",
        "-purpose",
        purpose,
        "-CAfile",
        &root,
        "-untrusted",
        &issuing,
        "-CRLfile",
        root_list,
        "-CRLfile",
        clients_list,
        "-CRLfile",
        services_list,
        leaf,
    ])
}

/// The outcome of each check, as `--json` says it.
fn outcomes(pki: &Pki, arguments: &[&str]) -> (Option<i32>, serde_json::Value, Vec<(String, String)>) {
    let answer = pki.run(&[&["verify", "--json"], arguments].concat());
    let json: serde_json::Value = serde_json::from_str(&answer.out).unwrap();
    let checks = json["checks"].as_array().unwrap().iter();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let checks = checks.map(|check| (text(&check["check"]), text(&check["outcome"]))).collect();
    (answer.code, json, checks)
}

fn failed(checks: &[(String, String)]) -> Vec<&str> {
    checks.iter().filter(|(_, outcome)| outcome == "fail").map(|(check, _)| check.as_str()).collect()
}

#[test]
fn verify_agrees_with_openssl_on_good_revoked_expired_early_and_forged_certificates() {
    // a CA that was there before its expired certificate
    let pki = Pki::nowhere();
    let made = OffsetDateTime::now_utc() - Duration::days(10);
    Authority::create_at(TrustDomain::default(), made).unwrap().save(&pki.dir()).unwrap();
    assert_eq!(pki.run(&["crl", "--refresh"]).code, Some(0));
    for client in ["good", "revoked"] {
        pki.issue_client(client);
    }
    assert_eq!(pki.run(&["revoke", "revoked"]).code, Some(0));
    let authority = pki.authority();
    let right = authority.client_leaf(&name("odd"), &ClientRequest::default());
    let now = OffsetDateTime::now_utc();
    let days = |from, to| LeafRequest {
        not_before: now + Duration::days(from),
        not_after: now + Duration::days(to),
        ..right.clone()
    };
    let signed = |request: &LeafRequest| authority.clients().sign(request).unwrap();
    let twin = Pki::create().authority();
    let cases = [
        ("expired", signed(&days(-2, -1)), &["dates"][..], "expired"),
        ("early", signed(&days(1, 2)), &["dates"], "not yet valid"),
        (
            "server",
            signed(&LeafRequest { purposes: vec![Purpose::ServerAuth], ..right.clone() }),
            &["key usage"],
            "purpose",
        ),
        (
            "signer",
            signed(&LeafRequest {
                authority: true,
                key_usages: vec![KeyUsage::KeyCertSign],
                ..right.clone()
            }),
            &["key usage"],
            "",
        ),
        ("forged", twin.clients().sign(&right).unwrap(), &["signature"], "unable to get local issuer"),
        ("nobody", right.self_signed().unwrap(), &["signature"], "self"),
    ];
    for (case, leaf, wanted, openssl_says) in cases {
        let file = pki.beside(case, leaf.certificate_pem());
        let (code, _, checks) = outcomes(&pki, &[&file]);
        assert_eq!((code, failed(&checks)), (Some(1), wanted.to_vec()), "{case}: {checks:?}");
        let theirs = openssl_verify(&pki, &file, "clients-ca.crt", "sslclient");
        assert_ne!(theirs.code, Some(0), "{case}");
        assert!(theirs.error.contains(openssl_says), "{case}: {theirs:?}");
    }
    for (client, code, wanted) in [("good", 0, &[][..]), ("revoked", 1, &["revocation"])] {
        let leaf = pki.at(&format!("clients/{client}/{client}.crt"));
        let theirs = openssl_verify(&pki, &leaf, "clients-ca.crt", "sslclient");
        assert_eq!(theirs.code == Some(0), code == 0, "{theirs:?}");
        for what in [client, leaf.as_str()] {
            let (ours, _, checks) = outcomes(&pki, &[what]);
            assert_eq!((ours, failed(&checks)), (Some(code), wanted.to_vec()), "{what}: {checks:?}");
        }
    }
}

#[test]
fn services_are_verified_for_what_they_do() {
    let pki = Pki::create();
    for role in Role::ALL {
        pki.issue_service(role, "s1");
        let (code, _, checks) = outcomes(&pki, &[&format!("{role}/s1")]);
        assert_eq!((code, failed(&checks)), (Some(0), vec![]), "{role}: {checks:?}");
        let leaf = pki.at(&format!("services/{role}/s1/s1.crt"));
        assert_eq!(openssl_verify(&pki, &leaf, "services-ca.crt", "sslclient").code, Some(0), "{role}");
    }
    assert_eq!(pki.run(&["revoke", "worker/s1"]).code, Some(0));
    assert_eq!(pki.run(&["verify", "worker/s1"]).code, Some(1));
    assert_eq!(pki.run(&["verify", "proxy/s1"]).code, Some(0));
}

#[test]
fn an_issuing_ca_that_the_root_revoked_takes_everything_below_with_it() {
    let pki = Pki::create();
    pki.issue_client("c1");
    let authority = pki.authority();
    let entry = certs::Revoked {
        serial: authority.clients().facts().serial.clone(),
        revoked_at: OffsetDateTime::now_utc(),
        reason: certs::RevokedReason::CaCompromise,
    };
    let list = authority.root().sign_next_crl(authority.crl(certs::Ca::Root), [entry]).unwrap();
    fs::write(pki.at("crl/root.pem"), list.pem()).unwrap();
    let answer = pki.run(&["verify", "c1"]);
    assert!(answer.code == Some(1) && answer.out.contains("the clients CA: revoked at"), "{answer:?}");
    let leaf = pki.at("clients/c1/c1.crt");
    assert_ne!(openssl_verify(&pki, &leaf, "clients-ca.crt", "sslclient").code, Some(0));
}

#[test]
fn a_list_that_is_overdue_or_not_the_cas_own_fails_the_check_as_with_openssl() {
    let pki = Pki::create();
    pki.issue_client("c1");
    let leaf = pki.at("clients/c1/c1.crt");
    let now = OffsetDateTime::now_utc();
    let authority = pki.authority();
    let overdue =
        authority.clients().sign_crl(2, now - Duration::days(8), now - Duration::days(1), &[]).unwrap();
    let twin = Pki::create().authority();
    let foreign = twin.clients().sign_crl(2, now, now + Duration::days(7), &[]).unwrap();
    for (list, why) in [(overdue, "crl --refresh"), (foreign, "list of the clients CA")] {
        fs::write(pki.at("crl/revoked.pem"), list.pem()).unwrap();
        let answer = pki.run(&["verify", "c1"]);
        assert!(answer.code == Some(1) && answer.out.contains(why), "{answer:?}");
        assert_ne!(openssl_verify(&pki, &leaf, "clients-ca.crt", "sslclient").code, Some(0));
    }
}

#[test]
fn files_that_were_mixed_up_are_found() {
    let pki = Pki::create();
    for client in ["c1", "c2"] {
        pki.issue_client(client);
    }
    fs::copy(pki.at("clients/c2/c2.key"), pki.at("clients/c1/c1.key")).unwrap();
    fs::copy(pki.at("clients/c2/fingerprint.txt"), pki.at("clients/c1/fingerprint.txt")).unwrap();
    let (code, _, checks) = outcomes(&pki, &["c1"]);
    assert_eq!((code, failed(&checks)), (Some(1), vec!["fingerprint", "key"]), "{checks:?}");
}

#[test]
fn an_end_within_thirty_days_is_a_warning() {
    let pki = Pki::create();
    assert_eq!(pki.run(&["issue", "client", "soon", "--days", "29"]).code, Some(0));
    assert_eq!(pki.run(&["issue", "client", "later", "--days", "31"]).code, Some(0));
    for (client, outcome) in [("soon", "warn"), ("later", "pass")] {
        let (code, json, checks) = outcomes(&pki, &[client]);
        assert_eq!((code, json["valid"].as_bool()), (Some(0), Some(true)));
        assert!(checks.contains(&("dates".to_owned(), outcome.to_owned())), "{client}: {checks:?}");
    }
}

#[test]
fn the_database_has_a_line_of_its_own() {
    let (pki, database) = (Pki::create(), database());
    let with = ["--database-url", database.as_str()];
    pki.issue_client("unregistered");
    for issue in [&["client", "c1"][..], &["worker", "w1"]] {
        assert_eq!(pki.run(&[&["issue"], issue, &with].concat()).code, Some(0));
    }
    let verify = |what: &str| pki.run(&[&["verify", what], &with[..]].concat());
    assert!(verify("c1").out.contains("registered and active"), "{:?}", verify("c1"));
    assert_eq!(verify("worker/w1").code, Some(0));
    assert!(verify("unregistered").out.contains("not registered"), "{:?}", verify("unregistered"));
    psql(&database, "UPDATE clients SET status = 'suspended'").unwrap();
    let suspended = verify("c1");
    assert!(suspended.code == Some(1) && suspended.out.contains("registered as suspended"), "{suspended:?}");
    psql(&database, "UPDATE clients SET status = 'active', expires_at = now()").unwrap();
    assert!(verify("c1").out.contains("its registration ended at"), "{:?}", verify("c1"));
}

#[test]
fn people_get_a_verdict_and_a_sign_for_each_check() {
    let pki = Pki::create();
    pki.issue_client("c1");
    let good = pki.run(&["verify", "c1"]);
    assert!(good.out.starts_with("[PASS] client c1: the certificate is VALID\n  [✓] signature"), "{good:?}");
    assert_eq!(pki.run(&["revoke", "c1", "--reason", "keyCompromise"]).code, Some(0));
    let bad = pki.run(&["verify", "c1"]);
    assert!(bad.out.starts_with("[FAIL] client c1: the certificate is INVALID"), "{bad:?}");
    assert!(
        bad.out.contains("  [✗] revocation  revoked at") && bad.out.contains("(keyCompromise)"),
        "{bad:?}"
    );
    assert!(!bad.out.contains('\u{1b}'), "no colours where there is no terminal: {bad:?}");
    // a holder whose folder is gone is still known
    fs::remove_dir_all(pki.at("clients/c1")).unwrap();
    assert_eq!(pki.run(&["verify", "c1"]).code, Some(1));
    let nobody = pki.run(&["verify", "nobody"]);
    assert!(nobody.code == Some(1) && nobody.error.contains("neither a holder"), "{nobody:?}");
}
