//! Certificates and keys are read in every form in which `openssl` writes them.

#![expect(clippy::unwrap_used, reason = "a test whose files cannot be made cannot go on")]

use std::{fs, path::PathBuf};

use certs::credentials::{
    CredentialError, Credentials, PassphraseSource, read_certificates, read_key, read_pkcs12,
};

use crate::support::{Pki, openssl};

/// A client's files, and a passphrase.
struct Client {
    pki: Pki,
    passphrase: PassphraseSource,
}

impl Client {
    fn new() -> Self {
        let pki = Pki::create();
        pki.issue_client("client_001");
        let file = pki.dir().join("passphrase");
        fs::write(&file, "QWErty123\n").unwrap();
        Self { pki, passphrase: PassphraseSource::File(file) }
    }

    fn file(&self, end: &str) -> String {
        self.pki.at(&format!("clients/client_001/client_001.{end}"))
    }

    /// Makes a file with `openssl`.
    fn make(&self, name: &str, arguments: &[&str]) -> PathBuf {
        let path = self.pki.dir().join(name);
        let out = path.to_str().unwrap();
        let arguments: Vec<_> = arguments.iter().copied().chain(["-out", out]).collect();
        let made = openssl(&arguments);
        assert_eq!(made.code, Some(0), "{made:?}");
        path
    }
}

const TO: [&str; 2] = ["-passout", "pass:QWErty123"];

#[test]
fn every_form_of_a_key_is_read_and_goes_with_its_certificate() {
    let client = Client::new();
    let chain = read_certificates(client.file("crt").as_ref()).unwrap();
    assert_eq!(chain.len(), 2);
    let key = client.file("key");
    let pkcs8 = |more: &[&'static str]| [&["pkcs8", "-topk8", "-in", &key], more].concat().join(" ");
    let forms = [
        ("sec1", format!("ec -in {key}")),
        ("pkcs8", pkcs8(&["-nocrypt"])),
        ("aes-256", pkcs8(&["-v2", "aes-256-cbc", TO[0], TO[1]])),
        ("aes-128-sha512", pkcs8(&["-v2", "aes-128-cbc", "-v2prf", "hmacWithSHA512", TO[0], TO[1]])),
        ("scrypt", pkcs8(&["-scrypt", TO[0], TO[1]])),
        ("3des", pkcs8(&["-v2", "des3", TO[0], TO[1]])),
    ];
    for (form, command) in forms {
        let file = client.make(form, &command.split(' ').collect::<Vec<_>>());
        let key = read_key(&file, &client.passphrase).unwrap();
        assert!(Credentials { chain: chain.clone(), key }.certified().is_ok(), "{form}");
    }
}

#[test]
fn an_rsa_key_of_openssls_own_form_is_read() {
    let client = Client::new();
    let key = client.make("rsa.key", &["genrsa", "-traditional"]);
    assert!(fs::read_to_string(&key).unwrap().contains("BEGIN RSA PRIVATE KEY"));
    let certificate = client.make(
        "rsa.crt",
        &["req", "-x509", "-new", "-key", key.to_str().unwrap(), "-subj", "/CN=client_001", "-days", "1"],
    );
    let chain = read_certificates(&certificate).unwrap();
    let key = read_key(&key, &client.passphrase).unwrap();
    assert!(Credentials { chain, key }.certified().is_ok());
}

#[test]
fn a_pkcs12_file_gives_its_leaf_first_whatever_the_order_and_asks_for_no_empty_passphrase() {
    let client = Client::new();
    let leaf = read_certificates(client.file("crt").as_ref()).unwrap().remove(0);
    let (cert, key, root) = (client.file("crt"), client.file("key"), client.pki.at("ca.crt"));
    let export = |name, more: &[&str]| {
        let given = ["pkcs12", "-export", "-in", &cert, "-inkey", &key, "-certfile", &root];
        client.make(name, &[&given, more].concat())
    };
    let old = ["-keypbe", "PBE-SHA1-3DES", "-certpbe", "PBE-SHA1-3DES", "-macalg", "sha1"];
    for file in [export("new.p12", &TO), export("old.p12", &[&TO[..], &old].concat())] {
        let credentials = read_pkcs12(&file, &client.passphrase).unwrap();
        assert_eq!(
            (credentials.chain[0] == leaf, credentials.chain.len()),
            (true, 2),
            "the root is not sent"
        );
        assert!(credentials.certified().is_ok());
        // nobody is at this terminal
        let unasked = read_pkcs12(&file, &PassphraseSource::Terminal);
        assert!(matches!(unasked, Err(CredentialError::NeedsPassphrase { .. })), "{unasked:?}");
    }
    let open = export("open.p12", &["-passout", "pass:"]);
    assert!(read_pkcs12(&open, &PassphraseSource::Terminal).unwrap().certified().is_ok());
}

#[test]
fn what_is_no_pkcs12_is_told_what_it_is() {
    let client = Client::new();
    let pem = read_pkcs12(client.file("crt").as_ref(), &client.passphrase).unwrap_err();
    assert!(pem.to_string().contains("is PEM, not PKCS#12"), "{pem}");
    let damaged = client.pki.dir().join("damaged.p12");
    fs::write(&damaged, [0x30, 0x82, 0xff]).unwrap();
    let damaged = read_pkcs12(&damaged, &client.passphrase).unwrap_err();
    assert!(matches!(damaged, CredentialError::Malformed { .. }), "{damaged}");
}
