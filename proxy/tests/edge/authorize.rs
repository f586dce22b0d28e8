//! Every combination of what a certificate, the lists and the client table can say.
//!
//! The expected answer is written as the order of precedence, and nothing else.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use certs::{Authority, ClientRequest, TrustDomain};
use proxy::{
    crls::{CrlEntry, Crls},
    edge::{Refusal, authorize},
    registry::{Registry, Row, Status},
};
use rustls_pki_types::UnixTime;
use shared::{
    identity::{Certificate, Name, SpiffeId},
    tls::{Peer, VerifiedPath},
    wire::Code,
};

const NOW: i64 = 1_800_000_000;
const REVOKED: CrlEntry = CrlEntry { revoked_at: NOW - 5, reason: "keyCompromise" };

#[derive(Debug, Clone, Copy, PartialEq)]
enum Dates {
    Valid,
    Expired,
    NotYetValid,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Listed {
    Nobody,
    Leaf,
    Issuer,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Registered {
    Not,
    Active,
    ActivePastItsEnd,
    Suspended,
    Revoked,
    Expired,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Named {
    Itself,
    Nobody,
    AnotherClient,
    AnotherTrustDomain,
    AService,
}

#[derive(Debug, Clone, Copy)]
struct Case {
    leaf: Dates,
    issuer: Dates,
    explain_only: bool,
    listed: Listed,
    registered: Registered,
    named: Named,
    stale: bool,
}

/// The first condition that holds decides.
fn expected(case: Case) -> Option<Code> {
    let order = [
        (case.listed != Listed::Nobody, Code::CertificateRevoked),
        (case.registered == Registered::Revoked, Code::CertificateRevoked),
        (case.issuer == Dates::Expired, Code::CertificateExpired),
        (case.issuer == Dates::NotYetValid, Code::CertificateNotYetValid),
        (case.leaf == Dates::Expired, Code::CertificateExpired),
        (case.leaf == Dates::NotYetValid, Code::CertificateNotYetValid),
        (case.explain_only, Code::CertificateNotYetValid),
        (case.stale, Code::RegistryStale),
        (case.registered == Registered::Not, Code::CertificateUnknown),
        (matches!(case.named, Named::AnotherClient | Named::AService), Code::CertificateMismatch),
        (case.registered == Registered::Suspended, Code::ClientSuspended),
        (case.registered == Registered::Expired, Code::CertificateExpired),
        (case.registered == Registered::ActivePastItsEnd, Code::CertificateExpired),
    ];
    order.into_iter().find(|(holds, _)| *holds).map(|(_, code)| code)
}

#[test]
fn every_combination_has_the_answer_of_its_first_reason() {
    let base = Base::new();
    let dates = [Dates::Valid, Dates::Expired, Dates::NotYetValid];
    let mut cases = Vec::new();
    for leaf in dates {
        for issuer in dates {
            for explain_only in [false, true] {
                for listed in [Listed::Nobody, Listed::Leaf, Listed::Issuer] {
                    for registered in [
                        Registered::Not,
                        Registered::Active,
                        Registered::ActivePastItsEnd,
                        Registered::Suspended,
                        Registered::Revoked,
                        Registered::Expired,
                    ] {
                        for named in [
                            Named::Itself,
                            Named::Nobody,
                            Named::AnotherClient,
                            Named::AnotherTrustDomain,
                            Named::AService,
                        ] {
                            for stale in [false, true] {
                                cases.push(Case {
                                    leaf,
                                    issuer,
                                    explain_only,
                                    listed,
                                    registered,
                                    named,
                                    stale,
                                });
                            }
                        }
                    }
                }
            }
        }
    }
    for case in cases.iter().copied() {
        let decided = base.decide(case);
        assert_eq!(decided.as_ref().err().map(|refusal| refusal.code()), expected(case), "{case:?}");
    }
    let admitted = cases.iter().filter(|case| expected(**case).is_none()).count();
    assert_eq!(admitted, 3, "of {} cases only those with nothing against them are admitted", cases.len());
}

#[test]
fn a_revoked_client_is_told_when_and_the_reason_code_but_not_the_operators_text() {
    let refusal = Refusal::Revoked { at: NOW, reason: "keyCompromise" };
    let fingerprint = Base::new().leaf.fingerprint;
    let json = refusal.to_problem(&fingerprint).to_json();
    assert_eq!(json["code"], "certificate_revoked");
    assert_eq!(json["status"], 403);
    assert_eq!(json["fingerprint"], fingerprint.to_string());
    assert_eq!(json["revoked_at"], "2027-01-15T08:00:00Z");
    assert_eq!(json["reason_code"], "keyCompromise");
}

#[test]
fn a_list_of_another_issuer_of_the_same_name_revokes_nothing() {
    let base = Base::new();
    let entries = HashMap::from([(base.leaf.serial.clone(), REVOKED)]);
    let crls = Crls::none().with_list(&base.leaf.issuer, b"another key", entries);
    assert_eq!(crls.entry_of(&base.leaf), None);
}

/// A client's real certificate and its issuer, whose facts the cases distort.
struct Base {
    leaf: Certificate,
    issuer: Certificate,
}

impl Base {
    fn new() -> Self {
        let authority = Authority::create(TrustDomain::default()).unwrap();
        let client = authority.issue_client(&name("client_001"), &ClientRequest::default()).unwrap();
        let leaf = client.leaf.facts().clone();
        Self { leaf, issuer: authority.clients().facts().clone() }
    }

    fn decide(&self, case: Case) -> Result<proxy::edge::Principal, Refusal> {
        let (mut leaf, mut issuer) = (self.leaf.clone(), self.issuer.clone());
        set_dates(&mut leaf, case.leaf);
        set_dates(&mut issuer, case.issuer);
        leaf.spiffe = spiffe(case.named);
        let mut crls = Crls::none();
        if case.listed != Listed::Nobody {
            let one = if case.listed == Listed::Leaf { &leaf } else { &issuer };
            let key = one.issuer_key_id.as_deref().unwrap();
            crls = crls.with_list(&one.issuer, key, HashMap::from([(one.serial.clone(), REVOKED)]));
        }
        let registry = Registry::new(Duration::from_mins(1));
        registry.replace(row(case.registered).map(|row| (leaf.fingerprint, row)).into_iter().collect());
        if !case.stale {
            registry.synced_at(Instant::now());
        }
        let path = VerifiedPath { authorities: vec![Arc::new(issuer)], explain_only: case.explain_only };
        let peer = Peer { certificate: leaf, path };
        let now = UnixTime::since_unix_epoch(Duration::from_secs(NOW.unsigned_abs()));
        authorize(&peer, &registry, &crls, "portcullis.internal", now)
    }
}

fn set_dates(certificate: &mut Certificate, dates: Dates) {
    let (not_before, not_after) = match dates {
        Dates::Valid => (NOW, NOW),
        Dates::Expired => (NOW - 10, NOW - 1),
        Dates::NotYetValid => (NOW + 1, NOW + 10),
    };
    certificate.validity.not_before = not_before;
    certificate.validity.not_after = not_after;
}

fn spiffe(named: Named) -> Option<SpiffeId> {
    let text = match named {
        Named::Itself => "spiffe://portcullis.internal/client/client_001",
        Named::Nobody => return None,
        Named::AnotherClient => "spiffe://portcullis.internal/client/client_002",
        Named::AnotherTrustDomain => "spiffe://elsewhere/client/client_002",
        Named::AService => "spiffe://portcullis.internal/worker/client_001",
    };
    Some(text.parse().unwrap())
}

fn row(registered: Registered) -> Option<Row> {
    let (status, expires_at) = match registered {
        Registered::Not => return None,
        Registered::Active => (Status::Active, NOW + 1),
        Registered::ActivePastItsEnd => (Status::Active, NOW),
        Registered::Suspended => (Status::Suspended, NOW + 1),
        Registered::Revoked => (Status::Revoked { at: NOW - 1, reason: "unspecified" }, NOW + 1),
        Registered::Expired => (Status::Expired, NOW + 1),
    };
    Some(Row { client_id: name("client_001"), domain: "default".into(), status, expires_at })
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}
