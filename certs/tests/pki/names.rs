//! The command line: what it understands, and what it refuses before anything is written.

use crate::support::{Pki, answer, command_line};

#[test]
fn names_that_are_no_names_leave_no_trace() {
    let pki = Pki::create();
    let before = pki.contents();
    let long = "a".repeat(65);
    for bad in [
        "",
        "../escape",
        "a/b",
        "a\\b",
        ".hidden",
        "a b",
        "a\nb",
        "a'; DROP TABLE clients; --",
        "a,O=x",
        "é",
        &long,
    ] {
        let refused = pki.run(&["issue", "client", "--", bad]);
        assert_eq!(refused.code, Some(2), "{bad:?}: {refused:?}");
    }
    for bad in ["ca", "CA"] {
        let refused = pki.run(&["issue", "client", bad]);
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(refused.error.contains("take the place of ca.crt"), "{refused:?}");
    }
    assert_eq!(pki.contents(), before);
}

#[test]
fn domains_hosts_and_days_are_checked_before_anything_is_written() {
    let pki = Pki::create();
    let before = pki.contents();
    let long = "d".repeat(65);
    for (arguments, code) in [
        (&["client", "c", "--domain", "a b"][..], 1),
        (&["client", "c", "--domain", ""], 1),
        (&["client", "c", "--domain", &long], 1),
        (&["client", "c", "--days", "0"], 2),
        (&["client", "c", "--days", "9999"], 1),
        (&["client", "c", "--host", "localhost"], 2),
        (&["proxy", "p", "--host", "https://localhost"], 2),
        (&["proxy", "p", "--host", "*.example.com"], 2),
        (&["proxy", "p"], 1),
        (&["worker"], 2),
        (&["admin", "a"], 2),
    ] {
        let refused = pki.run(&[&["issue"], arguments].concat());
        assert_eq!(refused.code, Some(code), "{arguments:?}: {refused:?}");
        assert!(!refused.error.is_empty());
    }
    assert_eq!(pki.contents(), before);
}

#[test]
fn a_trust_domain_must_fit_into_a_spiffe_id() {
    let pki = Pki::nowhere();
    for bad in ["", "Example.org", "a/b", "a b", "a\"b", "a?b"] {
        assert_eq!(pki.run(&["init-ca", "--no-passphrase", "--trust-domain", bad]).code, Some(2), "{bad}");
    }
    assert!(!pki.dir().exists());
}

#[test]
fn issuing_without_an_authority_says_what_to_run() {
    let pki = Pki::nowhere();
    let refused = pki.run(&["issue", "client", "client_001"]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.error.contains("run portcullis-certs init-ca first"), "{refused:?}");
    assert!(!pki.dir().exists());
}

#[test]
fn the_folder_may_be_named_before_or_after_the_verb() {
    let pki = Pki::nowhere();
    let dir = pki.dir();
    let dir = dir.to_str().unwrap();
    for arguments in [
        &["init-ca", "--no-passphrase", "--dir", dir][..],
        &["--dir", dir, "issue", "client", "one"],
        &["issue", "--dir", dir, "client", "two"],
        &["issue", "client", "--dir", dir, "three"],
        &["issue", "client", "four", "--dir", dir],
    ] {
        let mut command = command_line();
        command.args(arguments);
        let done = answer(command);
        assert_eq!(done.code, Some(0), "{arguments:?}: {done:?}");
    }
}

#[test]
fn help_does_not_show_the_password_of_the_database() {
    let mut command = command_line();
    command.arg("--help").env("DATABASE_URL", "postgresql://operator:s3cret@db/portcullis");
    let help = answer(command);
    assert_eq!(help.code, Some(0));
    assert!(help.out.contains("DATABASE_URL") && !help.out.contains("s3cret"), "{}", help.out);
}
