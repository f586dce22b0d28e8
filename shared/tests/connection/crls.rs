//! Which revocation lists are believed, and that a refused one changes nothing.

pub(crate) mod forge;
mod table;
mod files;
mod urls;
mod size;

use std::sync::Arc;

use certs::{Authority, Leaf, Revoked, RevokedReason};
use rustls::pki_types::UnixTime;
use shared::{
    identity::Certificate,
    tls::{
        BundleKind, ClientVerifier, Handshake, Peer,
        crl::{CrlConfig, CrlFault, Crls, Standing},
    },
};
use time::{Duration, OffsetDateTime};

use self::forge::{Forged, KEY_COMPROMISE, REMOVE_FROM_CRL, entry, entry_with, extension, tlv};
use crate::support::{authority, bundle, client_request};

/// An authority, one of its clients, and the place for its list.
struct Scene {
    authority: Authority,
    leaf: Leaf,
    peer: Peer,
    crls: Crls,
}

impl Scene {
    fn new() -> Self {
        let authority = authority();
        let leaf = authority.clients().sign(&client_request(&authority)).unwrap();
        let peer = peer(&authority, &leaf);
        let crls = Crls::of([facts(&authority)], &CrlConfig::default(), UnixTime::now()).settle();
        Self { authority, leaf, peer, crls }
    }

    fn list(&self, number: u8) -> Forged {
        Forged::of(self.authority.clients(), number)
    }

    fn listed(&self, reason: u8) -> Vec<u8> {
        entry(&self.leaf.facts().serial, reason)
    }

    fn refused(&self, list: &Forged) -> CrlFault {
        self.refused_bytes(&list.signed_by(self.authority.clients()))
    }

    fn refused_bytes(&self, der: &[u8]) -> CrlFault {
        self.crls.accept(der, UnixTime::now()).unwrap_err()
    }

    fn accepted(&self, list: &Forged) -> Standing {
        let der = list.signed_by(self.authority.clients());
        let crls = self.crls.accept(&der, UnixTime::now()).unwrap().unwrap();
        crls.judge(&self.peer, UnixTime::now())
    }
}

fn facts(authority: &Authority) -> Arc<Certificate> {
    Arc::new(authority.clients().facts().clone())
}

fn peer(authority: &Authority, leaf: &Leaf) -> Peer {
    let bundle = bundle(BundleKind::AnyAuthority, &[authority.clients().certificate_pem()]).unwrap();
    let verifier = ClientVerifier::new(Arc::new(bundle), Handshake::Explain);
    verifier.verify(leaf.chain(), UnixTime::now()).unwrap()
}

fn revoked(leaf: &Leaf) -> Revoked {
    let revoked_at = OffsetDateTime::now_utc();
    Revoked { serial: leaf.facts().serial.clone(), revoked_at, reason: RevokedReason::KeyCompromise }
}

fn reason(standing: Standing) -> &'static str {
    match standing {
        Standing::Revoked(entry) => entry.reason,
        other => panic!("not revoked: {other:?}"),
    }
}

#[test]
fn a_certificate_on_its_issuers_list_is_revoked_with_its_reason() {
    let scene = Scene::new();
    for (code, word) in [(KEY_COMPROMISE, "keyCompromise"), (0, "unspecified"), (6, "certificateHold")] {
        assert_eq!(reason(scene.accepted(&scene.list(1).entry(&scene.listed(code)))), word);
    }
    assert_eq!(scene.accepted(&scene.list(1).entry(&entry(&[1], KEY_COMPROMISE))), Standing::Clear);
    assert_eq!(scene.accepted(&scene.list(1)), Standing::Clear);
}

#[test]
fn an_unknown_reason_still_revokes() {
    let scene = Scene::new();
    assert_eq!(reason(scene.accepted(&scene.list(1).entry(&scene.listed(77)))), "unspecified");
}

#[test]
fn an_entry_remove_from_crl_revokes_nothing_and_undoes_nothing() {
    let scene = Scene::new();
    let removed = scene.list(1).entry(&scene.listed(REMOVE_FROM_CRL));
    assert_eq!(scene.accepted(&removed), Standing::Clear);
    for reasons in [[REMOVE_FROM_CRL, KEY_COMPROMISE], [KEY_COMPROMISE, REMOVE_FROM_CRL]] {
        let both = reasons.iter().fold(scene.list(1), |list, reason| list.entry(&scene.listed(*reason)));
        assert_eq!(reason(scene.accepted(&both)), "keyCompromise");
    }
}

#[test]
fn the_roots_list_revokes_an_issuing_ca_with_all_its_clients() {
    let scene = Scene::new();
    let (root, clients) = (scene.authority.root(), scene.authority.clients());
    let places = [facts(&scene.authority), Arc::new(root.facts().clone())];
    let crls = Crls::of(places, &CrlConfig::default(), UnixTime::now()).settle();
    let list = Forged::of(root, 1).entry(&entry(&clients.facts().serial, 2)).signed_by(root);
    let crls = crls.accept(&list, UnixTime::now()).unwrap().unwrap();
    assert_eq!(reason(crls.judge(&scene.peer, UnixTime::now())), "cACompromise");
}

#[test]
fn every_list_that_is_not_whole_and_proper_is_refused() {
    let scene = Scene::new();
    let now = OffsetDateTime::now_utc();
    let list = || scene.list(1);
    let name_constraints = [0x55, 0x1d, 0x1e];
    let unknown = || CrlFault::CriticalExtension("2.5.29.30".to_owned());
    let distribution_point = |parts: &[u8]| list().extension(&[0x55, 0x1d, 0x1c], true, &tlv(0x30, parts));
    let cases = [
        ("version 1", Forged { version: Vec::new(), ..list() }, CrlFault::Version),
        ("version 3", Forged { version: tlv(2, &[2]), ..list() }, CrlFault::Version),
        ("from the future", Forged { this_update: now + Duration::hours(1), ..list() }, CrlFault::Future),
        ("without next update", Forged { next_update: None, ..list() }, CrlFault::NextUpdate),
        (
            "due before it was made",
            Forged { next_update: Some(now - Duration::days(1)), ..list() },
            CrlFault::NextUpdate,
        ),
        ("without extensions", Forged { extensions: Vec::new(), ..list() }, CrlFault::NoNumber),
        (
            "without number",
            Forged { extensions: list().extensions[..1].to_vec(), ..list() },
            CrlFault::NoNumber,
        ),
        ("delta", list().extension(&[0x55, 0x1d, 0x1b], true, &tlv(2, &[1])), CrlFault::Delta),
        ("unknown critical extension", list().extension(&name_constraints, true, &[5, 0]), unknown()),
        ("indirect", distribution_point(&[0x84, 1, 0xff]), CrlFault::Indirect),
        ("for some reasons only", distribution_point(&[0x83, 2, 0, 0x40]), CrlFault::Partial),
        ("for CA certificates only", distribution_point(&[0x82, 1, 0xff]), CrlFault::Partial),
        ("for attribute certificates only", distribution_point(&[0x85, 1, 0xff]), CrlFault::Partial),
        (
            "entry of another issuer",
            list().entry(&entry_with(&[7], &extension(&[0x55, 0x1d, 0x1d], true, &tlv(0x30, &[])))),
            CrlFault::Indirect,
        ),
        (
            "entry with an unknown critical extension",
            list().entry(&entry_with(&[7], &extension(&name_constraints, true, &[5, 0]))),
            unknown(),
        ),
        ("entry with a long serial number", list().entry(&entry(&[7; 21], 0)), CrlFault::Serial),
        (
            "another algorithm inside",
            Forged { inner_algorithm: tlv(0x30, &[6, 1, 42]), ..list() },
            CrlFault::Malformed("it names two signature algorithms"),
        ),
        (
            "an extension twice",
            list().extension(&[0x55, 0x1d, 0x14], false, &tlv(2, &[9])),
            CrlFault::Malformed("an extension stands twice"),
        ),
        (
            "an entry that is no entry",
            list().entry(&tlv(0x31, &[])),
            CrlFault::Malformed("an entry that is no SEQUENCE"),
        ),
    ];
    for (name, list, fault) in cases {
        assert_eq!(scene.refused(&list), fault, "{name}");
    }
}

#[test]
fn extensions_that_are_not_critical_and_a_complete_scope_are_no_reason_to_refuse() {
    let scene = Scene::new();
    let freshest = scene.list(1).extension(&[0x55, 0x1d, 0x2e], false, &tlv(0x30, &[]));
    let invalidity = extension(&[0x55, 0x1d, 0x18], true, &tlv(0x18, b"20260101000000Z"));
    let dated = scene.list(1).entry(&entry_with(&scene.leaf.facts().serial, &invalidity));
    // the issuer has pathLen 0: it issues to end entities alone, so that their list is complete
    let users_only = scene.list(1).extension(&[0x55, 0x1d, 0x1c], true, &tlv(0x30, &[0x81, 1, 0xff]));
    assert_eq!(scene.accepted(&freshest), Standing::Clear);
    assert_eq!(reason(scene.accepted(&dated)), "unspecified");
    assert_eq!(scene.accepted(&users_only), Standing::Clear);
}

#[test]
fn a_list_that_ends_early_is_refused_wherever_it_ends() {
    let scene = Scene::new();
    let list = scene.list(1).entry(&scene.listed(KEY_COMPROMISE)).signed_by(scene.authority.clients());
    for length in 0..list.len() {
        assert!(scene.crls.accept(&list[..length], UnixTime::now()).is_err(), "{length} bytes of it");
    }
    assert!(scene.crls.accept(&[&list[..], &[0]].concat(), UnixTime::now()).is_err());
}

#[test]
fn a_list_with_any_bit_flipped_is_refused() {
    let scene = Scene::new();
    let list = scene.list(1).entry(&scene.listed(KEY_COMPROMISE)).signed_by(scene.authority.clients());
    for index in 0..list.len() {
        let mut broken = list.clone();
        broken[index] ^= 4;
        assert!(scene.crls.accept(&broken, UnixTime::now()).is_err(), "byte {index}");
    }
}

#[test]
fn only_the_issuers_own_key_signs_its_list() {
    let (scene, other) = (Scene::new(), authority());
    let list = scene.list(1);
    assert_eq!(scene.refused_bytes(&list.signed_by(other.clients())), CrlFault::Signature);
    assert_eq!(scene.refused_bytes(&list.signed_by(scene.authority.root())), CrlFault::Signature);
    let of_other = Forged::of(other.clients(), 1).signed_by(other.clients());
    assert_eq!(scene.refused_bytes(&of_other), CrlFault::Foreign, "the same name, another key");
    let services = scene.authority.services();
    assert_eq!(scene.refused_bytes(&Forged::of(services, 1).signed_by(services)), CrlFault::Foreign);
}

#[test]
fn a_ca_whose_key_usage_does_not_allow_it_signs_no_list() {
    let scene = Scene::new();
    let mute = Certificate { signs_crls: false, ..scene.authority.clients().facts().clone() };
    let crls = Crls::of([Arc::new(mute)], &CrlConfig::default(), UnixTime::now());
    let der = scene.list(1).signed_by(scene.authority.clients());
    assert_eq!(crls.accept(&der, UnixTime::now()).unwrap_err(), CrlFault::KeyUsage);
}

#[test]
fn a_lower_number_is_refused_and_what_is_in_force_stays() {
    let scene = Scene::new();
    let sign = |list: Forged| list.signed_by(scene.authority.clients());
    let second = sign(scene.list(2).entry(&scene.listed(KEY_COMPROMISE)));
    let crls = scene.crls.accept(&second, UnixTime::now()).unwrap().unwrap();
    let refused = |der: &[u8]| crls.accept(der, UnixTime::now()).unwrap_err();
    let lower = CrlFault::Lower { offered: "1".to_owned(), in_force: "2".to_owned() };
    assert_eq!(refused(&sign(scene.list(1))), lower);
    assert_eq!(refused(&sign(scene.list(2))), CrlFault::SameNumber("2".to_owned()));
    assert!(crls.accept(&second, UnixTime::now()).unwrap().is_none(), "the very same list changes nothing");
    let part = scene.list(3).extension(&[0x55, 0x1d, 0x1c], true, &tlv(0x30, &tlv(0xa0, &[])));
    assert_eq!(refused(&sign(part)), CrlFault::Scope);
    let third = crls.accept(&sign(scene.list(3)), UnixTime::now()).unwrap().unwrap();
    assert_eq!(third.judge(&scene.peer, UnixTime::now()), Standing::Clear);
}

#[test]
fn two_issuers_of_the_same_name_have_a_list_each() {
    let (one, other) = (Scene::new(), Scene::new());
    assert_eq!(one.authority.clients().facts().subject, other.authority.clients().facts().subject);
    let mut crls =
        Crls::of([facts(&one.authority), facts(&other.authority)], &CrlConfig::default(), UnixTime::now())
            .settle();
    // the first one's list is newer, and names the other one's serial number
    let lists = [
        one.list(9).entry(&other.listed(KEY_COMPROMISE)).signed_by(one.authority.clients()),
        other.list(1).entry(&one.listed(KEY_COMPROMISE)).signed_by(other.authority.clients()),
    ];
    for list in &lists {
        crls = crls.accept(list, UnixTime::now()).unwrap().unwrap();
    }
    for scene in [&one, &other] {
        assert_eq!(crls.judge(&scene.peer, UnixTime::now()), Standing::Clear);
    }
    let list = other.list(2).entry(&other.listed(KEY_COMPROMISE)).signed_by(other.authority.clients());
    crls = crls.accept(&list, UnixTime::now()).unwrap().unwrap();
    assert_eq!(crls.judge(&one.peer, UnixTime::now()), Standing::Clear);
    assert_eq!(reason(crls.judge(&other.peer, UnixTime::now())), "keyCompromise");
}

#[test]
fn what_our_own_authority_signs_is_accepted_with_every_entry_kept_by_the_next_list() {
    let scene = Scene::new();
    let clients = scene.authority.clients();
    let [_, first, _] = scene.authority.crls();
    let second = clients.sign_next_crl(first, [revoked(&scene.leaf)]).unwrap();
    let third = clients.sign_next_crl(&second, []).unwrap();
    assert_eq!(third.number, 3);
    for list in [first, &second, &third] {
        let crls = scene.crls.accept(list.der(), UnixTime::now()).unwrap().unwrap();
        let standing = crls.judge(&scene.peer, UnixTime::now());
        assert_eq!(matches!(standing, Standing::Revoked(_)), list.number > 1, "number {}", list.number);
    }
}
