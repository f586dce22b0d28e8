//! `list`, `expiring` and `crl`: what was issued, what ends, what is revoked; and the manual.

use std::{fs, process::Command};

use certs::{Authority, ClientRequest, TrustDomain};
use private_postgres::psql;
use serde_json::Value;
use time::{Duration, OffsetDateTime};

use crate::{
    registration::database,
    support::{Pki, answer, name, openssl},
};

fn json(pki: &Pki, arguments: &[&str]) -> Vec<Value> {
    let answer = pki.run(&[arguments, &["--json"]].concat());
    serde_json::from_str::<Vec<Value>>(&answer.out).unwrap_or_else(|_| panic!("{answer:?}"))
}

/// Of each row, these members.
fn members(rows: &[Value], names: &[&str]) -> Vec<String> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    rows.iter().map(|row| names.iter().map(|name| text(&row[*name])).collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn everything_that_was_issued_is_listed_with_how_it_stands() {
    let pki = Pki::create();
    for issue in
        [&["client", "c1"][..], &["client", "c2"], &["client", "soon", "--days", "20"], &["worker", "w1"]]
    {
        assert_eq!(pki.run(&[&["issue"], issue].concat()).code, Some(0));
    }
    assert_eq!(pki.run(&["renew", "c1"]).code, Some(0));
    assert_eq!(pki.run(&["revoke", "c2"]).code, Some(0));
    let listed = |which: &str| members(&json(&pki, &["list", which]), &["holder", "status", "days_left"]);
    let all = ["c1 renewed 364", "c1 active 364", "c2 revoked 364", "soon active 19", "worker/w1 active 364"];
    assert_eq!(listed("all"), all);
    assert_eq!(listed("active"), ["c1 active 364", "soon active 19", "worker/w1 active 364"]);
    assert_eq!(listed("revoked"), ["c2 revoked 364"]);
    assert_eq!(listed("expiring"), ["soon active 19"]);
    assert_eq!(pki.run(&["list", "everything"]).code, Some(2));

    let table = pki.run(&["list", "--wide"]).out;
    let serial = openssl(&["x509", "-in", &pki.at("clients/c2/c2.crt"), "-noout", "-serial"]).out;
    let row = table.lines().find(|line| line.starts_with("c2")).unwrap();
    assert!(
        row.contains(serial.trim().trim_start_matches("serial=")) && row.ends_with("revoked  364 days"),
        "{table}"
    );
}

#[test]
fn disagreements_between_index_list_and_database_are_marked() {
    let (pki, database) = (Pki::create(), database());
    let with = ["--database-url", database.as_str()];
    for client in ["agreed", "revoked_by_row", "suspended", "ended"] {
        assert_eq!(pki.run(&[&["issue", "client", client], &with[..]].concat()).code, Some(0));
    }
    pki.issue_client("unregistered");
    assert_eq!(pki.run(&[&["issue", "client", "listed"], &with[..]].concat()).code, Some(0));
    assert_eq!(pki.run(&["revoke", "listed"]).code, Some(0), "with no database");
    psql(
        &database,
        &format!(
            "UPDATE clients SET status = 'revoked' WHERE client_id = 'revoked_by_row';
             UPDATE clients SET status = 'suspended' WHERE client_id = 'suspended';
             UPDATE clients SET expires_at = now() WHERE client_id = 'ended';
             INSERT INTO clients (client_id, cert_fingerprint, expires_at)
             VALUES ('external', '{}', now() + interval '9 days')",
            "AB".repeat(32)
        ),
    )
    .unwrap();
    let rows = json(&pki, &[&["list"], &with[..]].concat());
    assert_eq!(
        members(&rows, &["holder", "status", "disagreement"]),
        [
            "agreed active null",
            "ended active its registration has ended",
            "listed revoked on the list, but not revoked in the database",
            "revoked_by_row revoked revoked in the database, but not on the list",
            "suspended suspended null",
            "unregistered active not registered in the database",
            "external active only in the database: issued elsewhere, or its files are lost",
        ]
    );
    let table = pki.run(&[&["list"], &with[..]].concat()).out;
    assert_eq!(table.matches("  ! ").count(), 5, "{table}");
}

#[test]
fn what_was_restored_without_the_index_is_known_from_its_folders() {
    let pki = Pki::create();
    pki.issue_client("c1");
    fs::remove_dir_all(pki.at("issued")).unwrap();
    assert_eq!(members(&json(&pki, &["list"]), &["holder", "status"]), ["c1 active"]);
    assert_eq!(pki.run(&["revoke", "c1"]).code, Some(0));
    assert_eq!(pki.authority().crls().map(|list| list.number), [1, 2, 1]);
}

#[test]
fn the_timetable_of_renewals_is_kept_and_a_monitor_is_told() {
    let pki = Pki::create();
    let issue = |client: &str, days: &str| {
        assert_eq!(pki.run(&["issue", "client", client, "--days", days]).code, Some(0));
    };
    issue("later", "90");
    let quiet = pki.run(&["expiring"]);
    assert!(quiet.code == Some(0) && quiet.out.contains("nothing ends within 60 days"), "{quiet:?}");
    let early = pki.run(&["expiring", "--within", "100"]);
    assert!(early.code == Some(1) && early.out.contains("later ends in 89 days"), "{early:?}");
    issue("notice", "60");
    assert_eq!(pki.run(&["expiring"]).code, Some(0), "60 days are no alarm yet");
    for (client, days) in [("warning", "30"), ("renew", "14"), ("critical", "7")] {
        issue(client, days);
    }
    let authority = pki.authority();
    let now = OffsetDateTime::now_utc();
    let mut over = authority.client_leaf(&name("expired"), &ClientRequest::default());
    (over.not_before, over.not_after) = (now - Duration::days(9), now - Duration::hours(1));
    let leaf = authority.clients().sign(&over).unwrap();
    let holder = shared::identity::Workload::Client(name("expired"));
    authority.issued(holder, Some("default".to_owned()), leaf).save(&pki.dir()).unwrap();
    let rows = json(&pki, &["expiring"]);
    assert_eq!(
        members(&rows, &["holder", "band", "days_left"]),
        [
            "expired expired -1",
            "critical critical 6",
            "renew renew 13",
            "warning warning 29",
            "notice notice 59"
        ]
    );
    assert_eq!(pki.run(&["expiring"]).code, Some(1));
    // what was renewed or revoked is no alarm
    for renewed in ["renew", "critical"] {
        assert_eq!(pki.run(&["renew", renewed]).code, Some(0));
    }
    assert_eq!(pki.run(&["revoke", "warning"]).code, Some(0));
    assert_eq!(members(&json(&pki, &["expiring"]), &["band"]), ["expired", "notice"]);
    assert_eq!(pki.run(&["expiring", "--within", "0"]).code, Some(1), "one is over");
}

#[test]
fn a_ca_that_ends_is_in_the_timetable() {
    let pki = Pki::nowhere();
    let made = OffsetDateTime::now_utc() - Duration::days(1826 - 20) + Duration::hours(1);
    Authority::create_at(TrustDomain::default(), made).unwrap().save(&pki.dir()).unwrap();
    let rows = members(&json(&pki, &["expiring"]), &["holder", "days_left"]);
    assert_eq!(rows, ["clients CA 20", "services CA 20"]);
}

#[test]
fn the_lists_are_shown_with_who_is_on_them() {
    let pki = Pki::create();
    pki.issue_client("c1");
    assert_eq!(pki.run(&["revoke", "c1", "--reason", "privilegeWithdrawn"]).code, Some(0));
    let rows = json(&pki, &["crl"]);
    assert_eq!(
        members(&rows, &["issuer", "number", "overdue"]),
        ["root CA 1 false", "clients CA 2 false", "services CA 1 false"]
    );
    let entries = rows[1]["entries"].as_array().unwrap();
    assert_eq!(members(entries, &["holder", "reason"]), ["c1 privilegeWithdrawn"]);
    let shown = pki.run(&["crl"]);
    assert!(shown.out.contains("privilegeWithdrawn  c1"), "{shown:?}");

    let now = OffsetDateTime::now_utc();
    let overdue =
        pki.authority().clients().sign_crl(3, now - Duration::days(8), now - Duration::days(1), &[]);
    fs::write(pki.at("crl/revoked.pem"), overdue.unwrap().pem()).unwrap();
    let shown = pki.run(&["crl"]);
    assert!(shown.code == Some(1) && shown.out.contains("overdue since"), "{shown:?}");
    // a timer that cannot sign it must not look well
    fs::remove_file(pki.at("clients-ca.key")).unwrap();
    let refreshed = pki.run(&["crl", "--refresh"]);
    assert!(refreshed.code == Some(1) && refreshed.out.contains("overdue since"), "{refreshed:?}");
}

#[test]
fn a_list_of_another_ca_is_taken_in_if_that_ca_signed_it() {
    let (pki, other, database) = (Pki::create(), Pki::create(), database());
    other.issue_client("theirs");
    assert_eq!(other.run(&["revoke", "theirs"]).code, Some(0));
    let (list, ca) = (other.at("crl/revoked.pem"), other.at("clients-ca.crt"));
    let der = pki.beside("list.der", "");
    assert_eq!(openssl(&["crl", "-in", &list, "-outform", "DER", "-out", &der]).code, Some(0));
    let import = |file: &str, ca: &str| {
        pki.run(&["crl", "--import", file, "--issuer", ca, "--database-url", &database])
    };
    for file in [&list, &der] {
        let printed = pki.run(&["crl", "--import", file, "--issuer", &ca]);
        assert!(printed.code == Some(0) && printed.out.contains("INSERT INTO crls"), "{printed:?}");
    }
    let taken = import(&der, &ca);
    assert!(taken.code == Some(0) && taken.out.contains("list 2 with 1 entries"), "{taken:?}");
    assert_eq!(psql(&database, "SELECT crl_number FROM crls").unwrap().trim(), "2");
    for (file, ca, why) in [
        (list.as_str(), ca.as_str(), "or a later one"),
        (&list, &pki.at("clients-ca.crt"), "issued by another CA"),
        (&pki.at("ca.crt"), &ca, "not a revocation list"),
        (&pki.at("nothing.pem"), &ca, "cannot read"),
    ] {
        let refused = import(file, ca);
        assert!(refused.code == Some(1) && refused.error.contains(why), "{why}: {refused:?}");
    }
    let refused = pki.run(&["crl", "--import", &list]);
    assert!(refused.code == Some(1) && refused.error.contains("with --issuer"), "{refused:?}");
}

#[test]
fn a_list_that_was_signed_elsewhere_with_our_key_must_leave_nobody_out() {
    let pki = Pki::create();
    pki.issue_client("c1");
    assert_eq!(pki.run(&["revoke", "c1"]).code, Some(0));
    let authority = pki.authority();
    let now = OffsetDateTime::now_utc();
    let clients = authority.clients();
    let sign = |number, entries: &[certs::Revoked]| {
        let list = clients.sign_crl(number, now, now + Duration::days(7), entries).unwrap();
        pki.beside("theirs.pem", list.pem())
    };
    let entries = authority.crl(certs::Ca::Clients).revoked().unwrap();
    for (number, entries, why) in [(3, &[][..], "leaves out a certificate"), (2, &entries, "is not above 2")]
    {
        let refused = pki.run(&["crl", "--import", &sign(number, entries)]);
        assert!(refused.code == Some(1) && refused.error.contains(why), "{why}: {refused:?}");
    }
    assert_eq!(pki.run(&["crl", "--import", &sign(7, &entries)]).code, Some(0));
    assert_eq!(pki.authority().crl(certs::Ca::Clients).number, 7);
}

#[test]
fn shells_and_man_read_what_is_generated() {
    let pki = Pki::nowhere();
    let script = pki.beside("completion.bash", &pki.run(&["completions", "bash"]).out);
    let mut bash = Command::new("bash");
    bash.args(["-c", "source \"$1\" && complete -p portcullis-certs", "bash", &script]);
    assert_eq!(answer(bash).code, Some(0));
    for shell in ["zsh", "fish", "powershell", "elvish"] {
        let written = pki.run(&["completions", shell]);
        assert!(written.code == Some(0) && written.out.contains("init-ca"), "{shell}: {written:?}");
    }
    assert_eq!(pki.run(&["completions", "cmd"]).code, Some(2));

    let folder = pki.at("man");
    assert_eq!(pki.run(&["man", "--out", &folder]).code, Some(0));
    let pages: Vec<_> = fs::read_dir(&folder).unwrap().map(|page| page.unwrap().path()).collect();
    for verb in [
        "",
        "-init-ca",
        "-issue",
        "-issue-client",
        "-renew",
        "-revoke",
        "-verify",
        "-list",
        "-crl",
        "-expiring",
    ] {
        let page = pages.iter().find(|page| page.ends_with(format!("portcullis-certs{verb}.1")));
        let text = fs::read_to_string(page.unwrap_or_else(|| panic!("{verb}: {pages:?}"))).unwrap();
        assert!(text.contains(".SH NAME") && text.contains(".SH OPTIONS"), "{verb}: {text}");
    }
}
