//! PKCS#12 (`.p12`, `.pfx`): certificate, CAs and key in one file under one passphrase.

use std::path::Path;

use p12_keystore::{Pkcs12Archive, error::Error as Pkcs12Error};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use shared::identity::Certificate;

use super::{CredentialError, Credentials, Passphrase, PassphraseSource, read_file};

/// The first key of the file with the certificate that it belongs to and the CAs above that.
pub fn read_pkcs12(file: &Path, source: &PassphraseSource) -> Result<Credentials, CredentialError> {
    let bytes = read_file(file)?;
    if bytes.starts_with(b"-----BEGIN ") {
        let text = "is PEM, not PKCS#12: give it with --cert and --key".to_owned();
        return Err(CredentialError::Malformed { file: file.to_owned(), text });
    }
    let archive = match source {
        // many tools write files with an empty passphrase: nobody is asked for one
        PassphraseSource::Terminal => match open(file, &bytes, &Passphrase::new(String::new())) {
            Err(CredentialError::WrongPassphrase { .. }) => open(file, &bytes, &source.ask(file)?)?,
            other => other?,
        },
        PassphraseSource::File(_) => open(file, &bytes, &source.ask(file)?)?,
    };
    credentials(file, archive)
}

fn open(file: &Path, bytes: &[u8], passphrase: &Passphrase) -> Result<Pkcs12Archive, CredentialError> {
    Pkcs12Archive::from_pkcs12(bytes, passphrase.as_str()).map_err(|error| {
        let file = file.to_owned();
        match error {
            // the second, third and fourth for files without a MAC, whose content decrypts to nonsense
            Pkcs12Error::MacError(_)
            | Pkcs12Error::Pkcs5Error(_)
            | Pkcs12Error::UnpadError
            | Pkcs12Error::InvalidPrivateKey => CredentialError::WrongPassphrase { file },
            Pkcs12Error::UnsupportedEncryptionScheme
            | Pkcs12Error::UnsupportedMacAlgorithm
            | Pkcs12Error::UnsupportedContentType => CredentialError::UnsupportedEncryption {
                file,
                text: format!(
                    "is encrypted in a way that is not read here ({error}): write it again with \
                     openssl pkcs12 -export -in CERT -inkey KEY -out NEW.p12"
                ),
            },
            other => CredentialError::Malformed {
                file,
                text: format!("is not a readable PKCS#12 file ({other}): copy it again, or export it again"),
            },
        }
    })
}

fn credentials(file: &Path, archive: Pkcs12Archive) -> Result<Credentials, CredentialError> {
    let malformed = |text: &str| CredentialError::Malformed { file: file.to_owned(), text: text.to_owned() };
    let bag = archive
        .keys
        .into_iter()
        .next()
        .ok_or_else(|| malformed("holds no private key: export it with its key"))?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(bag.key.as_der().to_vec()));
    let mut certificates: Vec<_> = archive
        .certs
        .iter()
        .map(|bag| CertificateDer::from(bag.cert.as_der().to_vec()))
        .filter_map(|der| Some((Certificate::parse(&der).ok()?, der)))
        .collect();
    if certificates.is_empty() {
        return Err(malformed("holds no certificate: export it with its certificate"));
    }
    let mut chain = Vec::new();
    // where no certificate is the key's, the first stands for it: the mismatch is told elsewhere
    let leaf = certificates.iter().position(|(_, der)| belongs(der, &key)).unwrap_or(0);
    let (mut last, der) = certificates.swap_remove(leaf);
    chain.push(der);
    while let Some(issuer) =
        certificates.iter().position(|(one, _)| one.subject == last.issuer && one.subject != one.issuer)
    {
        let (next, der) = certificates.swap_remove(issuer);
        chain.push(der);
        last = next;
    }
    Ok(Credentials { chain, key })
}

fn belongs(der: &CertificateDer<'static>, key: &PrivateKeyDer<'static>) -> bool {
    Credentials { chain: vec![der.clone()], key: key.clone_key() }.certified().is_ok()
}
