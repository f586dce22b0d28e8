//! Every combination of what a certificate, the lists and the client table can say.
//!
//! The expected answer is written as the order of precedence, and nothing else.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use certs::{Authority, ClientRequest, Issuer, Revoked, RevokedReason, TrustDomain};
use proxy::{
    edge::{Refusal, Trust, authorize},
    registry::{Registry, Row, Status},
};
use rustls_pki_types::UnixTime;
use shared::{
    identity::{Certificate, Name, SpiffeId},
    tls::{
        BundleKind, Peer, TrustBundle, VerifiedPath,
        crl::{CrlConfig, CrlEntry, Crls, Missing, Overdue, Standing},
    },
    wire::Code,
};

const NOW: i64 = 1_800_000_000;
const DAY: i64 = 86_400;
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

/// How current the lists are.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Lists {
    Current,
    /// Past their next update for longer than the policy allows.
    Late,
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
    lists: Lists,
    registered: Registered,
    named: Named,
    stale: bool,
    /// The anchor of its path is in the bundle now.
    trusted: bool,
}

const REGISTERED: [Registered; 6] = [
    Registered::Not,
    Registered::Active,
    Registered::ActivePastItsEnd,
    Registered::Suspended,
    Registered::Revoked,
    Registered::Expired,
];

const NAMED: [Named; 5] =
    [Named::Itself, Named::Nobody, Named::AnotherClient, Named::AnotherTrustDomain, Named::AService];

/// The first condition that holds decides.
fn expected(case: Case) -> Option<Code> {
    let order = [
        (case.listed != Listed::Nobody, Code::CertificateRevoked),
        (case.registered == Registered::Revoked, Code::CertificateRevoked),
        (!case.trusted, Code::CertificateUnknown),
        (case.issuer == Dates::Expired, Code::CertificateExpired),
        (case.issuer == Dates::NotYetValid, Code::CertificateNotYetValid),
        (case.leaf == Dates::Expired, Code::CertificateExpired),
        (case.leaf == Dates::NotYetValid, Code::CertificateNotYetValid),
        (case.explain_only, Code::CertificateNotYetValid),
        (case.stale, Code::RegistryStale),
        (case.lists == Lists::Late, Code::CrlStale),
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
                    for lists in [Lists::Current, Lists::Late] {
                        for registered in REGISTERED {
                            for named in NAMED {
                                for (stale, trusted) in
                                    [(false, true), (true, true), (false, false), (true, false)]
                                {
                                    cases.push(Case {
                                        leaf,
                                        issuer,
                                        explain_only,
                                        listed,
                                        lists,
                                        registered,
                                        named,
                                        stale,
                                        trusted,
                                    });
                                }
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
    let json: serde_json::Value = serde_json::from_str(&refusal.to_problem(&fingerprint).to_json()).unwrap();
    assert_eq!(json["code"], "certificate_revoked");
    assert_eq!(json["status"], 403);
    assert_eq!(json["fingerprint"], fingerprint.to_string());
    assert_eq!(json["revoked_at"], "2027-01-15T08:00:00Z");
    assert_eq!(json["reason_code"], "keyCompromise");
}

#[test]
fn a_list_of_another_issuer_of_the_same_name_revokes_nothing() {
    let (base, other) = (Base::new(), Base::new());
    let crls = Crls::of([base.issuer.clone(), other.issuer.clone()], &CrlConfig::default(), now()).settle();
    let crls = sign_into(&crls, other.authority.clients(), 1, &[&base.leaf], NOW + DAY);
    assert_eq!(crls.judge(&base.peer(), now()), Standing::Clear);
    let crls = sign_into(&crls, base.authority.clients(), 1, &[&base.leaf], NOW + DAY);
    assert_eq!(crls.judge(&base.peer(), now()), Standing::Revoked(REVOKED));
}

#[test]
fn nobody_is_clear_before_the_lists_were_read() {
    let base = Base::new();
    let unread = Crls::of([base.issuer.clone()], &CrlConfig::default(), now());
    assert_eq!(unread.judge(&base.peer(), now()), Standing::Stale);
}

#[test]
fn a_missing_list_admits_or_refuses_as_the_policy_says_since_the_ca_was_first_met() {
    let base = Base::new();
    for (missing, met_before, standing) in [
        (Missing::Reject, 0, Standing::Stale),
        (Missing::Grace, 0, Standing::Clear),
        (Missing::Grace, DAY, Standing::Clear),
        (Missing::Grace, DAY + 1, Standing::Stale),
        (Missing::Warn, 300 * DAY, Standing::Clear),
    ] {
        let config = CrlConfig { missing, ..CrlConfig::default() };
        let met = at(NOW - met_before);
        let known = Crls::of([base.issuer.clone()], &config, met).settle();
        assert_eq!(known.judge(&base.peer(), now()), standing, "{missing:?} {met_before}");
        let sent_by_the_client_and_known_to_nobody = Crls::of([], &config, met).settle();
        assert_eq!(sent_by_the_client_and_known_to_nobody.judge(&base.peer(), now()), standing);
        let with_a_list = sign_into(&known, base.authority.clients(), 1, &[], NOW + DAY);
        assert_eq!(with_a_list.judge(&base.peer(), now()), Standing::Clear, "{missing:?} {met_before}");
        let on_it = sign_into(&known, base.authority.clients(), 1, &[&base.leaf], NOW + DAY);
        assert_eq!(on_it.judge(&base.peer(), now()), Standing::Revoked(REVOKED));
    }
}

#[test]
fn a_list_past_its_next_update_is_good_for_as_long_as_the_policy_says() {
    let base = Base::new();
    for (policy, past, standing) in [
        (Overdue::Reject, 0, Standing::Clear),
        (Overdue::Reject, 1, Standing::Stale),
        (Overdue::Grace, DAY, Standing::Clear),
        (Overdue::Grace, DAY + 1, Standing::Stale),
        (Overdue::Warn, 300 * DAY, Standing::Clear),
    ] {
        let config = CrlConfig { policy, ..CrlConfig::default() };
        let crls = Crls::of([base.issuer.clone()], &config, now()).settle();
        let late = sign_into(&crls, base.authority.clients(), 1, &[], NOW - past);
        assert_eq!(late.judge(&base.peer(), now()), standing, "{policy:?} {past}");
        let revoked = sign_into(&crls, base.authority.clients(), 1, &[&base.leaf], NOW - past);
        assert_eq!(revoked.judge(&base.peer(), now()), Standing::Revoked(REVOKED), "however late it is");
    }
}

/// A client's real certificate and its issuer, whose facts the cases distort.
struct Base {
    authority: Authority,
    leaf: Certificate,
    issuer: Arc<Certificate>,
    bundle: TrustBundle,
    other_bundle: TrustBundle,
    /// By who is listed, and how current the lists are.
    crls: Vec<(Listed, Lists, Crls)>,
}

impl Base {
    fn new() -> Self {
        let authority = Authority::create(TrustDomain::default()).unwrap();
        let client = authority.issue_client(&name("client_001"), &ClientRequest::default()).unwrap();
        let leaf = client.leaf.facts().clone();
        let issuer = Arc::new(authority.clients().facts().clone());
        let root = Arc::new(authority.root().facts().clone());
        let none = Crls::of([issuer.clone(), root], &CrlConfig::default(), now()).settle();
        let mut crls = Vec::new();
        for lists in [Lists::Current, Lists::Late] {
            let until = if lists == Lists::Current { NOW } else { NOW - DAY - 1 };
            let empty = sign_into(&none, authority.clients(), 1, &[], until);
            let empty = sign_into(&empty, authority.root(), 1, &[], until);
            crls.extend([
                (Listed::Leaf, lists, sign_into(&empty, authority.clients(), 2, &[&leaf], until)),
                (Listed::Issuer, lists, sign_into(&empty, authority.root(), 2, &[&issuer], until)),
                (Listed::Nobody, lists, empty),
            ]);
        }
        let bundle = bundle_of(authority.clients());
        let other_bundle = bundle_of(Authority::create(TrustDomain::default()).unwrap().clients());
        Self { authority, leaf, issuer, bundle, other_bundle, crls }
    }

    fn peer(&self) -> Peer {
        let path = VerifiedPath { authorities: vec![self.issuer.clone()], explain_only: false };
        Peer { certificate: self.leaf.clone(), path }
    }

    fn decide(&self, case: Case) -> Result<proxy::edge::Principal, Refusal> {
        let mut peer = self.peer();
        let mut issuer = Certificate::clone(&self.issuer);
        set_dates(&mut peer.certificate, case.leaf);
        set_dates(&mut issuer, case.issuer);
        peer.path = VerifiedPath { authorities: vec![Arc::new(issuer)], explain_only: case.explain_only };
        peer.certificate.spiffe = spiffe(case.named);
        let mut crls = self.crls.iter();
        let (_, _, crls) =
            crls.find(|(listed, lists, _)| (*listed, *lists) == (case.listed, case.lists)).unwrap();
        let registry = Registry::new(Duration::from_mins(1));
        let fingerprint = peer.certificate.fingerprint;
        registry.replace(row(case.registered).map(|row| (fingerprint, row)).into_iter().collect());
        if !case.stale {
            registry.synced_at(Instant::now());
        }
        let bundle = if case.trusted { &self.bundle } else { &self.other_bundle };
        authorize(&peer, Trust { bundle, domain: "portcullis.internal" }, &registry, crls, now())
    }
}

fn bundle_of(issuer: &Issuer) -> TrustBundle {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), issuer.certificate_pem()).unwrap();
    TrustBundle::read(file.path(), BundleKind::AnyAuthority).unwrap()
}

/// The lists with this one of an issuer, signed by it, in force.
fn sign_into(crls: &Crls, issuer: &Issuer, number: u64, revoked: &[&Certificate], until: i64) -> Crls {
    let at = |seconds| time::OffsetDateTime::from_unix_timestamp(seconds).unwrap();
    let revoked: Vec<_> = revoked
        .iter()
        .map(|certificate| Revoked {
            serial: certificate.serial.clone(),
            revoked_at: at(REVOKED.revoked_at),
            reason: RevokedReason::KeyCompromise,
        })
        .collect();
    let list = issuer.sign_crl(number, at(until - DAY), at(until), &revoked).unwrap();
    crls.accept(list.der(), now()).unwrap().unwrap()
}

fn now() -> UnixTime {
    at(NOW)
}

fn at(seconds: i64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(seconds.unsigned_abs()))
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
    Some(Row { client_id: name("client_001"), domain: "default".into(), status, expires_at, rate: None })
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}
