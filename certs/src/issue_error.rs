//! Why nothing was issued: one variant per thing that somebody can do about it.

use rustls_pki_types::pem;
use shared::identity::{MalformedCertificate, Role};

use crate::MalformedCrl;

/// Why nothing was issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The client's domain cannot be written into a certificate.
    #[error("the domain is 1 to 64 characters out of A-Z, a-z, 0-9, '.', '_' and '-', such as example.com")]
    Domain,
    /// A certificate that is valid for no time.
    #[error("the validity must be at least one day")]
    NoDays,
    /// RFC 5280 §6.1 would refuse it from that day on, so nobody is told a later one.
    #[error("the certificate would outlive the {issuer}, which ends in {days_left} days: ask for fewer days")]
    OutlivesIssuer {
        /// Which CA.
        issuer: &'static str,
        /// For how many days it can still issue.
        days_left: i64,
    },
    /// Callers check the name of the server they reach.
    #[error("a {0} is called by name: give it at least one host, such as --host {0}.example.com")]
    NoHost(Role),
    /// The key of this CA is kept elsewhere.
    #[error("the key of the {0} is not here: bring it back for the time of this step")]
    KeyAbsent(&'static str),
    /// The key of this CA is under a passphrase that was not asked for yet.
    #[error("the key of the {0} is under a passphrase, and none was given")]
    KeyLocked(&'static str),
    /// The passphrase is not the one the key was locked with.
    #[error("the passphrase does not open the key of the {0}")]
    WrongPassphrase(&'static str),
    /// The passphrase of a new key protects nothing.
    #[error("a passphrase has at least {0} characters")]
    ShortPassphrase(usize),
    /// Files of two CAs were mixed up.
    #[error("the key of the {0} does not belong to its certificate: restore both from the same backup")]
    KeyMismatch(&'static str),
    /// The system gave no random bytes.
    #[error("the system gave no random bytes")]
    NoRandomness,
    /// A file that should hold a certificate holds none.
    #[error("no PEM certificate found")]
    NoCertificate,
    /// Not PEM.
    #[error("not a PEM file")]
    Pem(#[from] pem::Error),
    /// Not a certificate.
    #[error(transparent)]
    Certificate(#[from] MalformedCertificate),
    /// Not a revocation list.
    #[error(transparent)]
    Crl(#[from] MalformedCrl),
    /// Not a signing request that may be signed.
    #[error("the signing request is refused: {0}")]
    Request(&'static str),
    /// Not PKCS#8, or encrypted in a way that is not read here.
    #[error("the private key cannot be read")]
    Key(#[from] pkcs8::Error),
    /// It could not be put into PKCS#12.
    #[error("the PKCS#12 file cannot be made")]
    Pkcs12(#[from] p12_keystore::error::Error),
    /// Encoding or signing failed.
    #[error("signing failed")]
    Signing(#[from] rcgen::Error),
}
