//! A leaf is believed by its path alone; explaining is never a way around it.

use std::sync::Arc;

use certs::{Leaf, LeafRequest, Purpose};
use rustls::{
    CertificateError, Error,
    pki_types::{CertificateDer, UnixTime},
};
use shared::tls::{BundleKind, ClientVerifier, Handshake, Peer};

use crate::support::{authority, authority_made, bundle, client_request, expired, not_yet_valid};

const MODES: [Handshake; 2] = [Handshake::Explain, Handshake::Strict];

fn verify(trusted: &str, handshake: Handshake, leaf: &Leaf) -> Result<Peer, Error> {
    let bundle = bundle(BundleKind::AnyAuthority, &[trusted]).unwrap();
    ClientVerifier::new(Arc::new(bundle), handshake).verify(leaf.chain(), UnixTime::now())
}

fn reason(result: Result<Peer, Error>) -> CertificateError {
    match result {
        Err(Error::InvalidCertificate(reason)) => reason,
        other => panic!("not refused as a certificate: {other:?}"),
    }
}

#[test]
fn a_valid_leaf_is_believed_with_its_path() {
    let authority = authority();
    let leaf = authority.clients().sign(&client_request(&authority)).unwrap();
    for mode in MODES {
        for trusted in [authority.clients(), authority.root()] {
            let peer = verify(trusted.certificate_pem(), mode, &leaf).unwrap();
            assert!(!peer.path.explain_only);
            let top = peer.path.authorities.last().unwrap();
            assert_eq!(top.fingerprint, trusted.facts().fingerprint);
        }
    }
}

#[test]
fn an_expired_leaf_with_a_path_is_explained_but_marked_for_ever() {
    let authority = authority();
    for distort in [expired, not_yet_valid] {
        let leaf = authority.clients().sign(&distort(client_request(&authority))).unwrap();
        let peer = verify(authority.clients().certificate_pem(), Handshake::Explain, &leaf).unwrap();
        assert!(peer.path.explain_only);
        assert!(verify(authority.clients().certificate_pem(), Handshake::Strict, &leaf).is_err());
    }
}

#[test]
fn a_forged_leaf_outside_its_validity_is_never_explained() {
    let (genuine, forger) = (authority(), authority());
    for distort in [expired, not_yet_valid] {
        let request = distort(client_request(&genuine));
        let forgeries = [request.self_signed().unwrap(), forger.clients().sign(&request).unwrap()];
        for leaf in forgeries {
            for trusted in [genuine.clients(), genuine.root()] {
                assert!(verify(trusted.certificate_pem(), Handshake::Explain, &leaf).is_err());
            }
        }
    }
}

#[test]
fn a_leaf_under_a_ca_that_has_ended_is_not_explained() {
    // Its root is still valid, its issuing CA ended a year ago, the leaf ended when both were valid.
    let old = authority_made(6);
    let now = time::OffsetDateTime::now_utc();
    let request = LeafRequest {
        not_before: now - time::Duration::days(365 * 3),
        not_after: now - time::Duration::days(365 * 2),
        ..client_request(&old)
    };
    let leaf = old.clients().sign(&request).unwrap();
    let refused = reason(verify(old.root().certificate_pem(), Handshake::Explain, &leaf));
    assert!(matches!(refused, CertificateError::ExpiredContext { .. }), "{refused:?}");
}

#[test]
fn another_ca_of_the_same_names_is_not_believed() {
    let (genuine, other) = (authority(), authority());
    let leaf = other.clients().sign(&client_request(&other)).unwrap();
    for mode in MODES {
        let refused = reason(verify(genuine.clients().certificate_pem(), mode, &leaf));
        assert!(
            matches!(refused, CertificateError::BadSignature | CertificateError::UnknownIssuer),
            "{refused:?}"
        );
    }
}

#[test]
fn leaves_for_other_purposes_are_refused() {
    let authority = authority();
    let request = || client_request(&authority);
    let wrong = [
        LeafRequest { purposes: vec![Purpose::ServerAuth], ..request() },
        LeafRequest { purposes: Vec::new(), ..request() },
        LeafRequest { authority: true, ..request() },
        LeafRequest { key_usages: vec![certs::KeyUsage::KeyCertSign], ..request() },
    ];
    for request in wrong {
        // Outside its validity as well: explaining must not hide what else is wrong.
        for request in [request.clone(), expired(request)] {
            let leaf = authority.clients().sign(&request).unwrap();
            for mode in MODES {
                let verified = verify(authority.clients().certificate_pem(), mode, &leaf);
                assert!(verified.is_err(), "{request:?}");
            }
        }
    }
}

#[test]
fn a_leaf_without_extended_key_usage_is_believed_where_that_is_allowed_and_nothing_else_is() {
    let authority = authority();
    let request = || client_request(&authority);
    let unstated = || LeafRequest { purposes: Vec::new(), ..request() };
    let both = vec![Purpose::ServerAuth, Purpose::ClientAuth];
    let bundle = |pem: &str| Arc::new(bundle(BundleKind::AnyAuthority, &[pem]).unwrap());
    for (request, strictly, laxly) in [
        (request(), true, true),
        (LeafRequest { purposes: both, ..request() }, true, true),
        (unstated(), false, true),
        (LeafRequest { purposes: vec![Purpose::ServerAuth], ..request() }, false, false),
        (LeafRequest { authority: true, ..unstated() }, false, false),
        (LeafRequest { key_usages: vec![certs::KeyUsage::KeyCertSign], ..unstated() }, false, false),
    ] {
        let leaf = authority.clients().sign(&request).unwrap();
        for (accepted, believed) in [(false, strictly), (true, laxly)] {
            for mode in MODES {
                let verifier = ClientVerifier::new(bundle(authority.clients().certificate_pem()), mode)
                    .unsafe_missing_eku(accepted);
                let peer = verifier.verify(leaf.chain(), UnixTime::now());
                assert_eq!(peer.is_ok(), believed, "{accepted} {request:?}");
            }
        }
    }
}

#[test]
fn a_ca_certificate_is_no_leaf() {
    use rustls::pki_types::pem::PemObject as _;
    let authority = authority();
    let pem = authority.clients().certificate_pem().as_bytes();
    let chain = [CertificateDer::from_pem_slice(pem).unwrap()];
    let bundle = bundle(BundleKind::AnyAuthority, &[authority.root().certificate_pem()]).unwrap();
    let verifier = ClientVerifier::new(Arc::new(bundle), Handshake::Explain);
    assert!(verifier.verify(&chain, UnixTime::now()).is_err());
}

#[test]
fn a_long_chain_of_strangers_is_refused_before_it_costs_anything() {
    let authority = authority();
    let leaf = authority.clients().sign(&client_request(&authority)).unwrap();
    let mut chain = leaf.chain().to_vec();
    chain.extend(std::iter::repeat_n(chain[1].clone(), 20));
    let bundle = bundle(BundleKind::AnyAuthority, &[authority.clients().certificate_pem()]).unwrap();
    let verifier = ClientVerifier::new(Arc::new(bundle), Handshake::Explain);
    assert!(verifier.verify(&chain, UnixTime::now()).is_err());
}
