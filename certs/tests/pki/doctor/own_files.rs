//! The client's own files: each way in which they can be wrong, and which option or command puts it right.

use std::{fs, process::Command};

use super::{Patient, is_root, line, path, server::Prepared};
use crate::support::{Pki, answer, command_line, openssl};

#[test]
fn a_file_that_is_not_there_is_named() {
    // "Certificate files not found": each of the three.
    for file in ["cert", "key", "ca"] {
        let mut patient = Patient::healthy();
        let missing = patient.pki.dir().join("missing.pem");
        match file {
            "cert" => patient.cert = Some(missing),
            "key" => patient.key = Some(missing),
            _ => patient.cacerts = vec![missing],
        }
        patient.diagnosis().assert_fails("files_exist", &["missing.pem does not exist", "path"]);
    }
}

#[test]
fn a_file_that_this_user_may_not_read_is_named_with_the_command_that_allows_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut patient = Patient::healthy();
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let copy = |from: &std::path::Path, mode| {
        let to = folder.path().join(from.file_name().unwrap());
        fs::copy(from, &to).unwrap();
        fs::set_permissions(&to, fs::Permissions::from_mode(mode)).unwrap();
        to
    };
    patient.cert = patient.cert.as_deref().map(|file| copy(file, 0o644));
    patient.key = patient.key.as_deref().map(|file| copy(file, if is_root() { 0o600 } else { 0o000 }));
    patient.cacerts = vec![copy(&patient.cacerts[0], 0o644)];
    let diagnosis = patient.diagnosis_of_nobody();
    diagnosis.assert_fails("file_permissions", &["client_001.key", "permission denied", "chmod 600"]);
}

#[test]
fn a_key_that_others_may_read_is_a_warning_with_its_mode() {
    use std::os::unix::fs::PermissionsExt as _;
    let patient = Patient::healthy();
    fs::set_permissions(patient.key.as_ref().unwrap(), fs::Permissions::from_mode(0o644)).unwrap();
    let diagnosis = patient.diagnosis();
    assert_eq!(diagnosis.outcome("file_permissions"), "warn");
    assert!(diagnosis.text("file_permissions").contains("644"), "{}", diagnosis.answer.out);
}

#[test]
fn a_damaged_certificate_file_is_told_from_a_wrong_one() {
    // "Certificate file corrupted"
    let mut patient = Patient::healthy();
    let good = fs::read_to_string(patient.cert.as_ref().unwrap()).unwrap();
    let key = fs::read_to_string(patient.key.as_ref().unwrap()).unwrap();
    let der = patient.write("der.crt", [0x30, 0x82, 0x01, 0x00, 0xff]);
    for (contents, word) in [
        (good[..good.len() / 4].to_owned(), "damaged"),
        (good.replacen("MII", "MIJ", 1), "damaged"),
        (String::new(), "empty"),
        ("hello\n".to_owned(), "is not PEM"),
        (key, "a private key"),
        (String::from_utf8_lossy(&fs::read(&der).unwrap()).into_owned(), "not PEM"),
    ] {
        patient.cert = Some(patient.write("bad.crt", contents));
        patient.diagnosis().assert_fails("files_readable", &["bad.crt", word]);
    }
    patient.cert = Some(der);
    patient.diagnosis().assert_fails("files_readable", &["--p12", "openssl x509"]);
}

#[test]
fn a_key_of_another_certificate_is_told_apart() {
    // "Private key mismatch"
    let mut patient = Patient::healthy();
    patient.pki.issue_client("client_002");
    patient.key = Some(patient.pki.dir().join("clients/client_002/client_002.key"));
    patient.diagnosis().assert_fails(
        "key_matches",
        &["client_002.key is not the key of", "client_001.crt", "made together"],
    );
}

#[test]
fn a_passphrase_that_is_missing_or_wrong_is_told_and_the_right_one_opens_the_key() {
    let mut patient = Patient::healthy();
    let key = patient.pki.dir().join("encrypted.key");
    let clear = patient.key.clone().unwrap();
    let made = openssl(&[
        "pkcs8",
        "-topk8",
        "-v2",
        "aes-256-cbc",
        "-in",
        path(&clear),
        "-out",
        path(&key),
        "-passout",
        "pass:QWErty123",
    ]);
    assert_eq!(made.code, Some(0), "{made:?}");
    fs::set_permissions(&key, fs::metadata(&clear).unwrap().permissions()).unwrap();
    patient.key = Some(key);
    patient.diagnosis().assert_fails("passphrase", &["encrypted.key is encrypted", "--passphrase-file"]);
    let wrong = patient.write("wrong", "qwerty123\n");
    let right = patient.write("right", "QWErty123\n");
    let patient = patient.with(&["--passphrase-file", path(&wrong)]);
    patient.diagnosis().assert_fails("passphrase", &["does not open", "capital letters"]);
    let mut patient = patient;
    patient.more = vec!["--passphrase-file".to_owned(), path(&right).to_owned()];
    let diagnosis = patient.diagnosis();
    assert_eq!((diagnosis.outcome("passphrase"), diagnosis.outcome("key_matches")), ("pass", "pass"));
}

#[test]
fn a_key_that_openssl_encrypted_in_its_old_way_is_recognised_with_the_command_that_converts_it() {
    let mut patient = Patient::healthy();
    let key = patient.pki.dir().join("old.key");
    let made = openssl(&[
        "ec",
        "-aes128",
        "-in",
        path(patient.key.as_ref().unwrap()),
        "-out",
        path(&key),
        "-passout",
        "pass:x",
    ]);
    assert_eq!(made.code, Some(0), "{made:?}");
    patient.key = Some(key);
    patient.diagnosis().assert_fails("passphrase", &["Proc-Type: 4,ENCRYPTED", "openssl pkcs8 -topk8"]);
}

#[test]
fn curl_connects_with_the_pem_files_and_with_the_p12_that_issue_makes() {
    let patient = Patient::healthy();
    let issued = patient.pki.run(&["issue", "client", "c1"]);
    assert_eq!(issued.code, Some(0), "{issued:?}");
    let server = Prepared::of(&patient)
        .asking(&patient.pki.at("clients-ca.crt"))
        .answering("HTTP/1.1 200 OK\nContent-Length: 5\n\nhello")
        .start();
    let at = |name: &str| patient.pki.at(&format!("clients/c1/{name}"));
    let password = fs::read_to_string(at("c1.p12.pass")).unwrap();
    let (cert, key) = (at("c1.crt"), at("c1.key"));
    let p12 = format!("{}:{}", at("c1.p12"), password.trim_end());
    for own in [&["--cert", &cert, "--key", &key][..], &["--cert", &p12, "--cert-type", "P12"]] {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--max-time", "20", "--cacert", &at("ca.crt")]).args(own);
        curl.arg(format!("https://localhost:{}/api/v1/whoami", server.port()));
        let said = answer(curl);
        assert_eq!((said.code, said.out.as_str()), (Some(0), "hello"), "{said:?}");
    }
}

#[test]
fn a_pkcs12_file_is_read_with_its_passphrase_and_refused_with_another() {
    let mut patient = Patient::healthy();
    let p12 = patient.pki.dir().join("client.p12");
    let (cert, key) = (patient.cert.take().unwrap(), patient.key.take().unwrap());
    let right = patient.write("right", "QWErty123");
    let wrong = patient.write("wrong", "other");
    // as OpenSSL 3 writes it, and as OpenSSL 1 and Windows did
    for way in [&[][..], &["-keypbe", "PBE-SHA1-3DES", "-certpbe", "PBE-SHA1-3DES", "-macalg", "sha1"]] {
        let mut arguments =
            vec!["pkcs12", "-export", "-in", path(&cert), "-inkey", path(&key), "-out", path(&p12)];
        arguments.extend(["-passout", "pass:QWErty123"].iter().chain(way));
        let made = openssl(&arguments);
        assert_eq!(made.code, Some(0), "{made:?}");
        let ask = |passphrase| {
            let more = ["--p12", path(&p12), "--passphrase-file", path(passphrase)].map(str::to_owned);
            Patient { more: more.to_vec(), ..Patient::like(&patient) }.diagnosis()
        };
        let diagnosis = ask(&right);
        for check in ["passphrase", "key_matches", "chain", "dates", "purpose"] {
            assert_eq!(diagnosis.outcome(check), "pass", "{}", diagnosis.answer.out);
        }
        ask(&wrong).assert_fails("passphrase", &["does not open", "client.p12"]);
    }
}

#[test]
fn a_ca_file_that_holds_no_ca_is_told_apart() {
    // "Ensure CA certificate is correct": somebody's own certificate in its place.
    let mut patient = Patient::healthy();
    patient.cacerts = patient.cert.clone().into_iter().collect();
    patient.diagnosis().assert_fails("authorities", &["is not a CA", "ca.crt"]);
}

#[test]
fn several_ca_files_are_all_believed() {
    let mut patient = Patient::healthy();
    let other = Pki::create();
    patient.cacerts.push(other.dir().join("ca.crt"));
    let diagnosis = patient.diagnosis();
    assert_eq!(diagnosis.outcome("authorities"), "pass");
    assert_eq!(diagnosis.text("authorities").matches("Portcullis Root CA").count(), 2);
}

#[test]
fn nothing_of_openssl_is_needed() {
    // "OpenSSL not found"
    let pki = Pki::nowhere();
    let dir = pki.dir();
    for arguments in [&["init-ca", "--no-passphrase"][..], &["issue", "client", "client_001"]] {
        let mut command = command_line();
        command.arg("--dir").arg(&dir).args(arguments).env("PATH", "");
        let done = answer(command);
        assert_eq!(done.code, Some(0), "{done:?}");
    }
}

#[test]
fn a_certificate_that_is_asked_of_no_authority_is_told_to_make_one_first() {
    // "CA not initialized"
    let refused = Pki::nowhere().run(&["issue", "client", "client_001"]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.error.contains("run portcullis-certs init-ca first"), "{refused:?}");
}

#[test]
fn the_report_for_people_has_a_mark_a_line_per_check_and_what_to_do() {
    let mut patient = Patient::healthy();
    patient.key = Some(patient.pki.dir().join("missing.key"));
    let answer = answer(patient.command());
    assert_eq!(answer.code, Some(1));
    assert!(line(&answer.out, "[FAIL] ✗ files exist: ").contains("missing.key"));
    assert!(line(&answer.out, "         do this: ").contains("path"));
    assert!(line(&answer.out, "[PASS] ✓ DNS: ").contains("127.0.0.1"));
    assert!(line(&answer.out, "[SKIP] - whoami: ").contains("not reached"));
    assert!(!answer.out.contains('\x1b'), "colours are for terminals");
}

#[test]
fn a_command_line_that_is_not_understood_exits_with_2() {
    let patient = Patient::healthy();
    for url in ["http://localhost:8001", "localhost:8001", "https://"] {
        let refused = Patient { url: url.to_owned(), ..Patient::like(&patient) }.command();
        let refused = answer(refused);
        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert!(refused.error.contains("https://HOST:PORT"), "{refused:?}");
    }
}
