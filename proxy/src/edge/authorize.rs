//! Whether the holder of a certificate may speak, now.
//!
//! In: a peer whose path TLS verified, the client table, the revocation lists, the time. Out: the
//! principal, or the reason for the refusal. Pure: no I/O, no lock, no clock of its own. It runs for every
//! request, when its head is in and again when its body is complete; that is what makes resumed sessions
//! and open connections safe.
//!
//! The order of the checks is the order of what a caller and an operator most need to hear: a final
//! refusal before one that time or an operator can change.

use std::sync::Arc;

use rustls_pki_types::UnixTime;
use shared::{
    identity::{Certificate, Fingerprint, Judged, Name, Workload},
    tls::{
        Peer, TrustBundle,
        crl::{Crls, Standing},
    },
};

use super::Refusal;
use crate::registry::{RateOverride, Registry, Status};

/// Who speaks: the client of the registry's row, and nobody that the request claims to be.
#[derive(Debug, Clone)]
pub struct Principal {
    /// The client.
    pub client_id: Name,
    /// Its domain.
    pub domain: Arc<str>,
    /// The certificate it spoke with.
    pub fingerprint: Fingerprint,
    /// Unix seconds from which on it is refused: the end of the certificate, of a CA above it, or of its
    /// registration, whichever comes first.
    pub ends_at: i64,
    /// Rate limits of its own.
    pub rate: Option<Arc<RateOverride>>,
}

/// Whom the door believes.
#[derive(Debug, Clone, Copy)]
pub struct Trust<'a> {
    /// The CAs whose clients are believed; it may be another bundle than the handshake's.
    pub bundle: &'a TrustBundle,
    /// The trust domain whose client ids bind a leaf to one client.
    pub domain: &'a str,
}

/// Decides about one certificate.
pub fn authorize(
    peer: &Peer,
    trust: Trust<'_>,
    registry: &Registry,
    crls: &Crls,
    now: UnixTime,
) -> Result<Principal, Refusal> {
    let certificate = &peer.certificate;

    // Revoked: final, so it is said even by a copy that is too old for anything else.
    let standing = crls.judge(peer, now);
    if let Standing::Revoked(entry) = standing {
        return Err(Refusal::Revoked { at: entry.revoked_at, reason: entry.reason });
    }
    let row = registry.row(&certificate.fingerprint);
    if let Some(Status::Revoked { at, reason }) = row.as_ref().map(|row| row.status) {
        return Err(Refusal::Revoked { at, reason });
    }

    if !trust.bundle.trusts(&peer.path) {
        return Err(Refusal::Untrusted);
    }

    // Dates of every certificate, now: a connection may outlive them.
    for authority in &peer.path.authorities {
        judge(authority, now)?;
    }
    judge(certificate, now)?;
    if peer.path.explain_only {
        // The path was verified at another time than the handshake's; only a new handshake can admit it.
        return Err(Refusal::NotYetValid { not_before: certificate.validity.not_before });
    }

    if registry.is_stale() {
        return Err(Refusal::RegistryStale);
    }
    if standing == Standing::Stale {
        return Err(Refusal::CrlStale);
    }
    let row = row.ok_or(Refusal::Unknown)?;
    if names_another_client(certificate, trust.domain, &row.client_id) {
        return Err(Refusal::Mismatch);
    }
    match row.status {
        Status::Revoked { at, reason } => return Err(Refusal::Revoked { at, reason }),
        Status::Suspended => return Err(Refusal::Suspended),
        Status::Expired => return Err(Refusal::Expired { not_after: row.expires_at }),
        Status::Active => {}
    }
    if i64::try_from(now.as_secs()).unwrap_or(i64::MAX) >= row.expires_at {
        return Err(Refusal::Expired { not_after: row.expires_at });
    }
    let ends = peer.path.authorities.iter().map(|one| one.validity.not_after);
    let ends_at = ends.fold(row.expires_at.min(certificate.validity.not_after), i64::min);
    Ok(Principal {
        client_id: row.client_id,
        domain: row.domain,
        fingerprint: certificate.fingerprint,
        ends_at,
        rate: row.rate,
    })
}

fn judge(certificate: &Certificate, now: UnixTime) -> Result<(), Refusal> {
    match certificate.validity.judge(now) {
        Judged::Valid => Ok(()),
        Judged::Expired => Err(Refusal::Expired { not_after: certificate.validity.not_after }),
        Judged::NotYetValid => Err(Refusal::NotYetValid { not_before: certificate.validity.not_before }),
    }
}

/// A leaf with a SPIFFE id of our trust domain speaks for that client only. One without, or with somebody
/// else's, is bound by its fingerprint alone: external CAs choose their own names.
fn names_another_client(certificate: &Certificate, trust_domain: &str, client_id: &Name) -> bool {
    certificate.spiffe.as_ref().is_some_and(|id| {
        id.trust_domain == trust_domain && id.workload != Workload::Client(client_id.clone())
    })
}
