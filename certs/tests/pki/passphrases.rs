//! The CA's keys under a passphrase, and the confirmation that replacing a CA needs.

#![expect(clippy::unwrap_used, reason = "a test whose tools are missing cannot go on")]

use std::{
    fs,
    io::{Read as _, Write as _},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::support::{Answer, Pki, answer, command_line, openssl};

const PASSPHRASE: &str = "correct horse battery staple";

/// A CA whose keys are under [`PASSPHRASE`], and the file that holds it.
fn locked() -> (Pki, String) {
    let pki = Pki::nowhere();
    let file = pki.beside("passphrase", &format!("{PASSPHRASE}\n"));
    let made = pki.run(&["init-ca", "--passphrase-file", &file]);
    assert_eq!(made.code, Some(0), "{made:?}");
    (pki, file)
}

/// Runs it on a terminal of its own. Each line is typed when its question is asked.
fn typing(pki: &Pki, arguments: &str, lines: &[(&str, &str)]) -> Answer {
    let line = format!("tty; {} --dir {} {arguments}", env!("CARGO_BIN_EXE_portcullis-certs"), pki.at(""));
    let mut command = Command::new("script");
    command.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    command.env_remove("DATABASE_URL").env_remove("PORTCULLIS_CA_PASSPHRASE");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut keyboard, mut screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let (mut shown, mut byte) = (Vec::new(), [0]);
    for (question, typed) in lines {
        while !shown.ends_with(question.as_bytes()) && screen.read(&mut byte).unwrap() == 1 {
            shown.push(byte[0]);
        }
        if *typed == PASSPHRASE {
            wait_until_hidden(&String::from_utf8_lossy(&shown));
        }
        keyboard.write_all(format!("{typed}\n").as_bytes()).unwrap();
    }
    screen.read_to_end(&mut shown).unwrap();
    let code = child.wait().unwrap().code();
    Answer { code, out: String::from_utf8(shown).unwrap(), error: String::new() }
}

/// Waits until the terminal, which is named in the first line that it shows, does not echo.
fn wait_until_hidden(shown: &str) {
    let terminal = shown.lines().next().unwrap().trim();
    let began = Instant::now();
    loop {
        let settings = Command::new("stty").args(["-F", terminal, "-a"]).output().unwrap();
        if String::from_utf8_lossy(&settings.stdout).contains("-echo ") {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "{terminal} shows what is typed");
    }
}

#[test]
fn the_keys_of_the_ca_are_encrypted_and_openssl_opens_them() {
    let (pki, file) = locked();
    for ca in ["ca", "clients-ca", "services-ca"] {
        let key = pki.at(&format!("{ca}.key"));
        let text = fs::read_to_string(&key).unwrap();
        assert!(text.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"), "{text}");
        let shape = openssl(&["asn1parse", "-in", &key]).out;
        for part in ["PBES2", "scrypt", "aes-256-cbc"] {
            assert!(shape.contains(part), "{part}: {shape}");
        }
        let opened = openssl(&["pkey", "-in", &key, "-passin", &format!("file:{file}"), "-pubout"]);
        assert_eq!(
            opened.out,
            openssl(&["x509", "-in", &pki.at(&format!("{ca}.crt")), "-noout", "-pubkey"]).out
        );
        assert_ne!(openssl(&["pkey", "-in", &key, "-passin", "pass:wrong", "-noout"]).code, Some(0));
    }
}

#[test]
fn a_key_that_openssl_encrypted_signs_too() {
    let (pki, file) = locked();
    let (key, other) = (pki.at("clients-ca.key"), pki.at("other.key"));
    let password = format!("pass:{PASSPHRASE}");
    let encrypt = [
        "pkcs8",
        "-topk8",
        "-v2",
        "aes-256-cbc",
        "-in",
        &key,
        "-passin",
        &password,
        "-passout",
        &password,
        "-out",
        &other,
    ];
    assert_eq!(openssl(&encrypt).code, Some(0));
    fs::rename(other, key).unwrap();
    assert_eq!(pki.run(&["issue", "client", "c1", "--passphrase-file", &file]).code, Some(0));
}

#[test]
fn a_locked_ca_signs_with_its_passphrase_from_a_file_or_the_environment_and_with_no_other() {
    let (pki, file) = locked();
    assert_eq!(pki.run(&["issue", "client", "c1", "--passphrase-file", &file]).code, Some(0));
    let mut command = command_line();
    command.arg("--dir").arg(pki.dir()).args(["issue", "worker", "w1"]);
    command.env("PORTCULLIS_CA_PASSPHRASE", PASSPHRASE);
    assert_eq!(answer(command).code, Some(0));

    let wrong = pki.beside("wrong", "incorrect horse");
    let two_lines = pki.beside("two_lines", &format!("{PASSPHRASE}\n\n"));
    let before = pki.contents();
    for (arguments, why) in [
        (&["--passphrase-file", &wrong][..], "the passphrase does not open the key of the clients CA"),
        (&["--passphrase-file", &two_lines], "the passphrase does not open the key of the clients CA"),
        (&["--passphrase-file", "/nowhere"], "/nowhere does not exist"),
        (&[], "give it with --passphrase-file FILE or PORTCULLIS_CA_PASSPHRASE"),
    ] {
        for verb in [&["issue", "client", "c2"][..], &["renew", "c1"], &["revoke", "c1"]] {
            let refused = pki.run(&[verb, arguments].concat());
            assert_eq!(refused.code, Some(1), "{refused:?}");
            assert!(refused.error.contains(why), "{why}: {refused:?}");
        }
    }
    assert_eq!(pki.contents(), before);
    // what signs nothing asks for nothing
    for verb in [&["list"][..], &["verify", "c1"], &["crl"], &["expiring"], &["crl", "--refresh"]] {
        let done = pki.run(verb);
        assert_eq!(done.code, Some(0), "{verb:?}: {done:?}");
    }
}

#[test]
fn a_passphrase_may_be_typed_and_is_not_shown() {
    const NEW: &str = "Passphrase of the new CA: ";
    const AGAIN: &str = "The same again: ";
    let pki = Pki::nowhere();
    let made = typing(&pki, "init-ca", &[(NEW, PASSPHRASE), (AGAIN, PASSPHRASE)]);
    assert_eq!(made.code, Some(0), "{made:?}");
    assert!(!made.out.contains(PASSPHRASE), "{made:?}");
    let issued = typing(&pki, "issue client c1", &[("/: ", PASSPHRASE)]);
    assert_eq!(issued.code, Some(0), "{issued:?}");
    assert!(!issued.out.contains(PASSPHRASE), "{issued:?}");

    let other = Pki::nowhere();
    let differ = typing(&other, "init-ca", &[(NEW, PASSPHRASE), (AGAIN, "something else")]);
    assert!(differ.code == Some(1) && differ.out.contains("the two passphrases differ"), "{differ:?}");
    assert!(other.contents().is_empty());
}

#[test]
fn a_ca_without_a_passphrase_has_to_be_asked_for() {
    let pki = Pki::nowhere();
    let refused = pki.run(&["init-ca"]);
    assert!(refused.code == Some(1) && refused.error.contains("--no-passphrase"), "{refused:?}");
    let short = pki.beside("short", "1234567\n");
    let refused = pki.run(&["init-ca", "--passphrase-file", &short]);
    assert!(refused.code == Some(1) && refused.error.contains("at least 8 characters"), "{refused:?}");
    assert!(pki.contents().is_empty());
    assert_eq!(pki.run(&["init-ca", "--no-passphrase"]).code, Some(0));
}

#[test]
fn a_new_ca_says_what_to_back_up_and_what_to_take_away() {
    let pki = Pki::nowhere();
    let made = pki.run(&["init-ca", "--no-passphrase"]);
    for part in ["ca.key", "clients-ca.key", "services-ca.key", "crl/", "issued/"] {
        let line = made.out.lines().find(|line| line.contains("back up now")).unwrap();
        assert!(line.contains(&pki.at(part)), "{part}: {made:?}");
    }
    assert!(made.out.contains(&format!("then move {} offline", pki.at("ca.key"))), "{made:?}");
}

#[test]
fn a_ca_is_replaced_only_by_who_types_its_trust_domain() {
    let pki = Pki::nowhere();
    let make = ["init-ca", "--no-passphrase", "--trust-domain", "example.org"];
    assert_eq!(pki.run(&make).code, Some(0));
    assert_eq!(pki.run(&["issue", "client", "c1"]).code, Some(0));
    let before = pki.contents();
    let unchanged = |refused: &Answer, why: &str| {
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(format!("{}{}", refused.out, refused.error).contains(why), "{refused:?}");
        assert_eq!(pki.contents(), before);
    };
    unchanged(&pki.run(&["init-ca", "--no-passphrase"]), "holds a certificate authority already");
    unchanged(&pki.run(&["init-ca", "--no-passphrase", "--force"]), "standard input is no terminal");
    unchanged(
        &typing(&pki, "init-ca --no-passphrase --force", &[("to go on: ", "yes")]),
        "nothing was changed",
    );

    let replaced = typing(&pki, "init-ca --no-passphrase --force", &[("to go on: ", "example.org")]);
    assert_eq!(replaced.code, Some(0), "{replaced:?}");
    assert_eq!(pki.authority().trust_domain().as_str(), "portcullis.internal");
    // the old one lies beside it, whole
    let beside = fs::read_dir(pki.dir().parent().unwrap()).unwrap().map(|entry| entry.unwrap().path());
    let aside = beside.filter(|path| path.join("ca.toml").exists() && *path != pki.dir()).collect::<Vec<_>>();
    let [aside] = &aside[..] else { panic!("{aside:?}") };
    for (path, contents) in &before {
        assert_eq!(&fs::read(aside.join(path.strip_prefix(pki.dir()).unwrap())).unwrap(), contents);
    }
    assert!(!fs::exists(pki.at("clients/c1")).unwrap());
}

#[test]
fn without_the_roots_key_all_works_but_its_own_list() {
    let (pki, file) = locked();
    fs::remove_file(pki.at("ca.key")).unwrap();
    let pass = ["--passphrase-file", file.as_str()];
    for verb in [
        &["issue", "client", "c1"][..],
        &["issue", "proxy", "p1", "--host", "localhost"],
        &["verify", "c1"],
        &["list"],
        &["renew", "c1"],
        &["renew", "proxy/p1"],
        &["revoke", "c1"],
        &["revoke", "proxy/p1"],
        &["crl"],
        &["expiring"],
        &["crl", "--refresh"],
    ] {
        let done = pki.run(&[verb, &pass].concat());
        assert_eq!(done.code, Some(0), "{verb:?}: {done:?}");
    }
    let all = pki.run(&[&["crl", "--refresh", "--all"], &pass[..]].concat());
    assert!(all.out.contains("root CA: due, but its key is not here"), "{all:?}");
    assert_eq!(pki.authority().crls().map(|list| list.number), [1, 3, 3]);
}
