//! A certificate revocation list (RFC 5280 §5): signed by an issuer, kept as a file and in the table `crls`.
//!
//! In: PEM. Out: the list with what the table records of it. Refused: a list without number, key identifier or
//! next update, which the RFC requires.

use std::sync::Arc;

pub use rcgen::RevocationReason as RevokedReason;
use rustls_pki_types::{CertificateRevocationListDer, UnixTime, pem::PemObject};
use shared::{
    identity::Certificate,
    tls::crl::{CrlConfig, CrlFault, Crls},
};
use time::OffsetDateTime;
use x509_parser::{
    prelude::{CertificateRevocationList, FromDer, ParsedExtension},
    revocation_list::RevokedCertificate,
};

/// One entry of a revocation list.
#[derive(Debug, Clone)]
pub struct Revoked {
    /// The certificate's serial number, big-endian.
    pub serial: Vec<u8>,
    /// When it was revoked.
    pub revoked_at: OffsetDateTime,
    /// Why (RFC 5280 §5.3.1).
    pub reason: RevokedReason,
}

impl Revoked {
    /// Whether it is about this serial number; leading zeros, which only DER needs, do not count.
    #[must_use]
    pub fn is_of(&self, serial: &[u8]) -> bool {
        significant(&self.serial) == significant(serial)
    }
}

fn significant(serial: &[u8]) -> &[u8] {
    &serial[serial.iter().take_while(|byte| **byte == 0).count()..]
}

/// A signed revocation list with what the database records of it.
#[derive(Debug, Clone)]
pub struct RevocationList {
    pem: String,
    der: CertificateRevocationListDer<'static>,
    /// The issuer's name, DER.
    pub issuer_name: Vec<u8>,
    /// The identifier of the key that signed it.
    pub issuer_key_id: Vec<u8>,
    /// `CRLNumber`: only ever grows.
    pub number: u64,
    /// When it was signed.
    pub this_update: OffsetDateTime,
    /// When the next one is due.
    pub next_update: OffsetDateTime,
}

/// Why a revocation list cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum MalformedCrl {
    /// Neither PEM nor, inside it, a CRL.
    #[error("not a revocation list")]
    Encoding,
    /// Not signed by the CA that it names, partial, or otherwise none that counts.
    #[error("the revocation list does not count: {0}")]
    Fault(CrlFault),
    /// Another CA's list.
    #[error("the revocation list was issued by another CA than the one it is checked against")]
    Foreign,
    /// Required by RFC 5280 §5.1.2.5 and §5.2.
    #[error("the revocation list has no {0}")]
    Missing(&'static str),
}

impl RevocationList {
    /// Reads one list. Its signature is *not* verified here.
    pub fn from_pem(pem: String) -> Result<Self, MalformedCrl> {
        let der = CertificateRevocationListDer::from_pem_slice(pem.as_bytes())
            .map_err(|_| MalformedCrl::Encoding)?;
        Self::read(pem, &der)
    }

    /// As [`RevocationList::from_pem`], from DER.
    pub fn from_der(der: Vec<u8>) -> Result<Self, MalformedCrl> {
        let pem = pkcs8::der::pem::encode_string("X509 CRL", pkcs8::LineEnding::LF, &der)
            .map_err(|_| MalformedCrl::Encoding)?;
        Self::read(pem, &der.into())
    }

    fn read(pem: String, der: &CertificateRevocationListDer<'static>) -> Result<Self, MalformedCrl> {
        let (rest, crl) = CertificateRevocationList::from_der(der).map_err(|_| MalformedCrl::Encoding)?;
        if !rest.is_empty() {
            return Err(MalformedCrl::Encoding);
        }
        let issuer_key_id =
            crl.extensions().iter().find_map(|extension| match extension.parsed_extension() {
                ParsedExtension::AuthorityKeyIdentifier(id) => {
                    id.key_identifier.as_ref().map(|id| id.0.to_vec())
                }
                _ => None,
            });
        let number = crl.crl_number().and_then(|number| u64::try_from(number).ok());
        let next_update = crl.next_update().ok_or(MalformedCrl::Missing("next update"))?.to_datetime();
        let list = Self {
            issuer_name: crl.issuer().as_raw().to_vec(),
            issuer_key_id: issuer_key_id.ok_or(MalformedCrl::Missing("authority key identifier"))?,
            number: number.ok_or(MalformedCrl::Missing("number below 2^64"))?,
            this_update: crl.last_update().to_datetime(),
            next_update,
            der: der.clone(),
            pem,
        };
        Ok(list)
    }

    /// Verifies that this CA signed it, and all else that a proxy asks of a list.
    pub fn verify(&self, authority: &Certificate) -> Result<(), MalformedCrl> {
        let now = UnixTime::now();
        let places = Crls::of([Arc::new(authority.clone())], &CrlConfig::default(), now);
        match places.accept(&self.der, now) {
            Ok(_) => Ok(()),
            Err(CrlFault::Foreign) => Err(MalformedCrl::Foreign),
            Err(fault) => Err(MalformedCrl::Fault(fault)),
        }
    }

    /// Its entries: the next list must have them too.
    pub fn revoked(&self) -> Result<Vec<Revoked>, MalformedCrl> {
        let (_, crl) = CertificateRevocationList::from_der(&self.der).map_err(|_| MalformedCrl::Encoding)?;
        Ok(crl.iter_revoked_certificates().map(entry).collect())
    }

    /// The list in PEM, as it lies in a file.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The list in DER, as it lies in the database.
    #[must_use]
    pub fn der(&self) -> &CertificateRevocationListDer<'static> {
        &self.der
    }
}

fn entry(revoked: &RevokedCertificate<'_>) -> Revoked {
    Revoked {
        serial: revoked.raw_serial().to_vec(),
        revoked_at: revoked.revocation_date.to_datetime(),
        reason: revoked.reason_code().map_or(RevokedReason::Unspecified, |(_, code)| reason(code.0)),
    }
}

/// The names of `CRLReason` (RFC 5280 §5.3.1).
const NAMES: [(RevokedReason, &str); 10] = [
    (RevokedReason::Unspecified, "unspecified"),
    (RevokedReason::KeyCompromise, "keyCompromise"),
    (RevokedReason::CaCompromise, "cACompromise"),
    (RevokedReason::AffiliationChanged, "affiliationChanged"),
    (RevokedReason::Superseded, "superseded"),
    (RevokedReason::CessationOfOperation, "cessationOfOperation"),
    (RevokedReason::CertificateHold, "certificateHold"),
    (RevokedReason::RemoveFromCrl, "removeFromCRL"),
    (RevokedReason::PrivilegeWithdrawn, "privilegeWithdrawn"),
    (RevokedReason::AaCompromise, "aACompromise"),
];

/// The reason of this name.
#[must_use]
pub fn reason_named(name: &str) -> Option<RevokedReason> {
    NAMES.into_iter().find(|(_, one)| *one == name).map(|(reason, _)| reason)
}

/// The name of a reason.
#[must_use]
pub fn name_of_reason(reason: RevokedReason) -> &'static str {
    NAMES.into_iter().find(|(one, _)| *one == reason).map_or("unspecified", |(_, name)| name)
}

/// By `CRLReason` (RFC 5280 §5.3.1).
fn reason(code: u8) -> RevokedReason {
    match code {
        1 => RevokedReason::KeyCompromise,
        2 => RevokedReason::CaCompromise,
        3 => RevokedReason::AffiliationChanged,
        4 => RevokedReason::Superseded,
        5 => RevokedReason::CessationOfOperation,
        6 => RevokedReason::CertificateHold,
        8 => RevokedReason::RemoveFromCrl,
        9 => RevokedReason::PrivilegeWithdrawn,
        10 => RevokedReason::AaCompromise,
        _ => RevokedReason::Unspecified,
    }
}
