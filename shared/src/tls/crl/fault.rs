//! Why a revocation list was refused.

/// Why a revocation list was refused; the one in force stays.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CrlFault {
    /// The file, directory or row cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(String),
    /// Nothing in it.
    #[error("holds no revocation list (DER, or PEM that begins with -----BEGIN X509 CRL-----)")]
    Empty,
    /// Broken PEM or DER; half-written files end here.
    #[error("is broken: {0}")]
    Malformed(&'static str),
    /// Version 1 has no number and no reasons.
    #[error("is not version 2 (RFC 5280 §5.1.2.1)")]
    Version,
    /// What is said about it in its row is not what it says itself.
    #[error("its row names another {0} than the list itself: publish it again")]
    Row(&'static str),
    /// Issued by a CA that is not trusted here.
    #[error("its issuer is not a CA of this door: add the CA to the trust bundle or to crl.authorities")]
    Foreign,
    /// The issuer may not sign lists.
    #[error("its issuer's keyUsage does not allow signing revocation lists (cRLSign)")]
    KeyUsage,
    /// The signature is not the issuer's.
    #[error("its signature does not verify with its issuer's key")]
    Signature,
    /// `thisUpdate` lies ahead.
    #[error("its thisUpdate lies in the future: are both machines' clocks right?")]
    Future,
    /// RFC 5280 §5.1.2.5 requires it.
    #[error("has no nextUpdate, or one that is not after thisUpdate")]
    NextUpdate,
    /// RFC 5280 §5.2.3 requires it.
    #[error("has no CRLNumber of at most 20 octets")]
    NoNumber,
    /// It would bring revoked certificates back.
    #[error("its number {offered} is lower than {in_force}, the one in force")]
    Lower {
        /// Of this list.
        offered: String,
        /// Of the list in force.
        in_force: String,
    },
    /// Two lists cannot have one number.
    #[error("differs from the list in force, which has the same number {0}")]
    SameNumber(String),
    /// It holds changes only.
    #[error("is a delta list (deltaCRLIndicator): give the complete one")]
    Delta,
    /// It lists certificates of other issuers.
    #[error("is an indirect list (indirectCRL or certificateIssuer): give each CA's own")]
    Indirect,
    /// It covers only some certificates or reasons.
    #[error("covers only a part of what its issuer issued (issuingDistributionPoint): give the complete one")]
    Partial,
    /// Another part of the same issuer's certificates.
    #[error(
        "has another issuingDistributionPoint than the list in force: parts of a list cannot be combined"
    )]
    Scope,
    /// It says something that nobody here understands.
    #[error("has a critical extension that is not understood ({0})")]
    CriticalExtension(String),
    /// RFC 5280 §4.1.2.2: at most 20 octets.
    #[error("lists a serial number of more than 20 octets")]
    Serial,
}

impl CrlFault {
    /// The reason as a metric's label: a closed list.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Unreadable(_) => "unreadable",
            Self::Empty => "empty",
            Self::Malformed(_) => "malformed",
            Self::Row(_) => "row",
            Self::Version => "version",
            Self::Foreign => "foreign",
            Self::KeyUsage => "key_usage",
            Self::Signature => "signature",
            Self::Future => "future",
            Self::NextUpdate => "next_update",
            Self::NoNumber => "no_number",
            Self::Lower { .. } => "lower_number",
            Self::SameNumber(_) => "same_number",
            Self::Delta => "delta",
            Self::Indirect => "indirect",
            Self::Partial => "partial",
            Self::Scope => "scope",
            Self::CriticalExtension(_) => "critical_extension",
            Self::Serial => "serial",
        }
    }
}
