//! What a client shows and whom it believes, read from files: certificates, a private key, PKCS#12.
//!
//! In: PEM (PKCS#8, SEC1 or PKCS#1; PKCS#8 may be encrypted with PBES2) or PKCS#12, and a passphrase where one is
//! needed. Out: a chain, the leaf first, and its key. Refused, naming the file, the cause and what to do: what is
//! absent, not readable, in another format, encrypted in a way that is not read here, or under another passphrase.

mod error;
mod passphrase;
mod pem;
mod pkcs12;

use std::{fs, io, path::Path};

use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

pub use error::CredentialError;
pub use passphrase::{Passphrase, PassphraseSource};
pub use pem::{is_encrypted, read_certificates, read_key};
pub use pkcs12::read_pkcs12;

/// A certificate with the CAs sent along, and its private key. Whether the two belong together is asked separately
/// ([`Credentials::certified`]), so that each failing can be told for itself.
#[derive(Debug)]
pub struct Credentials {
    /// The leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its key.
    pub key: PrivateKeyDer<'static>,
}

impl Credentials {
    /// Chain and key as rustls takes them. Refuses a key that is not the leaf's.
    pub fn certified(&self) -> Result<CertifiedKey, rustls::Error> {
        CertifiedKey::from_der(self.chain.clone(), self.key.clone_key(), &shared::tls::provider())
    }
}

/// The bytes of a file that may hold a key: wiped from memory when dropped.
pub fn read_file(file: &Path) -> Result<Zeroizing<Vec<u8>>, CredentialError> {
    fs::read(file).map(Zeroizing::new).map_err(|source| {
        let file = file.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound => CredentialError::Absent { file },
            io::ErrorKind::PermissionDenied => CredentialError::Forbidden { file },
            _ => CredentialError::Unreadable { file, source },
        }
    })
}
