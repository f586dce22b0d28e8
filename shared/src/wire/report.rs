//! Proxy → main server: `POST /internal/v1/reports`, answered 204 once it is written.
//!
//! How far the proxy's copy of the client table is, and whom it has seen since its last report. Which proxy
//! reports is read from its certificate. A report whose answer was lost is sent again and may count twice.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use super::Code;
use crate::identity::{Fingerprint, Name};

/// One report.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// Of this run of this process: several proxies may share a certificate.
    pub instance: Uuid,
    /// The last one: this proxy admits nobody any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stopping: bool,
    /// Its copy of the client table.
    pub copy: RegistryCopy,
    /// Certificates it has seen, each at most once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seen: Vec<SeenCertificate>,
}

/// How current a copy of the client table is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RegistryCopy {
    /// The database snapshot whose changes it holds, as Postgres writes a `pg_snapshot`; none before the
    /// first sync.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied: Option<String>,
    /// Certificates in it.
    pub clients: u64,
    /// Milliseconds since the last successful sync began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_ms: Option<u64>,
    /// At which age everybody is refused.
    pub max_staleness_ms: u64,
}

/// What a proxy saw of one certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenCertificate {
    /// Which.
    pub cert_fingerprint: Fingerprint,
    /// Whose it is, if it is registered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<Name>,
    /// The first request, by the proxy's clock.
    #[serde(with = "time::serde::rfc3339")]
    pub first_seen_at: OffsetDateTime,
    /// The last one.
    #[serde(with = "time::serde::rfc3339")]
    pub last_seen_at: OffsetDateTime,
    /// Requests that were admitted.
    pub requests: u64,
    /// Requests that were refused for their certificate.
    pub refusals: u64,
    /// The last refusal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_refusal: Option<SeenRefusal>,
}

/// A refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenRefusal {
    /// When, by the proxy's clock.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// Why.
    pub code: Code,
}
