//! The trust domain: the first part of every SPIFFE id that this authority puts into a certificate.

use std::{fmt, str::FromStr};

use serde::Deserialize;
use shared::identity::{Name, Role, SpiffeId, Workload};

/// A trust domain, `portcullis.internal` by default.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct TrustDomain(String);

/// The text cannot be a trust domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a trust domain is 1 to 255 characters out of a-z, 0-9, '.', '-' and '_', such as portcullis.internal"
)]
pub struct InvalidTrustDomain;

impl TrustDomain {
    /// The domain as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `spiffe://<trust domain>/client/<name>`.
    #[must_use]
    pub fn client(&self, name: &Name) -> SpiffeId {
        self.id(Workload::Client(name.clone()))
    }

    /// `spiffe://<trust domain>/<role>/<name>`.
    #[must_use]
    pub fn service(&self, role: Role, name: &Name) -> SpiffeId {
        self.id(Workload::Service(role, name.clone()))
    }

    fn id(&self, workload: Workload) -> SpiffeId {
        SpiffeId { trust_domain: self.0.clone(), workload }
    }
}

impl Default for TrustDomain {
    fn default() -> Self {
        Self("portcullis.internal".to_owned())
    }
}

impl FromStr for TrustDomain {
    type Err = InvalidTrustDomain;

    /// Accepts exactly what reads back out of a SPIFFE id.
    fn from_str(text: &str) -> Result<Self, InvalidTrustDomain> {
        match format!("spiffe://{text}/client/x").parse::<SpiffeId>() {
            Ok(id) if id.trust_domain == text => Ok(Self(text.to_owned())),
            _ => Err(InvalidTrustDomain),
        }
    }
}

impl TryFrom<String> for TrustDomain {
    type Error = InvalidTrustDomain;

    fn try_from(text: String) -> Result<Self, InvalidTrustDomain> {
        text.parse()
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
