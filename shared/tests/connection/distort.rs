//! Certificates with one extension more, signed anew with a real key: what no proper authority would make.

use certs::Issuer;

use crate::crls::forge::{sign, tlv};

/// The certificate with this extension too, signed by `issuer`.
pub(crate) fn with_extension(certificate: &[u8], extension: &[u8], issuer: &Issuer) -> Vec<u8> {
    let [to_be_signed, ..] = elements(contents(certificate))[..] else { panic!("no certificate") };
    let mut parts = elements(contents(to_be_signed));
    // `extensions` is tagged 3 and the last (RFC 5280 §4.1).
    let extensions = parts.pop().filter(|last| last[0] == 0xa3).unwrap();
    let more = [contents(contents(extensions)), extension].concat();
    let extensions = tlv(0xa3, &tlv(0x30, &more));
    parts.push(&extensions);
    sign(&tlv(0x30, &parts.concat()), issuer)
}

/// The certificate for another key, of which nobody has the private one; signed by `issuer`.
pub(crate) fn with_key(certificate: &[u8], key: &[u8], issuer: &Issuer) -> Vec<u8> {
    let [to_be_signed, ..] = elements(contents(certificate))[..] else { panic!("no certificate") };
    let mut parts = elements(contents(to_be_signed));
    // after version, serial number, algorithm, issuer, validity and subject (RFC 5280 §4.1)
    parts[6] = key;
    sign(&tlv(0x30, &parts.concat()), issuer)
}

/// A public key of RSA (RFC 8017 §A.1.1): a modulus of so many bits, all set, and this exponent.
pub(crate) fn rsa_key(bits: usize, exponent: &[u8]) -> Vec<u8> {
    const RSA_ENCRYPTION: &[u8] = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";
    let mut modulus = vec![0xff; bits.div_ceil(8)];
    modulus[0] >>= (8 - bits % 8) % 8;
    // positive: a first bit that is set would be a sign
    let number = |bytes: &[u8]| tlv(2, &[&[0][usize::from(bytes[0] < 0x80)..], bytes].concat());
    let key = tlv(0x30, &[number(&modulus), number(exponent)].concat());
    tlv(0x30, &[RSA_ENCRYPTION, &tlv(3, &[&[0], &key[..]].concat())].concat())
}

/// As `with_extension`, as PEM.
pub(crate) fn pem_with_extension(certificate: &[u8], extension: &[u8], issuer: &Issuer) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let text = STANDARD.encode(with_extension(certificate, extension, issuer));
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}

/// The elements that stand one after the other.
fn elements(mut der: &[u8]) -> Vec<&[u8]> {
    let mut elements = Vec::new();
    while !der.is_empty() {
        let (element, rest) = der.split_at(header(der) + length(der));
        elements.push(element);
        der = rest;
    }
    elements
}

fn contents(element: &[u8]) -> &[u8] {
    &element[header(element)..]
}

fn header(element: &[u8]) -> usize {
    2 + if element[1] < 0x80 { 0 } else { usize::from(element[1] & 0x7f) }
}

fn length(element: &[u8]) -> usize {
    match element[1] {
        short if short < 0x80 => usize::from(short),
        long => element[2..2 + usize::from(long & 0x7f)]
            .iter()
            .fold(0, |length, byte| length << 8 | usize::from(*byte)),
    }
}
