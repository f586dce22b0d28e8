//! webpki's reasons as rustls errors, so that the peer gets the alert that says what was wrong.
//!
//! rustls has this mapping but does not export it.

use std::sync::Arc;

use rustls::{CertificateError, Error, OtherError};

/// The rustls error, and through it the alert, for a path that does not verify.
pub(super) fn rustls_error(error: webpki::Error) -> Error {
    use webpki::Error as E;
    let reason = match error {
        E::BadDer | E::BadDerTime | E::TrailingData(_) => CertificateError::BadEncoding,
        E::CertNotValidYet { time, not_before } => CertificateError::NotValidYetContext { time, not_before },
        E::CertExpired { time, not_after } => CertificateError::ExpiredContext { time, not_after },
        E::InvalidCertValidity => CertificateError::Expired,
        E::UnknownIssuer => CertificateError::UnknownIssuer,
        E::CertNotValidForName(_) => CertificateError::NotValidForName,
        E::InvalidSignatureForPublicKey => CertificateError::BadSignature,
        E::RequiredEkuNotFoundContext(_) | E::EmptyEkuExtension => CertificateError::InvalidPurpose,
        E::UnsupportedCriticalExtension => CertificateError::UnhandledCriticalExtension,
        other => CertificateError::Other(OtherError(Arc::new(other))),
    };
    Error::InvalidCertificate(reason)
}
