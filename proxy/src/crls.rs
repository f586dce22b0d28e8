//! The revocation lists, as one set of serial numbers per issuer.
//!
//! In: lists that were verified when they were loaded. Out: whether a certificate is on the list of its
//! issuer. Sets are keyed by the issuer's name *and* key, so that a CA of the same name cannot revoke,
//! or fail to revoke, another's certificates (RFC 5280 §5.2.1).

use std::collections::HashMap;

use shared::identity::Certificate;

/// Why a certificate was revoked, by the words of RFC 5280 §5.3.1.
pub type ReasonCode = &'static str;

/// One entry of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CrlEntry {
    /// Unix seconds.
    pub revoked_at: i64,
    /// Why.
    pub reason: ReasonCode,
}

/// The name and the key of an issuer, both DER.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Issuer {
    name: Vec<u8>,
    key_id: Vec<u8>,
}

/// The lists in force. Replaced whole; never changed.
#[derive(Debug, Default)]
pub struct Crls {
    by_issuer: HashMap<Issuer, HashMap<Vec<u8>, CrlEntry>>,
}

impl Crls {
    /// No list: nothing is revoked by list.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Adds the list of one issuer, replacing an earlier one.
    #[must_use]
    pub fn with_list(
        mut self,
        issuer_name: &[u8],
        issuer_key_id: &[u8],
        entries: HashMap<Vec<u8>, CrlEntry>,
    ) -> Self {
        self.by_issuer.insert(Issuer { name: issuer_name.to_vec(), key_id: issuer_key_id.to_vec() }, entries);
        self
    }

    /// The entry of a certificate, if its issuer's list has one.
    #[must_use]
    pub fn entry_of(&self, certificate: &Certificate) -> Option<CrlEntry> {
        if self.by_issuer.is_empty() {
            return None;
        }
        let key_id = certificate.issuer_key_id.clone().unwrap_or_default();
        let issuer = Issuer { name: certificate.issuer.clone(), key_id };
        self.by_issuer.get(&issuer)?.get(&certificate.serial).copied()
    }
}
