//! Every reason to refuse a service, alone, and who is admitted.

use super::*;
use crate::registry::Registration;
use shared::{
    identity::{Fingerprint, PublicKeyKind, Validity},
    tls::{VerifiedPath, crl::CrlConfig},
};

const NOW: i64 = 1_000;

pub(crate) fn certificate(spiffe: Option<&str>) -> Certificate {
    Certificate {
        fingerprint: Fingerprint::of_der(b"leaf"),
        serial: vec![1],
        validity: Validity { not_before: NOW - 10, not_after: NOW + 10 },
        subject: Vec::new(),
        issuer: Vec::new(),
        public_key: Vec::new(),
        key: PublicKeyKind::Other,
        names: 0,
        key_id: None,
        issuer_key_id: None,
        spiffe: spiffe.map(|id| id.parse().unwrap()),
        authority: None,
        signs_certificates: false,
        signs_crls: false,
        client_auth: true,
        unknown_critical_extension: None,
    }
}

fn peer() -> Peer {
    let path = VerifiedPath { authorities: vec![Arc::new(certificate(None))], explain_only: false };
    Peer { certificate: certificate(Some("spiffe://portcullis.internal/proxy/proxy-1")), path }
}

fn registration() -> Registration {
    Registration {
        name: "proxy-1".parse().unwrap(),
        role: Role::Proxy,
        status: Status::Active,
        expires_at: NOW + 1,
        reason_code: None,
    }
}

fn judge(peer: &Peer, registration: Option<Registration>, admitted: &[Role]) -> Result<Service, Code> {
    let services: Services =
        registration.map(|row| (peer.certificate.fingerprint, row)).into_iter().collect();
    judge_with(peer, Some(&services), admitted)
}

fn judge_with(peer: &Peer, services: Option<&Services>, admitted: &[Role]) -> Result<Service, Code> {
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(NOW.unsigned_abs()));
    let crls = Crls::of([], &CrlConfig::default(), now).settle();
    authorize(peer, services, &crls, admitted, now).map_err(|problem| problem.code)
}

#[test]
fn a_registered_active_service_of_an_admitted_role_may_speak() {
    let admitted = judge(&peer(), Some(registration()), &[Role::Proxy]);
    assert_eq!(admitted, Ok(Service { role: Role::Proxy, name: "proxy-1".parse().unwrap() }));
}

#[test]
fn an_empty_list_admits_nobody_and_a_worker_is_no_proxy() {
    assert_eq!(judge(&peer(), Some(registration()), &[]), Err(Code::RoleNotAdmitted));
    assert_eq!(judge(&peer(), Some(registration()), &[Role::Worker]), Err(Code::RoleNotAdmitted));
    for id in [None, Some("spiffe://portcullis.internal/client/proxy-1")] {
        let peer = Peer { certificate: certificate(id), ..peer() };
        assert_eq!(judge(&peer, Some(registration()), &Role::ALL), Err(Code::RoleNotAdmitted));
    }
}

#[test]
fn the_registry_has_the_last_word() {
    let with = |status| Some(Registration { status, ..registration() });
    let judged = |row| judge(&peer(), row, &[Role::Proxy]);
    assert_eq!(judged(None), Err(Code::CertificateUnknown));
    assert_eq!(judged(with(Status::Revoked)), Err(Code::CertificateRevoked));
    assert_eq!(judged(with(Status::Suspended)), Err(Code::ClientSuspended));
    assert_eq!(judged(with(Status::Expired)), Err(Code::CertificateExpired));
    let ended = Registration { expires_at: NOW, ..registration() };
    assert_eq!(judged(Some(ended)), Err(Code::CertificateExpired));
    let other_name = Registration { name: "proxy-2".parse().unwrap(), ..registration() };
    assert_eq!(judged(Some(other_name)), Err(Code::CertificateMismatch));
    let other_role = Registration { role: Role::Worker, ..registration() };
    assert_eq!(judged(Some(other_role)), Err(Code::CertificateMismatch));
    assert_eq!(judge_with(&peer(), None, &[Role::Proxy]), Err(Code::RegistryStale));
}

#[test]
fn a_certificate_or_a_ca_outside_its_validity_refuses_on_an_open_connection_too() {
    let judged = |peer: &Peer| judge(peer, Some(registration()), &[Role::Proxy]);
    let past = Validity { not_before: 0, not_after: NOW - 1 };
    let future = Validity { not_before: NOW + 1, not_after: NOW + 2 };
    for (validity, code) in [(past, Code::CertificateExpired), (future, Code::CertificateNotYetValid)] {
        let mut leaf = peer();
        leaf.certificate.validity = validity;
        assert_eq!(judged(&leaf), Err(code));
        let mut ca = peer();
        ca.path.authorities = vec![Arc::new(Certificate { validity, ..certificate(None) })];
        assert_eq!(judged(&ca), Err(code));
    }
    let mut explained = peer();
    explained.path.explain_only = true;
    assert_eq!(judged(&explained), Err(Code::CertificateExpired), "not even if the clock says valid now");
}
