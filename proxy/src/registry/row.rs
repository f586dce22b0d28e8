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

/// What a row says of its client's rate limits; where it says nothing, the proxy's `[rate]` holds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct RateOverride {
    /// Requests a second; 0: no limit.
    pub requests_per_second: Option<f64>,
    /// Requests at once; 0: those of one second.
    pub burst: Option<f64>,
    /// Bytes of bodies a second; 0: no limit.
    pub bytes_per_second: Option<f64>,
    /// Bytes at once; 0: those of one second.
    pub bytes_burst: Option<f64>,
}

impl RateOverride {
    /// From the view's column: the four in this order.
    pub(super) fn of_columns(columns: &[Option<f64>]) -> Self {
        let column = |index: usize| columns.get(index).copied().flatten();
        Self {
            requests_per_second: column(0),
            burst: column(1),
            bytes_per_second: column(2),
            bytes_burst: column(3),
        }
    }
}

/// One row: a certificate's registration.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The client it belongs to.
    pub client_id: Name,
    /// The client's domain.
    pub domain: Arc<str>,
    /// How it stands.
    pub status: Status,
    /// Unix seconds at which the registration ends.
    pub expires_at: i64,
    /// Rate limits of its own.
    pub rate: Option<Arc<RateOverride>>,
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
