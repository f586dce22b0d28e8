//! What `issue` and `renew` hand out: keys of every kind, requests, PKCS#12, and the page that explains them.

use std::{fs, os::unix::fs::PermissionsExt as _};

use crate::support::{Answer, Pki, openssl};

fn public_key(file: &str) -> String {
    openssl(&["x509", "-in", file, "-noout", "-pubkey"]).out
}

fn verifies(pki: &Pki, leaf: &str) -> Answer {
    let (root, issuing) = (pki.at("ca.crt"), pki.at("clients-ca.crt"));
    openssl(&[
        "verify",
        "-x509_strict",
        "-purpose",
        "sslclient",
        "-CAfile",
        &root,
        "-untrusted",
        &issuing,
        leaf,
    ])
}

/// A signing request that `openssl` makes, with everything in it that could be wished for.
fn request(pki: &Pki, key: &[&str]) -> (String, String) {
    let (key_file, request) = (pki.at("own.key"), pki.at("own.csr"));
    let made = openssl(&[&["genpkey", "-out", &key_file][..], key].concat());
    assert_eq!(made.code, Some(0), "{made:?}");
    let wishes = [
        "-subj",
        "/O=Somebody/CN=root",
        "-addext",
        "basicConstraints=critical,CA:TRUE",
        "-addext",
        "subjectAltName=URI:spiffe://portcullis.internal/client/victim,DNS:proxy.example.com",
    ];
    let asked = openssl(&[&["req", "-new", "-key", &key_file, "-out", &request][..], &wishes].concat());
    assert_eq!(asked.code, Some(0), "{asked:?}");
    (key_file, request)
}

#[test]
fn every_kind_of_key_is_issued_renewed_and_read_by_openssl() {
    let pki = Pki::create();
    for (kind, fact) in [
        ("ecdsa-p256", "prime256v1"),
        ("rsa-2048", "Public-Key: (2048 bit)"),
        ("rsa-3072", "Public-Key: (3072 bit)"),
        ("rsa-4096", "Public-Key: (4096 bit)"),
        ("ed25519", "ED25519 Public-Key"),
    ] {
        let issued = pki.run(&["issue", "client", kind, "--key", kind]);
        assert_eq!(issued.code, Some(0), "{issued:?}");
        let at = |file: &str| pki.at(&format!("clients/{kind}/{kind}.{file}"));
        for _ in 0..2 {
            let text = openssl(&["x509", "-in", &at("crt"), "-noout", "-text"]).out;
            assert!(text.contains(fact), "{kind}: {text}");
            assert_eq!(
                openssl(&["pkey", "-in", &at("key"), "-pubout"]).out,
                public_key(&at("crt")),
                "{kind}"
            );
            assert_eq!(verifies(&pki, &at("crt")).code, Some(0), "{kind}");
            let renewed = pki.run(&["renew", kind]);
            assert_eq!(renewed.code, Some(0), "{renewed:?}");
        }
    }
    let refused = pki.run(&["issue", "client", "other", "--key", "rsa-1024"]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
}

#[test]
fn of_a_signing_request_nothing_but_the_public_key_is_taken() {
    let pki = Pki::create();
    for (client, key) in [
        ("ec", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"][..]),
        ("p384", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"]),
        ("rsa", &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]),
        ("ed", &["-algorithm", "ED25519"]),
    ] {
        let (key_file, request) = request(&pki, key);
        let issued = pki.run(&["issue", "client", client, "--domain", "example.com", "--csr", &request]);
        assert_eq!(issued.code, Some(0), "{issued:?}");
        assert!(issued.out.contains("the private key stayed with its holder"), "{issued:?}");
        let leaf = pki.at(&format!("clients/{client}/{client}.crt"));
        assert_eq!(public_key(&leaf), openssl(&["pkey", "-in", &key_file, "-pubout"]).out);
        let text = openssl(&["x509", "-in", &leaf, "-noout", "-text", "-nameopt", "RFC2253"]).out;
        let spiffe = format!("URI:spiffe://portcullis.internal/client/{client}\n");
        for part in [&format!("CN={client},OU=example.com,O=MessageBroker"), "CA:FALSE", &spiffe] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("victim") && !text.contains("proxy.example.com"), "{text}");
        assert_eq!(verifies(&pki, &leaf).code, Some(0));
        let files = fs::read_dir(pki.at(&format!("clients/{client}"))).unwrap();
        let names: Vec<_> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        assert!(!names.iter().any(|name| name.contains(".key") || name.contains(".p12")), "{names:?}");
    }
    // the holder's key is not replaced behind its back
    let refused = pki.run(&["renew", "ec"]);
    assert!(refused.code == Some(1) && refused.error.contains("--csr"), "{refused:?}");
    let before = public_key(&pki.at("clients/ec/ec.crt"));
    assert_eq!(pki.run(&["renew", "ec", "--reuse-key"]).code, Some(0));
    assert_eq!(public_key(&pki.at("clients/ec/ec.crt")), before);
    let (_, request) = request(&pki, &["-algorithm", "ED25519"]);
    assert_eq!(pki.run(&["renew", "ec", "--csr", &request]).code, Some(0));
    assert_ne!(public_key(&pki.at("clients/ec/ec.crt")), before);
}

#[test]
fn a_request_that_proves_nothing_or_whose_key_is_weak_is_refused() {
    let pki = Pki::create();
    let refuse = |file: &str, why: &str| {
        let before = pki.contents();
        let refused = pki.run(&["issue", "client", "client_001", "--csr", file]);
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(refused.error.contains(why), "{why}: {refused:?}");
        assert_eq!(pki.contents(), before);
    };
    let (_, weak) = request(&pki, &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"]);
    refuse(&weak, "of a kind that is not accepted");
    let (_, weak) = request(&pki, &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:secp256k1"]);
    refuse(&weak, "refused");
    // somebody else's public key under an old signature
    let (_, request) = request(&pki, &["-algorithm", "ED25519"]);
    let der = pki.at("own.der");
    assert_eq!(openssl(&["req", "-in", &request, "-outform", "DER", "-out", &der]).code, Some(0));
    let mut bytes = fs::read(&der).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&der, &bytes).unwrap();
    refuse(&der, "not signed with its own key");
    fs::write(&der, &bytes[..40]).unwrap();
    refuse(&der, "damaged");
    refuse(&pki.at("ca.crt"), "no CERTIFICATE REQUEST");
    refuse(&pki.at("nothing.csr"), "cannot read");
}

#[test]
fn a_der_request_is_signed_too() {
    let pki = Pki::create();
    let (_, request) = request(&pki, &["-algorithm", "ED25519"]);
    let der = pki.at("own.der");
    assert_eq!(openssl(&["req", "-in", &request, "-outform", "DER", "-out", &der]).code, Some(0));
    assert_eq!(pki.run(&["issue", "worker", "w1", "--csr", &der]).code, Some(0));
}

#[test]
fn the_pkcs12_opens_with_openssl_and_holds_key_and_chain() {
    let pki = Pki::create();
    for (client, key) in [("ec", "ecdsa-p256"), ("rsa", "rsa-2048")] {
        assert_eq!(pki.run(&["issue", "client", client, "--key", key]).code, Some(0));
        let at = |file: &str| pki.at(&format!("clients/{client}/{client}.{file}"));
        for secret in ["key", "p12", "p12.pass"] {
            assert_eq!(fs::metadata(at(secret)).unwrap().permissions().mode() & 0o777, 0o600, "{secret}");
        }
        let password = format!("file:{}", at("p12.pass"));
        let open = |what: &[&str]| {
            let answer = openssl(&[&["pkcs12", "-in", &at("p12"), "-passin", &password][..], what].concat());
            assert_eq!(answer.code, Some(0), "{answer:?}");
            answer.out
        };
        let certificates = open(&["-nokeys"]);
        assert_eq!(certificates.matches("BEGIN CERTIFICATE").count(), 2, "{certificates}");
        assert!(certificates.contains("CN = Portcullis Clients CA"), "{certificates}");
        fs::write(pki.at("out.key"), open(&["-nocerts", "-nodes"])).unwrap();
        assert_eq!(openssl(&["pkey", "-in", &pki.at("out.key"), "-pubout"]).out, public_key(&at("crt")));
        let wrong = openssl(&["pkcs12", "-in", &at("p12"), "-passin", "pass:wrong", "-noout"]);
        assert!(wrong.error.contains("invalid password"), "{wrong:?}");
    }
    // passwords are not shared, and one of the operator's own is used as it is
    let password =
        |client: &str| fs::read_to_string(pki.at(&format!("clients/{client}/{client}.p12.pass"))).unwrap();
    assert_ne!(password("ec"), password("rsa"));
    fs::write(pki.at("own.pass"), "chosen by hand\n").unwrap();
    let own = ["issue", "client", "own", "--p12-passphrase-file", &pki.at("own.pass")];
    assert_eq!(pki.run(&own).code, Some(0));
    let opened = openssl(&[
        "pkcs12",
        "-in",
        &pki.at("clients/own/own.p12"),
        "-passin",
        "pass:chosen by hand",
        "-noout",
    ]);
    assert_eq!(opened.code, Some(0), "{opened:?}");
    assert!(!fs::exists(pki.at("clients/own/own.p12.pass")).unwrap());
}

#[test]
fn a_clients_key_may_be_under_a_passphrase_of_its_own() {
    let pki = Pki::create();
    fs::write(pki.at("key.pass"), "of the client\n").unwrap();
    let file = pki.at("key.pass");
    assert_eq!(pki.run(&["issue", "client", "c1", "--key-passphrase-file", &file]).code, Some(0));
    let key = pki.at("clients/c1/c1.key");
    assert!(fs::read_to_string(&key).unwrap().contains("BEGIN ENCRYPTED PRIVATE KEY"));
    let read = |word: &str| openssl(&["pkey", "-in", &key, "-passin", &format!("pass:{word}"), "-pubout"]);
    assert_eq!(read("of the client").out, public_key(&pki.at("clients/c1/c1.crt")));
    assert_ne!(read("another").code, Some(0));
    let before = public_key(&pki.at("clients/c1/c1.crt"));
    let refused = pki.run(&["renew", "c1", "--reuse-key"]);
    assert!(refused.code == Some(1) && refused.error.contains("under a passphrase"), "{refused:?}");
    assert_eq!(pki.run(&["renew", "c1", "--reuse-key", "--key-passphrase-file", &file]).code, Some(0));
    assert_eq!(public_key(&pki.at("clients/c1/c1.crt")), before);
    assert_eq!(read("of the client").out, before);
}

#[test]
fn the_readme_names_the_files_and_the_line_for_each_platform() {
    let pki = Pki::create();
    let url = "https://messages.example.org:8443/";
    assert_eq!(pki.run(&["issue", "client", "c1", "--url", url]).code, Some(0));
    let text = fs::read_to_string(pki.at("clients/c1/README.txt")).unwrap();
    for line in [
        "curl --cert c1.crt --key c1.key --cacert ca.crt https://messages.example.org:8443/api/v1/whoami",
        "curl.exe --cert c1.p12:PASSWORD --cert-type P12 --cacert ca.crt",
        "chmod 600 c1.key",
        "icacls c1.key",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let secret = fs::read_to_string(pki.at("clients/c1/c1.p12.pass")).unwrap();
    assert!(!text.contains(secret.trim()), "the password travels another way");
    for wrong in ["http://proxy:8001", "proxy:8001"] {
        assert_eq!(pki.run(&["issue", "client", "c2", "--url", wrong]).code, Some(2), "{wrong}");
    }
}

#[test]
fn a_renewed_service_keeps_its_names_and_may_keep_its_key() {
    let pki = Pki::create();
    let issue = ["issue", "proxy", "p1", "--host", "proxy.example.com,127.0.0.1,::1"];
    assert_eq!(pki.run(&issue).code, Some(0));
    let leaf = pki.at("services/proxy/p1/p1.crt");
    let names = || openssl(&["x509", "-in", &leaf, "-noout", "-ext", "subjectAltName"]).out;
    let (before, key) = (names(), public_key(&leaf));
    assert_eq!(pki.run(&["renew", "proxy/p1", "--reuse-key", "--days", "30"]).code, Some(0));
    assert_eq!((names(), public_key(&leaf)), (before.clone(), key.clone()));
    assert_eq!(pki.run(&["renew", "proxy/p1"]).code, Some(0));
    assert_eq!(names(), before);
    assert_ne!(public_key(&leaf), key);
    assert_eq!(fs::read_dir(pki.at("backup/services/proxy/p1")).unwrap().count(), 2);
}

#[test]
fn answers_for_machines_are_json() {
    let pki = Pki::create();
    let issued = pki.run(&["issue", "client", "c1", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&issued.out).unwrap();
    let serial = openssl(&["x509", "-in", &pki.at("clients/c1/c1.crt"), "-noout", "-serial"]).out;
    assert_eq!(json["serial"], serial.trim().trim_start_matches("serial="));
    assert_eq!(json["registered"], false);
    assert!(json["sql"].as_str().unwrap().starts_with("INSERT INTO clients"));
    let index =
        fs::read_to_string(pki.at(&format!("issued/{}.crt", json["serial"].as_str().unwrap()))).unwrap();
    assert!(fs::read_to_string(pki.at("clients/c1/c1.crt")).unwrap().starts_with(&index));
}
