//! The folder: what lies where, who may read it, and what is never overwritten.

use std::{fs, thread};

use certs::{Authority, ClientRequest, IssueError, Issued, TrustDomain, folder::FolderError};
use shared::identity::{Role, Workload};

use crate::support::{Pki, name, openssl};

#[test]
fn the_folder_is_laid_out_as_promised() {
    let pki = Pki::create();
    pki.issue_client("client_001");
    pki.issue_service(Role::MainServer, "m1");
    let dir = pki.dir();
    let mut files: Vec<_> = pki
        .contents()
        .iter()
        .map(|(path, _)| path.strip_prefix(&dir).unwrap().to_str().unwrap().to_owned())
        .collect();
    // the index: each certificate under its serial number
    let serials: Vec<_> = files.iter().filter_map(|file| file.strip_prefix("issued/")).collect();
    assert_eq!(serials.len(), 2, "{serials:?}");
    assert!(serials.iter().all(|file| file.len() == "0123456789012345678901234567890123456789.crt".len()));
    files.retain(|file| !file.starts_with("issued/"));
    assert_eq!(
        files,
        [
            ".lock",
            "ca.crt",
            "ca.key",
            "ca.toml",
            "clients/client_001/ca.crt",
            "clients/client_001/client_001.crt",
            "clients/client_001/client_001.key",
            "clients/client_001/fingerprint.txt",
            "clients-ca.crt",
            "clients-ca.key",
            "crl/revoked.pem",
            "crl/root.pem",
            "crl/services.pem",
            "services/main-server/m1/ca.crt",
            "services/main-server/m1/fingerprint.txt",
            "services/main-server/m1/m1.crt",
            "services/main-server/m1/m1.key",
            "services-ca.crt",
            "services-ca.key",
        ]
    );
    let root = fs::read(dir.join("ca.crt")).unwrap();
    for holder in ["clients/client_001", "services/main-server/m1"] {
        assert_eq!(fs::read(dir.join(holder).join("ca.crt")).unwrap(), root, "every ca.crt is the root");
    }
}

#[test]
fn private_keys_are_for_their_owner_only() {
    let pki = Pki::create();
    pki.issue_client("client_001");
    pki.issue_service(Role::Worker, "w1");
    for (path, mode) in pki.modes() {
        let wanted = match path.extension().and_then(|extension| extension.to_str()) {
            Some("key") => 0o600,
            _ if path.is_dir() => 0o700,
            _ => continue,
        };
        assert_eq!(mode, wanted, "{}", path.display());
    }
}

#[test]
fn fingerprint_txt_is_what_openssl_writes() {
    let pki = Pki::create();
    pki.issue_client("client_001");
    let written = fs::read_to_string(pki.at("clients/client_001/fingerprint.txt")).unwrap();
    let certificate = pki.at("clients/client_001/client_001.crt");
    let theirs = openssl(&["x509", "-in", &certificate, "-noout", "-fingerprint", "-sha256"]).out;
    assert!(written.starts_with("SHA256 Fingerprint="), "{written}");
    // OpenSSL 3 writes the digest's name in lower case
    assert_eq!(written.to_uppercase(), theirs.to_uppercase());
}

#[test]
fn the_key_on_disk_belongs_to_the_certificate_beside_it() {
    let pki = Pki::create();
    pki.issue_client("client_001");
    let folder = pki.at("clients/client_001/client_001");
    let of_certificate = openssl(&["x509", "-in", &format!("{folder}.crt"), "-noout", "-pubkey"]).out;
    let of_key = openssl(&["pkey", "-in", &format!("{folder}.key"), "-pubout"]).out;
    assert_eq!(of_certificate, of_key);
}

#[test]
fn a_second_init_ca_changes_nothing() {
    let pki = Pki::nowhere();
    assert_eq!(pki.run(&["init-ca", "--no-passphrase"]).code, Some(0));
    let before = pki.contents();
    let second = pki.run(&["init-ca", "--no-passphrase"]);
    assert_eq!(second.code, Some(1));
    assert!(second.error.contains("holds a certificate authority already"), "{second:?}");
    assert_eq!(pki.contents(), before);
}

#[test]
fn an_interrupted_init_ca_is_recognised_and_not_built_upon() {
    let pki = Pki::create();
    fs::remove_file(pki.at("ca.toml")).unwrap();
    let before = pki.contents();
    assert!(matches!(Authority::load(&pki.dir()), Err(FolderError::NoAuthority(_))));
    let again = pki.run(&["init-ca", "--no-passphrase"]);
    assert_eq!(again.code, Some(1));
    assert!(again.error.contains("ca.key is in the way"), "{again:?}");
    assert_eq!(pki.contents(), before);
}

#[test]
fn of_many_init_ca_at_once_one_wins_and_is_whole() {
    let pki = Pki::nowhere();
    let attempt = || Authority::create(TrustDomain::default()).unwrap().save(&pki.dir()).is_ok();
    let won = thread::scope(|scope| {
        let attempts: Vec<_> = (0..8).map(|_| scope.spawn(attempt)).collect();
        attempts.into_iter().filter_map(|attempt| attempt.join().ok()).filter(|won| *won).count()
    });
    assert_eq!(won, 1);
    // the keys belong to the certificates, so that they are all of the same authority
    pki.issue_client("client_001");
}

#[test]
fn an_issued_name_keeps_its_files() {
    let pki = Pki::create();
    assert_eq!(pki.run(&["issue", "client", "client_001"]).code, Some(0));
    let before = pki.contents();
    let again = pki.run(&["issue", "client", "client_001"]);
    assert_eq!(again.code, Some(1));
    assert!(again.error.contains("this name has a certificate already"), "{again:?}");
    assert_eq!(pki.contents(), before);
    // the same name in another role is another holder
    assert_eq!(pki.run(&["issue", "worker", "client_001"]).code, Some(0));
}

#[test]
fn of_many_certificates_for_one_name_one_is_kept() {
    let pki = Pki::create();
    let authority = pki.authority();
    let attempt = || {
        let issued = authority.issue_client(&name("client_001"), &ClientRequest::default()).unwrap();
        issued.save(&pki.dir()).is_ok().then(|| issued.fingerprint())
    };
    let kept: Vec<_> = thread::scope(|scope| {
        let attempts: Vec<_> = (0..8).map(|_| scope.spawn(attempt)).collect();
        attempts.into_iter().filter_map(|attempt| attempt.join().unwrap()).collect()
    });
    let holder = Workload::Client(name("client_001"));
    let on_disk = Issued::load(&pki.dir(), &holder).unwrap().map(|issued| issued.fingerprint());
    assert_eq!(kept, Vec::from_iter(on_disk));
    assert_eq!(fs::read_dir(pki.at("clients")).unwrap().count(), 1, "nothing staged is left behind");
}

#[test]
fn an_authority_reads_back_as_it_was_saved() {
    let pki = Pki::nowhere();
    let domain: TrustDomain = "example.org".parse().unwrap();
    let saved = Authority::create(domain.clone()).unwrap();
    saved.save(&pki.dir()).unwrap();
    let loaded = pki.authority();
    assert_eq!(loaded.trust_domain(), &domain);
    assert_eq!(loaded.clients().certificate(), saved.clients().certificate());
    assert_eq!(loaded.crls().map(|crl| crl.der().to_vec()), saved.crls().map(|crl| crl.der().to_vec()));
}

#[test]
fn an_issued_certificate_reads_back_as_it_was_saved() {
    let pki = Pki::create();
    let request = ClientRequest { domain: "example.com".to_owned(), days: 30 };
    let saved = pki.authority().issue_client(&name("client_001"), &request).unwrap();
    saved.save(&pki.dir()).unwrap();
    let loaded = Issued::load(&pki.dir(), &saved.holder).unwrap().unwrap();
    assert_eq!(loaded.fingerprint(), saved.fingerprint());
    assert_eq!(loaded.domain.as_deref(), Some("example.com"));
    assert_eq!(loaded.key().pem(), saved.key().pem());
    assert!(Issued::load(&pki.dir(), &Workload::Client(name("nobody"))).unwrap().is_none());
}

#[test]
fn issuing_does_not_need_the_key_of_the_root() {
    let pki = Pki::create();
    fs::remove_file(pki.at("ca.key")).unwrap();
    assert_eq!(pki.run(&["issue", "client", "client_001"]).code, Some(0));
    fs::remove_file(pki.at("clients-ca.key")).unwrap();
    let refused = pki.run(&["issue", "client", "client_002"]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.error.contains("the key of the clients CA is not here"), "{refused:?}");
}

#[test]
fn the_key_of_another_ca_is_not_used() {
    let pki = Pki::create();
    fs::copy(pki.at("services-ca.key"), pki.at("clients-ca.key")).unwrap();
    let refused = Authority::load(&pki.dir());
    assert!(
        matches!(refused, Err(FolderError::Content(_, why)) if matches!(*why, IssueError::KeyMismatch("clients CA")))
    );
}

#[test]
fn a_private_key_is_never_shown() {
    let pki = Pki::create();
    let issued = pki.issue_client("client_001");
    let shown = format!("{issued:?} {:?}", pki.authority());
    let secret = issued.key().pem().lines().nth(1).unwrap();
    assert!(!shown.contains("PRIVATE KEY") && !shown.contains(secret), "{shown}");
}
