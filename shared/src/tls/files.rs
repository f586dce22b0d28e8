//! Reading PEM files: certificates and keys. Errors name the file and what to do about it.

use std::path::{Path, PathBuf};

use rustls_pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{Error as PemError, PemObject},
};

use crate::identity::MalformedCertificate;

/// Why a certificate, key or bundle file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsFileError {
    /// Not readable as PEM.
    #[error("{}: {text}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        text: String,
    },
    /// One certificate in it does not parse.
    #[error("{}: certificate {index}: {source}", file.display())]
    Malformed {
        /// The file.
        file: PathBuf,
        /// Counting from 1.
        index: usize,
        /// What is wrong.
        source: MalformedCertificate,
    },
    /// One certificate in it may not be a trust anchor.
    #[error("{}: certificate {index}: {text}", file.display())]
    NoAnchor {
        /// The file.
        file: PathBuf,
        /// Counting from 1.
        index: usize,
        /// Which rule it breaks.
        text: String,
    },
    /// rustls refuses the identity.
    #[error("{}: {text}", file.display())]
    Identity {
        /// The certificate file.
        file: PathBuf,
        /// What is wrong.
        text: String,
    },
}

/// All certificates of a PEM file, in order; at least one.
pub(super) fn read_certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFileError> {
    let certificates = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unreadable(file, &error))?;
    if certificates.is_empty() {
        let text = "holds no certificate (a block that begins with -----BEGIN CERTIFICATE-----)".to_owned();
        return Err(TlsFileError::Unreadable { file: file.to_owned(), text });
    }
    Ok(certificates)
}

/// The private key of a PEM file: PKCS#8, SEC1 or PKCS#1, not encrypted.
pub(super) fn read_key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsFileError> {
    PrivateKeyDer::from_pem_file(file).map_err(|error| unreadable(file, &error))
}

fn unreadable(file: &Path, error: &PemError) -> TlsFileError {
    let text = match error {
        PemError::Io(error) => format!("cannot be read: {error}"),
        PemError::NoItemsFound => "holds no unencrypted private key in PEM".to_owned(),
        other => format!("is not valid PEM: {other}"),
    };
    TlsFileError::Unreadable { file: file.to_owned(), text }
}
