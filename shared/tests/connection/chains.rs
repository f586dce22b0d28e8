//! What is refused of a chain before any of its signatures is looked at.

use std::sync::Arc;

use certs::{Host, KeyKind, KeySource, LeafRequest};
use rustls::{
    AlertDescription, Error,
    pki_types::{CertificateDer, UnixTime},
};
use shared::{
    config::ByteSize,
    serve::Limits,
    tls::{BundleKind, ChainFault, ChainLimits, ClientVerifier, Handshake},
};
use tokio::io::AsyncReadExt as _;

use crate::{
    distort::{rsa_key, with_key},
    support::{OpenDoor, authority, bundle, client_request},
};

#[test]
fn each_bound_of_a_chain_refuses_what_is_beyond_it_and_nothing_else() {
    let authority = authority();
    let request = client_request(&authority);
    let leaf = authority.clients().sign(&request).unwrap();
    let (leaf, issuer) = (leaf.chain()[0].clone(), leaf.chain()[1].clone());
    let for_key = |bits, exponent: &[u8]| {
        CertificateDer::from(with_key(&leaf, &rsa_key(bits, exponent), authority.clients()))
    };
    let named = |names: usize| {
        let host = |number| format!("host-{number}.example").parse::<Host>().unwrap();
        let hosts = (0..names).map(host).collect();
        authority.clients().sign(&LeafRequest { hosts, ..request.clone() }).unwrap().chain()[0].clone()
    };
    let common = [1, 0, 1];
    let chain = |leaf: &CertificateDer<'static>, issuers: usize| {
        [vec![leaf.clone()], vec![issuer.clone(); issuers]].concat()
    };
    let cases = [
        ("as it should be", chain(&leaf, 1), None),
        ("the deepest", chain(&leaf, 6), None),
        ("too deep", chain(&leaf, 7), Some(ChainFault::Depth(7))),
        // with the client's own name
        ("as many names as may be", chain(&named(99), 1), None),
        ("too many names", chain(&named(100), 1), Some(ChainFault::Names(101))),
        ("RSA", chain(&for_key(2048, &common), 1), None),
        ("the largest RSA", chain(&for_key(4096, &common), 1), None),
        ("RSA too small", chain(&for_key(2047, &common), 1), Some(ChainFault::RsaModulus(2047))),
        ("RSA too large", chain(&for_key(4097, &common), 1), Some(ChainFault::RsaModulus(4097))),
        ("RSA far too large", chain(&for_key(65_536, &common), 1), Some(ChainFault::RsaModulus(65_536))),
        ("a large exponent", chain(&for_key(2048, &[0x7f; 256]), 1), Some(ChainFault::RsaExponent)),
        ("an even exponent", chain(&for_key(2048, &[4]), 1), Some(ChainFault::RsaExponent)),
        ("the exponent 1", chain(&for_key(2048, &[1]), 1), Some(ChainFault::RsaExponent)),
        // among the issuers too, whether or not they are on the path
        (
            "an issuer's RSA too large",
            [chain(&leaf, 1), vec![for_key(8192, &common)]].concat(),
            Some(ChainFault::RsaModulus(8192)),
        ),
    ];
    let trusted = bundle(BundleKind::AnyAuthority, &[authority.clients().certificate_pem()]).unwrap();
    let trusted = Arc::new(trusted);
    let verify = |chain: &[CertificateDer<'_>], limits| {
        ClientVerifier::new(trusted.clone(), Handshake::Explain)
            .with_limits(limits)
            .verify(chain, UnixTime::now())
    };
    let fault = |error: Error| ChainFault::of(&error).unwrap_or_else(|| panic!("another error: {error:?}"));
    for (what, chain, expected) in &cases {
        let refused = verify(chain, ChainLimits::default()).err().map(fault);
        assert_eq!(refused, *expected, "{what}");
    }
    let bytes = cases[0].1.iter().map(|certificate| certificate.len()).sum::<usize>();
    for (allowed, expected) in [(bytes, None), (bytes - 1, Some(ChainFault::Bytes(bytes)))] {
        let limits = ChainLimits { bytes: ByteSize(allowed), ..ChainLimits::default() };
        assert_eq!(verify(&cases[0].1, limits).err().map(fault), expected);
    }
}

#[tokio::test]
async fn a_chain_beyond_its_bounds_meets_an_alert_and_is_counted_by_its_reason() {
    let chain = ChainLimits { rsa_bits: 2048, ..ChainLimits::default() };
    let door = OpenDoor::open(Handshake::Explain, Limits { chain, ..Limits::default() }).await;
    let key = KeySource::New(KeyKind::Rsa3072);
    let leaf = door.authority.clients().sign_for(&client_request(&door.authority), &key).unwrap();
    let asked = async { door.knock(&leaf, b"http/1.1").await?.read_u8().await };
    let error = asked.await.unwrap_err();
    let alert = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    assert_eq!(alert, Some(&Error::AlertReceived(AlertDescription::CertificateUnknown)), "{error:?}");
    assert_eq!((door.failed("rsa_modulus"), door.reached("chain")), (1, 1));
}
