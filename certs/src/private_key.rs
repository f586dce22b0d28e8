//! A private key as PKCS#8 in PEM, in clear or under a passphrase; or the fact that its holder keeps it elsewhere.
//!
//! In: PEM. Out: PEM, DER for rustls. Refused: to be shown. Encryption is PBES2 (RFC 8018 §6.2) with scrypt and
//! AES-256-CBC, which OpenSSL 1.1 and later read.

use std::fmt;

use pkcs8::{
    EncryptedPrivateKeyInfoRef, LineEnding, PrivateKeyInfoRef, SecretDocument,
    der::Decode,
    pkcs5::{
        Error as Pkcs5Error,
        pbes2::{EncryptionScheme, Parameters, Salt, ScryptParams},
    },
};
use rustls_pki_types::{
    PrivateKeyDer,
    pem::{self, PemObject},
};
use zeroize::Zeroizing;

use crate::{IssueError, credentials::Passphrase};

const CLEAR: &str = "PRIVATE KEY";
const ENCRYPTED: &str = "ENCRYPTED PRIVATE KEY";

/// A private key as PKCS#8 PEM; wiped from memory when dropped, and never shown.
#[derive(Clone)]
pub struct PrivateKey(Zeroizing<String>);

impl PrivateKey {
    pub(crate) fn from_pem(pem: String) -> Self {
        Self(Zeroizing::new(pem))
    }

    /// Version 1 (RFC 5208): version 2 adds the public key, and OpenSSL 3.0 does not read that.
    pub(crate) fn from_der(der: &[u8]) -> Result<Self, IssueError> {
        let mut info = PrivateKeyInfoRef::try_from(der)?;
        info.public_key = None;
        let document = SecretDocument::encode_msg(&info).map_err(pkcs8::Error::from)?;
        Ok(Self(document.to_pem(CLEAR, LineEnding::LF).map_err(pkcs8::Error::from)?))
    }

    /// The key of a certificate that was asked for with a signing request: its holder has it.
    pub(crate) fn elsewhere() -> Self {
        Self(Zeroizing::new(String::new()))
    }

    /// Whether the key is here at all.
    #[must_use]
    pub fn is_here(&self) -> bool {
        !self.0.is_empty()
    }

    /// Whether it needs a passphrase.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.0.contains(ENCRYPTED)
    }

    /// The key in PEM: what `curl --key` takes. Empty where the holder keeps it.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.0
    }

    /// The key in DER, for rustls.
    pub fn der(&self) -> Result<PrivateKeyDer<'static>, pem::Error> {
        PrivateKeyDer::from_pem_slice(self.0.as_bytes())
    }

    /// The same key under a passphrase.
    pub fn encrypted(&self, passphrase: &Passphrase) -> Result<Self, IssueError> {
        let key = self.der()?;
        let info = PrivateKeyInfoRef::try_from(key.secret_der())?;
        let document = info.encrypt_with_params(parameters()?, passphrase.as_str())?;
        Ok(Self(document.to_pem(ENCRYPTED, LineEnding::LF).map_err(pkcs8::Error::from)?))
    }

    /// The same key in clear; `None` under a wrong passphrase.
    pub fn decrypted(&self, passphrase: &Passphrase) -> Result<Option<Self>, IssueError> {
        if !self.is_encrypted() {
            return Ok(Some(self.clone()));
        }
        let (_, document) = SecretDocument::from_pem(self.0.trim()).map_err(pkcs8::Error::from)?;
        let encrypted =
            EncryptedPrivateKeyInfoRef::from_der(document.as_bytes()).map_err(pkcs8::Error::from)?;
        match encrypted.decrypt(passphrase.as_str()) {
            Ok(key) => Ok(Some(Self(key.to_pem(CLEAR, LineEnding::LF).map_err(pkcs8::Error::from)?))),
            Err(pkcs8::Error::EncryptedPrivateKey(
                other @ (Pkcs5Error::UnsupportedAlgorithm { .. }
                | Pkcs5Error::NoPbes1CryptSupport
                | Pkcs5Error::AlgorithmParametersInvalid { .. }),
            )) => Err(pkcs8::Error::EncryptedPrivateKey(other).into()),
            // a wrong passphrase gives nonsense, which has no padding or is no key
            Err(_) => Ok(None),
        }
    }
}

/// scrypt with N = 2^14, r = 8, p = 5: one of the equivalents that OWASP recommends, and the one that stays within
/// the 32 MiB that OpenSSL grants it.
fn parameters() -> Result<Parameters, IssueError> {
    let (mut salt, mut iv) = ([0; 16], [0; 16]);
    aws_lc_rs::rand::fill(&mut salt).map_err(|_| IssueError::NoRandomness)?;
    aws_lc_rs::rand::fill(&mut iv).map_err(|_| IssueError::NoRandomness)?;
    let kdf = ScryptParams {
        salt: Salt::new(salt).map_err(pkcs8::Error::from)?,
        cost_parameter: 1 << 14,
        block_size: 8,
        parallelization: 5,
        key_length: None,
    };
    Ok(Parameters { kdf: kdf.into(), encryption: EncryptionScheme::Aes256Cbc { iv } })
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(private key)")
    }
}
