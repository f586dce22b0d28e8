//! What may be a trust anchor.

use shared::tls::BundleKind;

use crate::{
    crls::forge::{extension, tlv},
    distort::pem_with_extension,
    support::{authority, authority_made, bundle, client_request},
};

#[test]
fn a_service_door_does_not_trust_a_root() {
    let authority = authority();
    let root = authority.root().certificate_pem();
    assert!(bundle(BundleKind::AnyAuthority, &[root]).is_ok());
    let error = bundle(BundleKind::IssuingOnly, &[root]).unwrap_err();
    assert!(error.contains("never the root"), "{error}");
    assert!(bundle(BundleKind::IssuingOnly, &[authority.services().certificate_pem()]).is_ok());
}

#[test]
fn a_leaf_among_the_anchors_is_named_by_file_and_place() {
    let authority = authority();
    let leaf = authority.clients().sign(&client_request(&authority)).unwrap();
    let pems = [authority.clients().certificate_pem(), leaf.certificate_pem()];
    let error = bundle(BundleKind::AnyAuthority, &pems).unwrap_err();
    assert!(error.contains("bundle.crt") && error.contains("certificate 2"), "{error}");
}

#[test]
fn an_anchor_that_has_ended_is_refused() {
    let old = authority_made(6);
    let error = bundle(BundleKind::AnyAuthority, &[old.clients().certificate_pem()]).unwrap_err();
    assert!(error.contains("has expired"), "{error}");
}

#[test]
fn an_anchor_with_a_critical_extension_that_nobody_understands_is_refused_by_name() {
    let authority = authority();
    let (clients, root) = (authority.clients(), authority.root());
    // policyMappings (RFC 5280 §4.2.1.5): known to many, but not here
    for (critical, refused) in [(true, true), (false, false)] {
        let unknown = extension(&[0x55, 0x1d, 0x21], critical, &tlv(0x30, &[]));
        let pem = pem_with_extension(clients.certificate(), &unknown, root);
        let result = bundle(BundleKind::AnyAuthority, &[root.certificate_pem(), &pem]);
        assert_eq!(result.is_err(), refused, "{result:?}");
        if let Err(error) = result {
            for part in ["bundle.crt", "certificate 2", "critical extension", "2.5.29.33"] {
                assert!(error.contains(part), "{part} in {error}");
            }
        }
    }
}

#[test]
fn several_anchors_stand_side_by_side_and_none_is_no_bundle() {
    let (one, two) = (authority(), authority());
    let both = [one.clients().certificate_pem(), two.clients().certificate_pem()];
    assert_eq!(bundle(BundleKind::AnyAuthority, &both).unwrap().authorities().len(), 2);
    assert!(bundle(BundleKind::AnyAuthority, &[]).unwrap_err().contains("no certificate"));
}
