//! Why a certificate is refused, and how its holder is told.
//!
//! The operator's free text is never told: the caller may have stolen the key.

use rustls::CertificateError;
use shared::{
    identity::Fingerprint,
    wire::{Code, Problem},
};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::crls::ReasonCode;

/// Why a certificate is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// By SQL or by list; final.
    Revoked {
        /// Unix seconds.
        at: i64,
        /// RFC 5280 §5.3.1.
        reason: ReasonCode,
    },
    /// The CA that vouches for it was taken out of the trust bundle since the handshake.
    Untrusted,
    /// The certificate, a CA above it, or its registration has ended.
    Expired {
        /// Unix seconds.
        not_after: i64,
    },
    /// Its validity has not begun.
    NotYetValid {
        /// Unix seconds.
        not_before: i64,
    },
    /// Not registered.
    Unknown,
    /// Registered for another client than the one it names.
    Mismatch,
    /// Suspended; this can be undone.
    Suspended,
    /// The copy of the client table is too old to decide by.
    RegistryStale,
    /// The revocation list is too old to decide by.
    CrlStale,
}

impl Refusal {
    /// The word on the wire and in metrics.
    #[must_use]
    pub const fn code(self) -> Code {
        match self {
            Self::Revoked { .. } => Code::CertificateRevoked,
            Self::Expired { .. } => Code::CertificateExpired,
            Self::NotYetValid { .. } => Code::CertificateNotYetValid,
            Self::Unknown | Self::Untrusted => Code::CertificateUnknown,
            Self::Mismatch => Code::CertificateMismatch,
            Self::Suspended => Code::ClientSuspended,
            Self::RegistryStale => Code::RegistryStale,
            Self::CrlStale => Code::CrlStale,
        }
    }

    /// Whether it is about the certificate or its registration, rather than about what this proxy can know.
    #[must_use]
    pub const fn is_about_the_holder(self) -> bool {
        !matches!(self, Self::RegistryStale | Self::CrlStale)
    }

    /// What a strict door says of it, as a TLS alert.
    #[must_use]
    pub const fn as_certificate_error(self) -> CertificateError {
        match self {
            Self::Revoked { .. } => CertificateError::Revoked,
            Self::Expired { .. } => CertificateError::Expired,
            Self::NotYetValid { .. } => CertificateError::NotValidYet,
            Self::Untrusted => CertificateError::UnknownIssuer,
            // access_denied
            Self::Unknown | Self::Mismatch | Self::Suspended | Self::RegistryStale | Self::CrlStale => {
                CertificateError::ApplicationVerificationFailure
            }
        }
    }

    /// What the holder is told, and what to do.
    #[must_use]
    pub fn to_problem(self, fingerprint: &Fingerprint) -> Problem {
        let detail = match self {
            Self::Revoked { .. } => "this certificate was revoked; ask the operator for a new one".to_owned(),
            Self::Expired { not_after } => {
                format!("this certificate, or its registration, ended at {}; renew it", instant(not_after))
            }
            Self::NotYetValid { not_before } => format!(
                "this certificate is valid from {}; wait for it, check both clocks, then connect anew",
                instant(not_before)
            ),
            Self::Unknown => {
                "no client is registered with this certificate; give its fingerprint to the operator"
                    .to_owned()
            }
            Self::Untrusted => {
                "the CA that issued this certificate is no longer trusted here; ask the operator for a new one"
                    .to_owned()
            }
            Self::Mismatch => "this certificate names another client than the one it is registered for; \
                               ask the operator to register it again"
                .to_owned(),
            Self::Suspended => "this client is suspended; ask the operator".to_owned(),
            Self::RegistryStale => {
                "the client registry could not be read for too long; try again later".to_owned()
            }
            Self::CrlStale => "the certificate revocation list is out of date; try again later".to_owned(),
        };
        let problem = Problem::new(self.code(), detail).with("fingerprint", fingerprint.to_string());
        match self {
            Self::Revoked { at, reason } => {
                problem.with("revoked_at", instant(at)).with("reason_code", reason)
            }
            _ => problem,
        }
    }
}

/// RFC 3339, UTC.
pub(crate) fn instant(seconds: i64) -> String {
    OffsetDateTime::from_unix_timestamp(seconds)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| format!("{seconds} s after 1970"))
}
