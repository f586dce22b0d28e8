//! Whether a service may speak at a door: judged for every request, from memory only.
//!
//! In: the peer of the connection, the services, the revocation lists, the roles a door admits, the time.
//! Out: the service, or a refusal with its reason. An empty list of roles admits nobody. TLS has proved who it is before; nothing
//! that a request says about itself counts.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::CertificateError;
use rustls_pki_types::UnixTime;
use shared::{
    identity::{Certificate, Fingerprint, Judged, Name, Role, Workload},
    serve::Connection,
    tls::{
        Gate, Peer, TrustBundle,
        crl::{Crls, RevocationLists, Standing},
    },
    wire::{Code, Problem},
};

use crate::{
    refusals::DoorRefusals,
    registry::{Registry, Services, Status},
};

/// A service that may speak.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// What it is.
    pub role: Role,
    /// Which one.
    pub name: Name,
}

/// What services are judged by.
#[derive(Debug, Clone)]
pub struct Known {
    /// The services.
    pub registry: Arc<Registry>,
    /// The revocation lists.
    pub lists: Arc<RevocationLists>,
    /// The CAs; others, perhaps, than when a connection was opened.
    pub bundle: Arc<ArcSwap<TrustBundle>>,
}

/// The rule of one door, or of some routes behind it, and what it needs to know.
#[derive(Debug, Clone)]
pub struct Admission {
    known: Known,
    refusals: DoorRefusals,
    roles: &'static [Role],
}

/// The other end of the connection a request came on. Ask it anew whenever time has passed: a certificate
/// may have been revoked since.
#[derive(Debug, Clone)]
pub struct Caller {
    admission: Admission,
    connection: Arc<Connection>,
}

impl Admission {
    /// Admits registered services of these roles.
    #[must_use]
    pub fn of(roles: &'static [Role], known: Known, refusals: DoorRefusals) -> Self {
        Self { known, refusals, roles }
    }

    /// The caller on a connection, not judged yet.
    #[must_use]
    pub fn caller(&self, connection: Arc<Connection>) -> Caller {
        Caller { admission: self.clone(), connection }
    }
}

impl Caller {
    /// The certificate it showed.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.connection.peer.certificate.fingerprint
    }

    /// Judges it now. A refusal is noted for the audit log.
    pub fn authorize(&self) -> Result<Service, Problem> {
        let Known { registry, lists, bundle } = &self.admission.known;
        let (services, crls) = (registry.current(), lists.current());
        let (peer, admitted) = (&self.connection.peer, self.admission.roles);
        check_believed(peer, &bundle.load())
            .and_then(|()| authorize(peer, services.as_deref(), &crls, admitted, UnixTime::now()))
            .inspect_err(|problem| self.admission.refusals.note(&peer.certificate, problem.code))
    }
}

/// The path was built when the connection was opened; its CA may be believed no more.
fn check_believed(peer: &Peer, bundle: &TrustBundle) -> Result<(), Problem> {
    if bundle.trusts(&peer.path) {
        return Ok(());
    }
    Err(refuse(Code::CertificateUnknown, "the CA of this certificate is no longer in tls.services_ca"))
}

/// What these doors ask within the handshake: the dates of the leaf. A refusal is noted for the audit log.
#[must_use]
pub fn gate(refusals: DoorRefusals) -> Gate {
    Gate::new(move |peer| {
        let Err(problem) = check_validity(&peer.certificate, UnixTime::now()) else { return Ok(()) };
        refusals.note(&peer.certificate, problem.code);
        Err(match problem.code {
            Code::CertificateNotYetValid => CertificateError::NotValidYet,
            _ => CertificateError::Expired,
        })
    })
}

/// Whether a peer may speak. `services` is `None` when what we know of them is too old to decide by.
pub fn authorize(
    peer: &Peer,
    services: Option<&Services>,
    crls: &Crls,
    admitted: &[Role],
    now: UnixTime,
) -> Result<Service, Problem> {
    let certificate = &peer.certificate;
    let standing = crls.judge(peer, now);
    if let Standing::Revoked(entry) = standing {
        return Err(revoked(entry.reason));
    }
    check_validity(certificate, now)?;
    // The path was built when the connection was opened; its CAs may have expired since.
    peer.path.authorities.iter().try_for_each(|authority| check_validity(authority, now))?;
    if peer.path.explain_only {
        return Err(refuse(Code::CertificateExpired, "the certificate was not valid when it was verified"));
    }

    let Some(Workload::Service(role, name)) = certificate.spiffe.as_ref().map(|id| &id.workload) else {
        return Err(refuse(Code::RoleNotAdmitted, "the certificate names no service (spiffe://…/ROLE/NAME)"));
    };
    if !admitted.contains(role) {
        return Err(refuse(Code::RoleNotAdmitted, format!("the role {role} is not admitted here")));
    }

    let services = services.ok_or_else(|| {
        refuse(Code::RegistryStale, "the services could not be read from the database for too long")
    })?;
    if standing == Standing::Stale {
        return Err(refuse(Code::CrlStale, "a revocation list is out of date: sign and publish a new one"));
    }
    let fingerprint = certificate.fingerprint;
    let registration = services.get(&fingerprint).ok_or_else(|| {
        refuse(Code::CertificateUnknown, format!("certificate {fingerprint} is not registered in services"))
    })?;
    match registration.status {
        Status::Active => {}
        Status::Suspended => return Err(refuse(Code::ClientSuspended, "the service is suspended")),
        Status::Expired => return Err(refuse(Code::CertificateExpired, "the registration has expired")),
        Status::Revoked => {
            return Err(revoked(registration.reason_code.as_deref().unwrap_or("unspecified")));
        }
    }
    if seconds(now) >= registration.expires_at {
        return Err(refuse(Code::CertificateExpired, "the registration has expired"));
    }
    if (registration.role, &registration.name) != (*role, name) {
        let text = format!("certificate of {role} {name}, registered for another service");
        return Err(refuse(Code::CertificateMismatch, text));
    }
    Ok(Service { role: *role, name: name.clone() })
}

fn check_validity(certificate: &Certificate, now: UnixTime) -> Result<(), Problem> {
    match certificate.validity.judge(now) {
        Judged::Valid => Ok(()),
        Judged::Expired => {
            Err(refuse(Code::CertificateExpired, "a certificate of the chain has expired: issue a new one"))
        }
        Judged::NotYetValid => {
            Err(refuse(Code::CertificateNotYetValid, "not valid yet: are both machines' clocks right?"))
        }
    }
}

fn seconds(now: UnixTime) -> i64 {
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}

fn revoked(reason: &str) -> Problem {
    refuse(Code::CertificateRevoked, format!("the certificate is revoked: {reason}"))
}

fn refuse(code: Code, detail: impl Into<String>) -> Problem {
    Problem::new(code, detail)
}

#[cfg(test)]
pub(crate) mod tests;
