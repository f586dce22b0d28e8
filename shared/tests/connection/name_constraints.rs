//! Names that a CA may not vouch for (RFC 5280 §4.2.1.10), on an anchor and on a CA between it and the leaf. Kinds
//! of names that are not understood are refused, permitted or not.

use std::sync::Arc;

use certs::{Authority, Host, Issuer, LeafRequest};
use rustls::pki_types::{CertificateDer, UnixTime};
use shared::tls::{BundleKind, ClientVerifier, Handshake};

use crate::{
    crls::forge::{extension, tlv},
    distort::{pem_with_extension, with_extension},
    support::{authority, bundle, client_request},
};

const NAME_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x1e];
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
const PERMITTED: u8 = 0xa0;
const EXCLUDED: u8 = 0xa1;
// The kinds of a GeneralName (RFC 5280 §4.2.1.6).
const EMAIL: u8 = 0x81;
const DNS: u8 = 0x82;
const DIRECTORY: u8 = 0xa4;
const URI: u8 = 0x86;
const IP: u8 = 0x87;

/// A leaf that shows these names and no others, beside its subject.
#[derive(Debug, Clone, Copy)]
enum Shows {
    Nothing,
    Dns(&'static str),
    Ip(&'static str),
    /// Its SPIFFE id, as the leaves of our own authority do.
    Uri,
    Email(&'static str),
}

fn leaf(authority: &Authority, shows: Shows) -> Vec<CertificateDer<'static>> {
    let none = LeafRequest { uris: Vec::new(), hosts: Vec::new(), ..client_request(authority) };
    let request = match shows {
        Shows::Nothing | Shows::Email(_) => none,
        Shows::Dns(host) | Shows::Ip(host) => {
            LeafRequest { hosts: vec![host.parse::<Host>().unwrap()], ..none }
        }
        Shows::Uri => client_request(authority),
    };
    let mut chain = authority.clients().sign(&request).unwrap().chain().to_vec();
    if let Shows::Email(address) = shows {
        let names = extension(SUBJECT_ALT_NAME, false, &tlv(0x30, &tlv(EMAIL, address.as_bytes())));
        chain[0] = with_extension(&chain[0], &names, authority.clients()).into();
    }
    chain
}

/// Whether the leaf is believed with this constraint on the anchor, and with it on a CA below the anchor.
fn verdicts(authority: &Authority, subtrees: u8, kind: u8, base: &[u8], shows: Shows) -> [bool; 2] {
    let constraint = tlv(0x30, &tlv(subtrees, &tlv(0x30, &tlv(kind, base))));
    let constraint = extension(NAME_CONSTRAINTS, true, &constraint);
    let (clients, root) = (authority.clients(), authority.root());
    let constrained = |by: &Issuer| with_extension(clients.certificate(), &constraint, by);
    let anchor = pem_with_extension(clients.certificate(), &constraint, root);
    let mut chain = leaf(authority, shows);
    let of_anchor = verifies(&anchor, &chain);
    chain[1] = constrained(root).into();
    [of_anchor, verifies(root.certificate_pem(), &chain)]
}

fn verifies(trusted: &str, chain: &[CertificateDer<'_>]) -> bool {
    let bundle = bundle(BundleKind::AnyAuthority, &[trusted]).unwrap();
    let verifier = ClientVerifier::new(Arc::new(bundle), Handshake::Explain);
    verifier.verify(chain, UnixTime::now()).is_ok()
}

#[test]
fn names_of_hosts_and_addresses_are_believed_as_far_as_they_are_permitted() {
    let authority = authority();
    let (domain, network) = (&b"example.com"[..], &[10, 0, 0, 0, 255, 0, 0, 0][..]);
    for (subtrees, kind, base, shows, believed) in [
        (PERMITTED, DNS, domain, Shows::Dns("a.example.com"), true),
        (PERMITTED, DNS, domain, Shows::Dns("example.org"), false),
        (PERMITTED, DNS, domain, Shows::Nothing, true),
        (PERMITTED, DNS, domain, Shows::Uri, true),
        (EXCLUDED, DNS, domain, Shows::Dns("a.example.com"), false),
        (EXCLUDED, DNS, domain, Shows::Dns("example.org"), true),
        (PERMITTED, IP, network, Shows::Ip("10.1.2.3"), true),
        (PERMITTED, IP, network, Shows::Ip("192.0.2.1"), false),
        (EXCLUDED, IP, network, Shows::Ip("10.1.2.3"), false),
        (EXCLUDED, IP, network, Shows::Ip("192.0.2.1"), true),
    ] {
        let verdicts = verdicts(&authority, subtrees, kind, base, shows);
        assert_eq!(verdicts, [believed; 2], "{subtrees:x} {kind:x} {shows:?}");
    }
}

#[test]
fn kinds_of_names_that_are_not_understood_are_refused_even_where_they_are_permitted() {
    let authority = authority();
    let subject = client_subject(&authority);
    let (host, address) = (&b"portcullis.internal"[..], &b"a@example.com"[..]);
    for subtrees in [PERMITTED, EXCLUDED] {
        for (kind, base, shows, believed) in [
            // every certificate has a subject, which is a directory name
            (DIRECTORY, &subject[..], Shows::Nothing, false),
            (URI, host, Shows::Uri, false),
            (URI, host, Shows::Nothing, true),
            (EMAIL, address, Shows::Email("a@example.com"), false),
            (EMAIL, address, Shows::Nothing, true),
        ] {
            let verdicts = verdicts(&authority, subtrees, kind, base, shows);
            assert_eq!(verdicts, [believed; 2], "{subtrees:x} {kind:x} {shows:?}");
        }
    }
}

/// The very subject of the leaves here.
fn client_subject(authority: &Authority) -> Vec<u8> {
    authority.clients().sign(&client_request(authority)).unwrap().facts().subject.clone()
}
