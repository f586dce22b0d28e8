//! One row of the client table.

use std::sync::Arc;

use shared::identity::Name;

use crate::crls::ReasonCode;

/// How a certificate stands, as far as the table says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Admitted until `expires_at`.
    Active,
    /// Refused until an operator sets it active again.
    Suspended,
    /// Refused for ever.
    Revoked {
        /// Unix seconds.
        at: i64,
        /// RFC 5280 §5.3.1.
        reason: ReasonCode,
    },
    /// Refused; the operator ended it.
    Expired,
}

/// One row: a certificate's registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The client it belongs to.
    pub client_id: Name,
    /// The client's domain.
    pub domain: Arc<str>,
    /// How it stands.
    pub status: Status,
    /// Unix seconds at which the registration ends.
    pub expires_at: i64,
}

/// The reason code of a row; a word the database could not hold is no reason to admit anybody.
pub(super) fn reason_code(word: Option<&str>) -> ReasonCode {
    const CODES: [ReasonCode; 9] = [
        "keyCompromise",
        "cACompromise",
        "affiliationChanged",
        "superseded",
        "cessationOfOperation",
        "certificateHold",
        "removeFromCRL",
        "privilegeWithdrawn",
        "aACompromise",
    ];
    CODES.into_iter().find(|code| Some(*code) == word).unwrap_or("unspecified")
}
