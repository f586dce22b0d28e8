//! Renewing and revoking, in a real database.

#![expect(clippy::unwrap_used, reason = "a test whose database is missing cannot go on")]

use private_postgres::psql;

use crate::{
    registration::database,
    support::{Answer, Pki},
};

const REGISTERED: &str =
    "SELECT fingerprint FROM client_registry WHERE status = 'active' ORDER BY expires_at";

fn fingerprint(pki: &Pki, client: &str) -> String {
    let text = std::fs::read_to_string(pki.at(&format!("clients/{client}/fingerprint.txt"))).unwrap();
    text.trim().trim_start_matches("SHA256 Fingerprint=").replace(':', "")
}

fn issue(pki: &Pki, database: &str, client: &str) -> String {
    let issued = pki.run(&["issue", "client", client, "--domain", "example.com", "--database-url", database]);
    assert_eq!(issued.code, Some(0), "{issued:?}");
    fingerprint(pki, client)
}

fn renew(pki: &Pki, database: &str, arguments: &[&str]) -> Answer {
    pki.run(&[&["renew", "client_001", "--database-url", database], arguments].concat())
}

fn revoke(pki: &Pki, database: &str, arguments: &[&str]) -> Answer {
    pki.run(&[&["revoke", "--database-url", database], arguments].concat())
}

#[test]
fn a_renewed_client_has_a_new_certificate_and_the_old_one_for_the_overlap() {
    let (pki, database) = (Pki::create(), database());
    let old = issue(&pki, &database, "client_001");
    let old_key = std::fs::read(pki.at("clients/client_001/client_001.key")).unwrap();
    let renewed = renew(&pki, &database, &["--overlap", "7d", "--days", "30"]);
    assert_eq!(renewed.code, Some(0), "{renewed:?}");
    assert!(renewed.out.contains("the old certificate goes on until"), "{renewed:?}");
    let new = fingerprint(&pki, "client_001");
    assert_ne!(old, new);
    assert_ne!(std::fs::read(pki.at("clients/client_001/client_001.key")).unwrap(), old_key);
    assert_eq!(psql(&database, REGISTERED).unwrap().trim(), format!("{old}\n{new}"));
    let row = "SELECT client_id, domain, former_fingerprint, expires_at < now() + interval '31 days' FROM client_status";
    assert_eq!(psql(&database, row).unwrap().trim(), format!("client_001|example.com|{old}|t"));

    let backups: Vec<_> = std::fs::read_dir(pki.at("backup/clients/client_001")).unwrap().collect();
    let [backup] = &backups[..] else { panic!("{backups:?}") };
    let backup = backup.as_ref().unwrap().path();
    assert_eq!(std::fs::read(backup.join("client_001.key")).unwrap(), old_key);
}

#[test]
fn without_an_overlap_the_old_certificate_stops_at_once() {
    let (pki, database) = (Pki::create(), database());
    issue(&pki, &database, "client_001");
    let renewed = renew(&pki, &database, &[]);
    assert!(renewed.out.contains("the old certificate is not admitted any more"), "{renewed:?}");
    assert_eq!(psql(&database, REGISTERED).unwrap().trim(), fingerprint(&pki, "client_001"));
}

#[test]
fn a_plain_update_of_the_fingerprint_stops_every_former_certificate() {
    let (pki, database) = (Pki::create(), database());
    issue(&pki, &database, "client_001");
    renew(&pki, &database, &["--overlap", "7d"]);
    let other = "C".repeat(64);
    psql(&database, &format!("UPDATE clients SET cert_fingerprint = '{other}'")).unwrap();
    assert_eq!(psql(&database, REGISTERED).unwrap().trim(), other);
}

#[test]
fn a_second_renewal_keeps_the_time_that_the_first_one_promised() {
    let (pki, database) = (Pki::create(), database());
    let first = issue(&pki, &database, "client_001");
    renew(&pki, &database, &["--overlap", "7d"]);
    let second = fingerprint(&pki, "client_001");
    renew(&pki, &database, &["--overlap", "14d"]);
    let third = fingerprint(&pki, "client_001");
    assert_eq!(psql(&database, REGISTERED).unwrap().trim(), format!("{first}\n{second}\n{third}"));
}

#[test]
fn what_cannot_be_renewed_keeps_its_files_and_its_row() {
    let (pki, database) = (Pki::create(), database());
    issue(&pki, &database, "client_001");
    pki.issue_client("unregistered");
    let refused = |arguments: &[&str], why: &str| {
        let (files, rows) = (pki.contents(), psql(&database, "TABLE clients").unwrap());
        let refused = pki.run(&[&["renew", "--database-url", &database], arguments].concat());
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(refused.error.contains(why), "{refused:?}");
        assert_eq!(pki.contents(), files);
        assert_eq!(psql(&database, "TABLE clients").unwrap(), rows);
    };
    refused(&["nobody"], "has no certificate in");
    refused(&["unregistered"], "client unregistered is not registered");
    refused(&["client_001", "--overlap", "91d"], "an overlap lasts between 0 and 90 days");
    // nor may SQL be printed that the database would refuse, after the files were moved
    let files = pki.contents();
    let alone = pki.run(&["renew", "client_001", "--overlap", "91d"]);
    assert!(alone.code == Some(1) && alone.error.contains("between 0 and 90 days"), "{alone:?}");
    assert_eq!(pki.contents(), files);
    assert_eq!(revoke(&pki, &database, &["client_001"]).code, Some(0));
    refused(&["client_001", "--overlap", "7d"], "client client_001 was revoked at");
}

#[test]
fn the_printed_renewal_does_what_renewing_does() {
    let (pki, database) = (Pki::create(), database());
    let old = issue(&pki, &database, "client_001");
    let renewed = pki.run(&["renew", "client_001", "--overlap", "7d"]);
    assert_eq!(renewed.code, Some(0), "{renewed:?}");
    psql(&database, &renewed.out[renewed.out.find("SELECT renew_client").unwrap()..]).unwrap();
    let new = fingerprint(&pki, "client_001");
    assert_eq!(psql(&database, REGISTERED).unwrap().trim(), format!("{old}\n{new}"));
}

#[test]
fn revoking_a_client_stops_every_certificate_of_it_for_ever() {
    let (pki, database) = (Pki::create(), database());
    let old = issue(&pki, &database, "client_001");
    renew(&pki, &database, &["--overlap", "7d"]);
    let new = fingerprint(&pki, "client_001");
    let arguments = ["client_001", "--reason", "keyCompromise", "--comment", "laptop stolen"];
    let revoked = revoke(&pki, &database, &arguments);
    assert_eq!(revoked.code, Some(0), "{revoked:?}");
    let row = "SELECT status, reason_code, revocation_reason, revoked_at IS NOT NULL FROM clients";
    assert_eq!(psql(&database, row).unwrap().trim(), "revoked|keyCompromise|laptop stolen|t");
    for fingerprint in [&old, &new] {
        let again = format!(
            "INSERT INTO clients (client_id, cert_fingerprint, expires_at)
             VALUES ('other', '{fingerprint}', now() + interval '1 day')"
        );
        let refused = psql(&database, &again).unwrap_err().to_string();
        assert!(refused.contains("stays revoked") || refused.contains("unique"), "{refused}");
    }
    // Both are answered as revoked, also when no row is left.
    psql(&database, "DELETE FROM clients").unwrap();
    let answered =
        "SELECT count(*) FROM client_registry WHERE status = 'revoked' AND reason_code = 'keyCompromise'";
    assert_eq!(psql(&database, answered).unwrap().trim(), "2");
    assert_eq!(psql(&database, "TABLE client_registry_removed").unwrap().trim(), "");

    let audited = "SELECT what, old ->> 'status', new ->> 'status', reason FROM audit_log
                   WHERE client_id = 'client_001' AND what = 'clients update' ORDER BY id DESC LIMIT 1";
    assert_eq!(psql(&database, audited).unwrap().trim(), "clients update|active|revoked|laptop stolen");
}

#[test]
fn one_certificate_is_revoked_by_its_fingerprint() {
    let (pki, database) = (Pki::create(), database());
    let old = issue(&pki, &database, "client_001");
    renew(&pki, &database, &["--overlap", "7d"]);
    let new = fingerprint(&pki, "client_001");
    let revoked = revoke(&pki, &database, &["--fingerprint", &old]);
    assert!(revoked.out.contains("a former certificate of client client_001 is revoked"), "{revoked:?}");
    assert_eq!(psql(&database, REGISTERED).unwrap().trim(), new);

    let pasted = std::fs::read_to_string(pki.at("clients/client_001/fingerprint.txt")).unwrap();
    let revoked = revoke(&pki, &database, &["--fingerprint", pasted.trim()]);
    assert!(revoked.out.contains("client client_001 is revoked (unspecified)"), "{revoked:?}");
    assert_eq!(psql(&database, REGISTERED).unwrap().trim(), "");
}

#[test]
fn what_cannot_be_revoked_is_said() {
    let (pki, database) = (Pki::create(), database());
    issue(&pki, &database, "client_001");
    let unknown = "A".repeat(64);
    for (arguments, code, why) in [
        (&["client_002"][..], 1, "client client_002 is neither registered nor was it issued here"),
        (&["worker/client_001"], 1, "worker client_001 is neither registered nor was it issued here"),
        (&["client_002", "--database-only"], 1, "client client_002 is not registered"),
        (&["--fingerprint", &unknown], 1, "is neither registered nor was it issued here"),
        (&["--serial", "4711"], 1, "no certificate with the serial number 4711 was issued here"),
        (&["client_001", "--serial", "4711"], 2, "cannot be used with"),
        (&["clients/client_001"], 2, "the kind must be"),
        (&["client_001", "--reason", "because"], 2, "because"),
        (&["client_001", "--timeout", "soon"], 2, "soon"),
        (&[], 2, "required"),
    ] {
        let refused = revoke(&pki, &database, arguments);
        assert_eq!(refused.code, Some(code), "{refused:?}");
        assert!(refused.error.contains(why), "{refused:?}");
    }
    let refused = pki.run(&["revoke", "client_001", "--database-only"]);
    assert!(refused.code == Some(1) && refused.error.contains("needs a database"), "{refused:?}");
    let files = pki.contents();
    let blind = pki.run(&["revoke", "client_001", "--wait"]);
    assert!(blind.code == Some(1) && blind.error.contains("--wait needs the database"), "{blind:?}");
    assert_eq!(pki.contents(), files, "refused before anything was done");
    assert_ne!(psql(&database, REGISTERED).unwrap().trim(), "");

    assert_eq!(revoke(&pki, &database, &["client_001"]).code, Some(0));
    let files = pki.contents();
    let again = revoke(&pki, &database, &["client_001"]);
    assert!(
        again.code == Some(1) && again.error.contains("client client_001 was revoked before"),
        "{again:?}"
    );
    assert_eq!(pki.contents(), files);
}

/// A proxy's last report, `ago` (an interval) from now.
fn report(database: &str, proxy: &str, applied: &str, ago: &str) {
    let row = format!(
        "INSERT INTO proxy_sync_reports VALUES ('{proxy}', gen_random_uuid(), {applied}, 1, now(), '60 s', now() - interval '{ago}')"
    );
    psql(database, &row).unwrap();
}

#[test]
fn waiting_names_the_proxies_in_which_it_is_not_in_force() {
    let (pki, database) = (Pki::create(), database());
    issue(&pki, &database, "client_001");
    let wait = ["client_001", "--wait", "--timeout", "200ms"];
    let nobody = revoke(&pki, &database, &wait);
    assert!(nobody.code == Some(1) && nobody.error.contains("no proxy reports"), "{nobody:?}");

    report(&database, "far", "'1000000:1000000:'", "0 s");
    report(&database, "loading", "NULL", "0 s");
    report(&database, "gone", "'10:10:'", "2 minutes");
    let done = revoke(&pki, &database, &wait);
    assert!(done.code == Some(0) && done.out.contains("in force on all 2 proxies"), "{done:?}");

    report(&database, "behind", "'10:10:'", "0 s");
    report(&database, "silent", "'10:10:'", "12 s");
    let late = revoke(&pki, &database, &wait);
    assert_eq!(late.code, Some(1), "{late:?}");
    assert!(late.out.contains("client client_001 was revoked before"), "{late:?}");
    for part in ["on 2 of 4 proxies", "behind (current, last report", "silent (silent, last report 12 s ago)"]
    {
        assert!(late.error.contains(part), "{part}: {late:?}");
    }
}
