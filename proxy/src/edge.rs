//! What happens to a request before its handler, in this order: it arrives (id, log, metrics), loses what
//! it claims about itself, is admitted or refused, and held to the bounds and to its client's rate.

mod pass;
mod arrive;
mod strip_claims;
mod authorize;
mod admit;
mod refusal;
mod sweep;

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls_pki_types::UnixTime;
use shared::{
    identity::{Fingerprint, Name},
    tls::{Peer, TrustBundle, crl::RevocationLists},
};

use crate::registry::Registry;

pub use admit::Admitted;
pub use arrive::Arrival;
pub(crate) use arrive::LastAnswer;
pub use authorize::{Principal, Trust, authorize};
pub(crate) use pass::pass;
pub use refusal::Refusal;
pub(crate) use refusal::instant;
use strip_claims::strip_claims;
pub(crate) use sweep::sweep;

/// Everything that authorization looks at, besides the certificate and the time.
#[derive(Debug)]
pub struct Authorizer {
    /// The client table.
    pub registry: Arc<Registry>,
    /// The revocation lists.
    pub crls: Arc<RevocationLists>,
    /// The CAs whose clients are believed.
    pub bundle: ArcSwap<TrustBundle>,
    /// The trust domain whose client ids bind a leaf to one client.
    pub trust_domain: String,
}

impl Authorizer {
    /// Decides about a peer, now, from memory.
    pub fn authorize(&self, peer: &Peer) -> Result<Principal, Refusal> {
        let trust = Trust { bundle: &self.bundle.load(), domain: &self.trust_domain };
        authorize(peer, trust, &self.registry, &self.crls.current(), UnixTime::now())
    }

    /// Whose certificate it is, admitted or not; none if it is registered for nobody.
    #[must_use]
    pub fn client_of(&self, fingerprint: &Fingerprint) -> Option<Name> {
        self.registry.row(fingerprint).map(|row| row.client_id)
    }
}
