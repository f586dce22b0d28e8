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
