//! Revoking: the row, the audit and the list in one transaction, then the files; and without a database.

#![expect(clippy::unwrap_used, reason = "a test whose database is missing cannot go on")]

use std::fs;

use certs::{Ca, RevocationList, RevokedReason};
use private_postgres::psql;
use time::{Duration, OffsetDateTime};

use crate::{
    registration::database,
    support::{Answer, Pki, openssl},
};

fn with(pki: &Pki, database: &str, arguments: &[&str]) -> Answer {
    pki.run(&[arguments, &["--database-url", database]].concat())
}

fn done(pki: &Pki, database: &str, arguments: &[&str]) -> Answer {
    let answer = with(pki, database, arguments);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    answer
}

fn serial(pki: &Pki, leaf: &str) -> String {
    let text = openssl(&["x509", "-in", &pki.at(leaf), "-noout", "-serial"]).out;
    text.trim().trim_start_matches("serial=").to_owned()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02X}"))
}

/// The serial numbers on a CA's list in the folder.
fn listed(pki: &Pki, ca: Ca) -> Vec<String> {
    let entries = pki.authority().crl(ca).revoked().unwrap();
    entries.iter().map(|entry| hex(&entry.serial)).collect()
}

/// The list of the clients CA in the database.
fn list_in(database: &str, pki: &Pki) -> RevocationList {
    let key_id = hex(&pki.authority().clients().facts().key_id.clone().unwrap());
    let list = format!("SELECT encode(der, 'hex') FROM crls WHERE issuer_key_id = '\\x{key_id}'");
    let list = psql(database, &list).unwrap();
    let pairs = list.trim().as_bytes().chunks(2);
    let der = pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap());
    RevocationList::from_der(der.collect()).unwrap()
}

#[test]
fn a_revocation_is_a_row_an_audit_and_a_list_in_one_transaction() {
    let (pki, database) = (Pki::create(), database());
    done(&pki, &database, &["issue", "client", "c1"]);
    let serial = serial(&pki, "clients/c1/c1.crt");
    let answer =
        done(&pki, &database, &["revoke", "c1", "--reason", "keyCompromise", "--comment", "laptop\nstolen"]);
    assert!(answer.out.contains(&format!("list 2 of the clients CA has 1 more: {serial}")), "{answer:?}");

    assert_eq!(listed(&pki, Ca::Clients).join(" "), serial);
    let list = list_in(&database, &pki);
    assert_eq!(list.der(), pki.authority().crl(Ca::Clients).der());
    assert_eq!(list.revoked().unwrap()[0].reason, RevokedReason::KeyCompromise);
    let shown = openssl(&[
        "crl",
        "-in",
        &pki.at("crl/revoked.pem"),
        "-noout",
        "-text",
        "-CAfile",
        &pki.at("clients-ca.crt"),
    ]);
    assert!(shown.error.contains("verify OK") && shown.out.contains(&serial), "{shown:?}");
    let log = fs::read_to_string(pki.at("crl/revocation_log.txt")).unwrap();
    let [line] = log.lines().collect::<Vec<_>>()[..] else { panic!("{log}") };
    for part in ["client/c1", &serial, "crl_number=2", "reason=keyCompromise", r#"comment="laptop\nstolen""#]
    {
        assert!(line.contains(part), "{part}: {line}");
    }
    // one transaction: the audit's rows of it have one time
    let audited = "SELECT what FROM audit_log WHERE what IN ('clients update', 'crls update') ORDER BY id";
    assert_eq!(psql(&database, audited).unwrap().trim(), "clients update\ncrls update");
    let same = "SELECT (SELECT change_xid FROM clients) = xmin::text::xid8 FROM crls WHERE crl_number = 2";
    assert_eq!(psql(&database, same).unwrap().trim(), "t");
}

#[test]
fn a_list_that_the_database_refuses_leaves_row_and_files_as_they_were() {
    let (pki, database) = (Pki::create(), database());
    done(&pki, &database, &["issue", "client", "c1"]);
    psql(&database, "ALTER TABLE crls ADD CHECK (crl_number < 2)").unwrap();
    let (files, rows) = (pki.contents(), psql(&database, "TABLE clients").unwrap());
    let refused = with(&pki, &database, &["revoke", "c1"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert_eq!((pki.contents(), psql(&database, "TABLE clients").unwrap()), (files, rows));
    assert_eq!(psql(&database, "TABLE revoked_fingerprints").unwrap().trim(), "");
}

#[test]
fn files_that_cannot_be_written_leave_the_revocation_in_force_and_the_next_run_brings_them() {
    let (pki, database) = (Pki::create(), database());
    done(&pki, &database, &["issue", "client", "c1"]);
    // a folder where the log should be: the step after the list
    fs::create_dir(pki.at("crl/revocation_log.txt")).unwrap();
    let failed = with(&pki, &database, &["revoke", "c1"]);
    assert!(failed.code == Some(1) && failed.error.contains("it is revoked, but the log"), "{failed:?}");
    assert_eq!(psql(&database, "SELECT status FROM clients").unwrap().trim(), "revoked");
    assert_eq!(list_in(&database, &pki).number, 2);
    fs::remove_dir(pki.at("crl/revocation_log.txt")).unwrap();

    // as if it had ended before the list's file was written
    let now = OffsetDateTime::now_utc();
    let first = pki.authority().clients().sign_crl(1, now, now + Duration::days(7), &[]).unwrap();
    fs::write(pki.at("crl/revoked.pem"), first.pem()).unwrap();
    done(&pki, &database, &["crl", "--refresh"]);
    assert_eq!(listed(&pki, Ca::Clients), [serial(&pki, "clients/c1/c1.crt")]);
}

#[test]
fn every_certificate_of_a_revoked_holder_is_on_the_list() {
    let (pki, database) = (Pki::create(), database());
    done(&pki, &database, &["issue", "client", "c1"]);
    let first = serial(&pki, "clients/c1/c1.crt");
    done(&pki, &database, &["renew", "c1", "--overlap", "7d"]);
    let second = serial(&pki, "clients/c1/c1.crt");
    done(&pki, &database, &["issue", "client", "c2"]);
    done(&pki, &database, &["revoke", "c1"]);
    let mut both = [first, second];
    both.sort();
    let mut found = listed(&pki, Ca::Clients);
    found.sort();
    assert_eq!(found, both);
    assert_eq!(with(&pki, &database, &["verify", "c2"]).code, Some(0));
}

#[test]
fn a_former_certificate_is_revoked_alone_and_the_current_one_stands_for_its_holder() {
    let (pki, database) = (Pki::create(), database());
    done(&pki, &database, &["issue", "client", "c1"]);
    let first = serial(&pki, "clients/c1/c1.crt");
    done(&pki, &database, &["renew", "c1", "--overlap", "7d"]);
    let second = serial(&pki, "clients/c1/c1.crt");
    let answer = done(&pki, &database, &["revoke", "--serial", &first.to_lowercase()]);
    assert!(answer.out.contains("a former certificate of client c1 is revoked"), "{answer:?}");
    assert_eq!(listed(&pki, Ca::Clients).join(" "), first);
    let status = "SELECT status FROM client_registry ORDER BY status";
    assert_eq!(psql(&database, status).unwrap().trim(), "active\nrevoked");
    let again = with(&pki, &database, &["revoke", "--serial", &first]);
    assert!(again.code == Some(1) && again.error.contains("was revoked before"), "{again:?}");

    done(&pki, &database, &["revoke", "--serial", &second]);
    assert_eq!(psql(&database, status).unwrap().trim(), "revoked\nrevoked");
    assert_eq!(listed(&pki, Ca::Clients).len(), 2);
}

#[test]
fn a_service_is_revoked_by_row_and_by_the_services_list() {
    let (pki, database) = (Pki::create(), database());
    done(&pki, &database, &["issue", "worker", "w1"]);
    done(&pki, &database, &["issue", "worker", "w2"]);
    done(&pki, &database, &["revoke", "worker/w1", "--reason", "cessationOfOperation"]);
    let rows = "SELECT service_id, status, reason_code FROM services ORDER BY service_id";
    assert_eq!(psql(&database, rows).unwrap().trim(), "w1|revoked|cessationOfOperation\nw2|active|");
    assert_eq!(listed(&pki, Ca::Services), [serial(&pki, "services/worker/w1/w1.crt")]);
    assert_eq!(listed(&pki, Ca::Clients), Vec::<String>::new());
    let renewed = with(&pki, &database, &["renew", "worker/w1"]);
    assert!(renewed.code == Some(1) && renewed.error.contains("worker w1 was revoked at"), "{renewed:?}");
}

#[test]
fn a_renewed_service_may_keep_its_old_certificate_for_a_while_and_revoking_ends_both() {
    let (pki, database) = (Pki::create(), database());
    done(&pki, &database, &["issue", "worker", "w1"]);
    let first = serial(&pki, "services/worker/w1/w1.crt");
    let renewed = done(&pki, &database, &["renew", "worker/w1", "--overlap", "7d"]);
    assert!(renewed.out.contains("the old certificate goes on until"), "{renewed:?}");
    let registered =
        "SELECT status, expires_at < now() + interval '8 days' FROM service_registry ORDER BY expires_at";
    assert_eq!(psql(&database, registered).unwrap().trim(), "active|t\nactive|f");
    done(&pki, &database, &["revoke", "worker/w1"]);
    assert_eq!(psql(&database, "SELECT status FROM service_registry").unwrap().trim(), "revoked");
    assert_eq!(psql(&database, "SELECT count(*) FROM revoked_fingerprints").unwrap().trim(), "2");
    assert!(listed(&pki, Ca::Services).contains(&first) && listed(&pki, Ca::Services).len() == 2);

    // without an overlap, or by a plain update, the old one stops at once
    done(&pki, &database, &["issue", "worker", "w2"]);
    done(&pki, &database, &["renew", "worker/w2", "--overlap", "7d"]);
    psql(
        &database,
        &format!("UPDATE services SET cert_fingerprint = '{}' WHERE service_id = 'w2'", "C".repeat(64)),
    )
    .unwrap();
    assert_eq!(psql(&database, "SELECT count(*) FROM former_service_certificates").unwrap().trim(), "0");
    done(&pki, &database, &["issue", "worker", "w3"]);
    done(&pki, &database, &["renew", "worker/w3"]);
    assert_eq!(
        psql(&database, "SELECT count(*) FROM service_registry WHERE service_id = 'w3'").unwrap().trim(),
        "1"
    );
}

#[test]
fn without_a_database_the_list_is_signed_and_the_printed_sql_does_the_rest() {
    let (pki, database) = (Pki::create(), database());
    for (issue, revoke, table) in [
        (&["issue", "client", "c1"][..], &["revoke", "c1"][..], "clients"),
        (&["issue", "worker", "w1"], &["revoke", "worker/w1"], "services"),
    ] {
        done(&pki, &database, issue);
        let answer = pki.run(&[revoke, &["--reason", "superseded", "--comment", "it's old"]].concat());
        assert_eq!(answer.code, Some(0), "{answer:?}");
        assert!(answer.out.contains("nothing is in force yet"), "{answer:?}");
        let again = pki.run(revoke);
        assert!(again.code == Some(1) && again.error.contains("was revoked before"), "{again:?}");
        let row = format!("SELECT status, reason_code, revocation_reason FROM {table}");
        assert_eq!(psql(&database, &row).unwrap().trim(), "active||");
        psql(&database, &answer.out[answer.out.find("BEGIN;").unwrap()..]).unwrap();
        assert_eq!(psql(&database, &row).unwrap().trim(), "revoked|superseded|it's old");
    }
    assert_eq!(list_in(&database, &pki).der(), pki.authority().crl(Ca::Clients).der());
}

#[test]
fn sql_of_a_revocation_that_was_lost_is_printed_again() {
    let (pki, database) = (Pki::create(), database());
    done(&pki, &database, &["issue", "client", "c1"]);
    assert_eq!(pki.run(&["revoke", "c1"]).code, Some(0));
    let again = pki.run(&["revoke", "c1", "--reason", "superseded"]);
    assert!(again.code == Some(1) && !again.error.contains("nothing left to do"), "{again:?}");
    psql(&database, &again.error[again.error.find("BEGIN;").unwrap()..]).unwrap();
    assert_eq!(psql(&database, "SELECT status FROM clients").unwrap().trim(), "revoked");
    assert_eq!(list_in(&database, &pki).der(), pki.authority().crl(Ca::Clients).der());
}

#[test]
fn who_has_no_key_and_no_folder_revokes_in_the_database_alone() {
    let (pki, database) = (Pki::create(), database());
    done(&pki, &database, &["issue", "client", "c1"]);
    fs::remove_file(pki.at("clients-ca.key")).unwrap();
    let refused = with(&pki, &database, &["revoke", "c1"]);
    assert!(refused.code == Some(1) && refused.error.contains("--database-only"), "{refused:?}");
    assert_eq!(psql(&database, "SELECT status FROM clients").unwrap().trim(), "active");
    let elsewhere = Pki::nowhere();
    done(&elsewhere, &database, &["revoke", "c1", "--database-only"]);
    assert_eq!(psql(&database, "SELECT status FROM clients").unwrap().trim(), "revoked");
    let list = with(&pki, &database, &["list"]);
    assert!(list.out.contains("revoked in the database, but not on the list"), "{list:?}");
}

#[test]
fn a_client_of_another_ca_is_revoked_by_its_row() {
    let (pki, database) = (Pki::create(), database());
    let fingerprint = "AB".repeat(32);
    psql(
        &database,
        &format!("INSERT INTO clients (client_id, cert_fingerprint, expires_at) VALUES ('external', '{fingerprint}', now() + interval '1 day')"),
    )
    .unwrap();
    done(&pki, &database, &["revoke", "--fingerprint", &fingerprint]);
    assert_eq!(psql(&database, "SELECT status FROM clients").unwrap().trim(), "revoked");
    assert_eq!(pki.authority().crls().map(|list| list.number), [1, 1, 1]);
}

#[test]
fn nobody_is_forgotten_when_two_machines_sign_lists() {
    let (pki, database) = (Pki::create(), database());
    for client in ["c1", "c2", "c3"] {
        done(&pki, &database, &["issue", "client", client]);
    }
    let copy = Pki::copy_of(&pki);
    done(&pki, &database, &["revoke", "c1"]);
    done(&copy, &database, &["revoke", "c2"]);
    done(&pki, &database, &["revoke", "c3"]);
    assert_eq!(listed(&pki, Ca::Clients).len(), 3);
    assert_eq!(list_in(&database, &pki).number, 4);
    done(&copy, &database, &["crl", "--refresh"]);
    assert_eq!(listed(&copy, Ca::Clients).len(), 3);
}

#[test]
fn json_says_what_was_done() {
    let (pki, database) = (Pki::create(), database());
    done(&pki, &database, &["issue", "client", "c1"]);
    let answer = done(&pki, &database, &["revoke", "c1", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&answer.out).unwrap();
    assert_eq!(json["database"], "revoked");
    assert_eq!(json["serials"][0], serial(&pki, "clients/c1/c1.crt"));
    assert_eq!(json["list"], serde_json::json!({ "issuer": "clients CA", "number": 2 }));
}
