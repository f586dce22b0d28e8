//! The facts of one certificate, read once per connection.
//!
//! In: DER. Out: the facts that authorization and logs use. Refused: DER that does not parse, and
//! more than one SPIFFE id of ours. The one place of the tree that parses certificates.

use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::{
    asn1_rs::Any,
    prelude::{FromDer, GeneralName, ParsedExtension, SubjectPublicKeyInfo, X509Certificate},
    public_key::PublicKey,
};

use super::{Fingerprint, SpiffeId};

/// The facts of one certificate (RFC 5280 §4.1).
#[derive(Debug, Clone)]
pub struct Certificate {
    /// SHA-256 of the DER.
    pub fingerprint: Fingerprint,
    /// Serial number, big-endian, without leading zeros.
    pub serial: Vec<u8>,
    /// When it is valid.
    pub validity: Validity,
    /// Subject name, DER.
    pub subject: Vec<u8>,
    /// Issuer name, DER.
    pub issuer: Vec<u8>,
    /// Subject public key info, DER.
    pub public_key: Vec<u8>,
    /// What kind of key that is, as far as it matters for what verifying with it costs.
    pub key: PublicKeyKind,
    /// How many subject alternative names there are.
    pub names: usize,
    /// Subject key identifier.
    pub key_id: Option<Vec<u8>>,
    /// Authority key identifier: the issuer's key.
    pub issuer_key_id: Option<Vec<u8>>,
    /// The SPIFFE id in the subject alternative names, if there is one of ours.
    pub spiffe: Option<SpiffeId>,
    /// `CA:TRUE` in the basic constraints, with the path length allowed below it.
    pub authority: Option<PathLength>,
    /// Key usage allows signing certificates; true as well where a CA has no key usage at all.
    pub signs_certificates: bool,
    /// Key usage allows signing revocation lists; true as well where a CA has no key usage at all.
    pub signs_crls: bool,
    /// The extended key usage is present and names clientAuth.
    pub client_auth: bool,
    /// A critical extension that neither webpki nor this module understands.
    pub unknown_critical_extension: Option<String>,
}

/// A public key, as far as it matters for what verifying with it costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublicKeyKind {
    /// RSA, whose cost its holder chooses.
    Rsa {
        /// Of the modulus.
        bits: usize,
        /// `None`: longer than 64 bits.
        exponent: Option<u64>,
    },
    /// Of a fixed size, or of no kind that is verified with.
    Other,
}

/// The path length of a CA: `None` is unlimited.
pub type PathLength = Option<u32>;

/// `notBefore` and `notAfter`, both inclusive (RFC 5280 §4.1.2.5), as Unix seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// First second of validity.
    pub not_before: i64,
    /// Last second of validity.
    pub not_after: i64,
}

/// Where a moment lies in relation to a validity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judged {
    /// Before `notBefore`.
    NotYetValid,
    /// Within.
    Valid,
    /// After `notAfter`.
    Expired,
}

impl Validity {
    /// Where `now` lies.
    #[must_use]
    pub fn judge(&self, now: UnixTime) -> Judged {
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        if now < self.not_before {
            Judged::NotYetValid
        } else if now > self.not_after {
            Judged::Expired
        } else {
            Judged::Valid
        }
    }
}

/// Why a certificate cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum MalformedCertificate {
    /// Not one DER certificate.
    #[error("not a DER-encoded X.509 certificate")]
    Der,
    /// An extension of it does not parse.
    #[error("extension {0} does not parse")]
    Extension(String),
    /// Several SPIFFE ids: none can be believed.
    #[error("more than one SPIFFE id")]
    SeveralSpiffeIds,
}

impl Certificate {
    /// Reads one certificate. It is *not* verified here.
    pub fn parse(der: &CertificateDer<'_>) -> Result<Self, MalformedCertificate> {
        let (rest, x509) = X509Certificate::from_der(der).map_err(|_| MalformedCertificate::Der)?;
        if !rest.is_empty() {
            return Err(MalformedCertificate::Der);
        }
        let mut certificate = Self {
            fingerprint: Fingerprint::of_der(der),
            serial: strip_zeros(x509.raw_serial()),
            validity: Validity {
                not_before: x509.validity().not_before.timestamp(),
                not_after: x509.validity().not_after.timestamp(),
            },
            subject: whole(x509.subject().as_raw())?,
            issuer: whole(x509.issuer().as_raw())?,
            public_key: whole(x509.public_key().raw)?,
            key: key_of(x509.public_key())?,
            names: 0,
            key_id: None,
            issuer_key_id: None,
            spiffe: None,
            authority: None,
            signs_certificates: false,
            signs_crls: false,
            client_auth: false,
            unknown_critical_extension: None,
        };
        let (mut key_cert_sign, mut crl_sign) = (None, None);
        for extension in x509.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::SubjectKeyIdentifier(id) => certificate.key_id = Some(id.0.to_vec()),
                ParsedExtension::AuthorityKeyIdentifier(id) => {
                    certificate.issuer_key_id = id.key_identifier.as_ref().map(|id| id.0.to_vec());
                }
                ParsedExtension::BasicConstraints(basic) if basic.ca => {
                    certificate.authority = Some(basic.path_len_constraint);
                }
                ParsedExtension::KeyUsage(usage) => {
                    (key_cert_sign, crl_sign) = (Some(usage.key_cert_sign()), Some(usage.crl_sign()));
                }
                ParsedExtension::ExtendedKeyUsage(usage) => certificate.client_auth = usage.client_auth,
                ParsedExtension::SubjectAlternativeName(names) => {
                    certificate.names = names.general_names.len();
                    certificate.spiffe = spiffe_of(&names.general_names)?;
                }
                ParsedExtension::BasicConstraints(_) | ParsedExtension::NameConstraints(_) => {}
                ParsedExtension::ParseError { .. } => {
                    return Err(MalformedCertificate::Extension(extension.oid.to_id_string()));
                }
                _ if extension.critical => {
                    certificate.unknown_critical_extension = Some(extension.oid.to_id_string());
                }
                _ => {}
            }
        }
        certificate.signs_certificates = key_cert_sign.unwrap_or(certificate.authority.is_some());
        certificate.signs_crls = crl_sign.unwrap_or(certificate.authority.is_some());
        Ok(certificate)
    }
}

/// One SPIFFE id at most (X.509-SVID §2). One that is not of our shape is somebody else's: an external
/// client CA may use SPIFFE in its own way, and it names nobody here.
fn spiffe_of(names: &[GeneralName<'_>]) -> Result<Option<SpiffeId>, MalformedCertificate> {
    let mut ids = names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) if uri.get(..7).is_some_and(|s| s.eq_ignore_ascii_case("spiffe:")) => {
            Some(*uri)
        }
        _ => None,
    });
    let first = ids.next();
    if ids.next().is_some() {
        return Err(MalformedCertificate::SeveralSpiffeIds);
    }
    Ok(first.and_then(|uri| uri.parse().ok()))
}

/// A name or a key ends for the parser at the first part of it that it does not understand; for webpki it does not.
/// What one of them sees a part of would be two names, or two keys.
fn whole(der: &[u8]) -> Result<Vec<u8>, MalformedCertificate> {
    match Any::from_der(der) {
        Ok((&[], _)) => Ok(der.to_vec()),
        _ => Err(MalformedCertificate::Der),
    }
}

fn key_of(info: &SubjectPublicKeyInfo<'_>) -> Result<PublicKeyKind, MalformedCertificate> {
    match info.parsed() {
        Ok(PublicKey::RSA(key)) => {
            let modulus = strip_zeros(key.modulus);
            let first = modulus.first().map_or(0, |byte| byte.leading_zeros() as usize);
            let exponent = strip_zeros(key.exponent);
            let exponent = (exponent.len() <= 8)
                .then(|| exponent.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)));
            Ok(PublicKeyKind::Rsa { bits: modulus.len() * 8 - first, exponent })
        }
        Ok(_) => Ok(PublicKeyKind::Other),
        Err(_) => Err(MalformedCertificate::Der),
    }
}

fn strip_zeros(serial: &[u8]) -> Vec<u8> {
    let zeros = serial.iter().take_while(|byte| **byte == 0).count();
    serial[zeros..].to_vec()
}
