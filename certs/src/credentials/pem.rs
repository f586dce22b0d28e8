//! PEM files: certificates, and private keys with or without a passphrase.

use std::{path::Path, str};

use pkcs8::{EncryptedPrivateKeyInfoRef, SecretDocument, der::Decode as _};
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer,
    pem::{Error as PemError, PemObject as _},
};

use super::{CredentialError, PassphraseSource, read_file};

const ENCRYPTED: &str = "ENCRYPTED PRIVATE KEY";
/// RFC 1421 headers, as OpenSSL wrote them before PKCS#8: the key is derived with one round of MD5.
const LEGACY: &str = "Proc-Type: 4,ENCRYPTED";

/// All certificates of a PEM file, in order; at least one.
pub fn read_certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, CredentialError> {
    let bytes = read_file(file)?;
    let text = as_pem(file, &bytes)?;
    let found = CertificateDer::pem_slice_iter(text.as_bytes()).collect::<Result<Vec<_>, _>>();
    let certificates = found.map_err(|error| malformed(file, broken(&error)))?;
    if certificates.is_empty() {
        let instead = if text.contains("PRIVATE KEY-----") { ", but a private key" } else { "" };
        let text = format!("holds no certificate{instead}: it needs a block -----BEGIN CERTIFICATE-----");
        return Err(malformed(file, text));
    }
    Ok(certificates)
}

/// Whether the key in a PEM file needs a passphrase.
pub fn is_encrypted(file: &Path) -> Result<bool, CredentialError> {
    let bytes = read_file(file)?;
    let text = as_pem(file, &bytes)?;
    Ok(block(text, ENCRYPTED).is_some() || text.contains(LEGACY))
}

/// The first private key of a PEM file: PKCS#8, also encrypted, SEC1 or PKCS#1.
pub fn read_key(file: &Path, source: &PassphraseSource) -> Result<PrivateKeyDer<'static>, CredentialError> {
    let bytes = read_file(file)?;
    let text = as_pem(file, &bytes)?;
    if let Some(block) = block(text, ENCRYPTED) {
        return decrypt(file, block, source);
    }
    if text.contains(LEGACY) {
        return Err(CredentialError::UnsupportedEncryption {
            file: file.to_owned(),
            text: format!(
                "is encrypted in OpenSSL's old way ({LEGACY}), which is not read here: convert it with \
                 openssl pkcs8 -topk8 -v2 aes-256-cbc -in {} -out NEW.key",
                file.display()
            ),
        });
    }
    PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|error| match error {
        PemError::NoItemsFound => {
            let instead = if text.contains("BEGIN CERTIFICATE-----") { ", but a certificate" } else { "" };
            malformed(
                file,
                format!("holds no private key{instead}: it needs a block -----BEGIN PRIVATE KEY-----"),
            )
        }
        other => malformed(file, broken(&other)),
    })
}

fn decrypt(
    file: &Path,
    block: &str,
    source: &PassphraseSource,
) -> Result<PrivateKeyDer<'static>, CredentialError> {
    let (_, document) = SecretDocument::from_pem(block)
        .map_err(|error| malformed(file, format!("holds a damaged key: {error}: copy it again")))?;
    let encrypted = EncryptedPrivateKeyInfoRef::from_der(document.as_bytes())
        .map_err(|error| unsupported(file, &error.to_string()))?;
    let passphrase = source.ask(file)?;
    let key = encrypted.decrypt(passphrase.as_str()).map_err(|error| match error {
        pkcs8::Error::EncryptedPrivateKey(
            pkcs8::pkcs5::Error::UnsupportedAlgorithm { .. }
            | pkcs8::pkcs5::Error::NoPbes1CryptSupport
            | pkcs8::pkcs5::Error::AlgorithmParametersInvalid { .. },
        ) => unsupported(file, &error.to_string()),
        // under a wrong passphrase the padding is wrong; by chance, once in 256 times, only what is inside
        _ => CredentialError::WrongPassphrase { file: file.to_owned() },
    })?;
    Ok(PrivatePkcs8KeyDer::from(key.as_bytes().to_vec()).into())
}

fn unsupported(file: &Path, cause: &str) -> CredentialError {
    CredentialError::UnsupportedEncryption {
        file: file.to_owned(),
        text: format!(
            "is encrypted in a way that is not read here ({cause}): convert it with \
             openssl pkcs8 -topk8 -v2 aes-256-cbc -in {} -out NEW.key",
            file.display()
        ),
    }
}

/// The text of a PEM file, or what it is instead.
fn as_pem<'a>(file: &Path, bytes: &'a [u8]) -> Result<&'a str, CredentialError> {
    let text = match str::from_utf8(bytes) {
        Ok(text) if text.contains("-----BEGIN ") => return Ok(text),
        Ok(text) if text.trim().is_empty() => "is empty: copy it again",
        // a DER SEQUENCE
        _ if bytes.first() == Some(&0x30) => {
            "is DER or PKCS#12, not PEM: give a .p12 or .pfx file with --p12; \
             convert a DER certificate with openssl x509 -inform der -in OLD -out NEW.crt"
        }
        Ok(_) | Err(_) => {
            "is not PEM: it needs a line -----BEGIN CERTIFICATE----- or -----BEGIN PRIVATE KEY-----"
        }
    };
    Err(malformed(file, text.to_owned()))
}

/// The first block with this label, with its first and last line.
fn block<'a>(text: &'a str, label: &str) -> Option<&'a str> {
    let start = text.find(&format!("-----BEGIN {label}-----"))?;
    let end_line = format!("-----END {label}-----");
    let end = text[start..].find(&end_line)?;
    Some(&text[start..start + end + end_line.len()])
}

fn broken(error: &PemError) -> String {
    format!("is damaged PEM ({error}): copy it again, all lines of it")
}

fn malformed(file: &Path, text: String) -> CredentialError {
    CredentialError::Malformed { file: file.to_owned(), text }
}
