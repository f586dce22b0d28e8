//! Certificates in words, for people. Nothing is decided by these texts: that is done by the facts of
//! [`shared::identity::Certificate`].

use rustls_pki_types::CertificateDer;
use time::{OffsetDateTime, macros::format_description};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate, X509Name};

/// A name as `openssl x509 -subject` writes it: `O=MessageBroker, CN=client_001`.
pub(crate) fn name(der: &[u8]) -> String {
    match X509Name::from_der(der) {
        Ok((_, name)) if name.iter().next().is_some() => name.to_string(),
        _ => "(no name)".to_owned(),
    }
}

/// A text with words of a stranger's in it, such as the names in a certificate, so that it stays one line and gives the
/// terminal no commands.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// `2026-11-21 09:00:00 UTC`.
pub(crate) fn moment(unix_seconds: i64) -> String {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second] UTC");
    let moment = OffsetDateTime::from_unix_timestamp(unix_seconds).ok();
    moment.and_then(|moment| moment.format(format).ok()).unwrap_or_else(|| "(no date)".to_owned())
}

/// The DNS names and IP addresses that a server certificate may be called by (RFC 9525: no CN).
pub(crate) fn hosts(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return Vec::new() };
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return Vec::new() };
    let host = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(octets) => address(octets),
        _ => None,
    };
    names.value.general_names.iter().filter_map(host).collect()
}

fn address(octets: &[u8]) -> Option<String> {
    let v4 = <[u8; 4]>::try_from(octets).map(|octets| std::net::IpAddr::from(octets).to_string());
    v4.or_else(|_| <[u8; 16]>::try_from(octets).map(|octets| std::net::IpAddr::from(octets).to_string())).ok()
}

/// What the extended key usage allows; empty without the extension.
pub(crate) fn purposes(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return Vec::new() };
    let Ok(Some(usage)) = certificate.extended_key_usage() else { return Vec::new() };
    let usage = usage.value;
    let known = [
        (usage.any, "any"),
        (usage.server_auth, "serverAuth"),
        (usage.client_auth, "clientAuth"),
        (usage.code_signing, "codeSigning"),
        (usage.email_protection, "emailProtection"),
        (usage.time_stamping, "timeStamping"),
        (usage.ocsp_signing, "OCSPSigning"),
    ];
    let named = known.into_iter().filter(|(allowed, _)| *allowed).map(|(_, name)| name.to_owned());
    named.chain(usage.other.iter().map(x509_parser::der_parser::Oid::to_id_string)).collect()
}

/// `1 certificate`, `2 certificates`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}
