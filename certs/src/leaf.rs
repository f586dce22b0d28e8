//! A leaf: what a certificate is asked to say, and the certificate with its key.
//!
//! A [`LeafRequest`] is signed as it stands. That is what tests need, which make expired, mistaken and forged
//! certificates of it; what may be issued to anybody is decided by [`crate::Authority`].

use std::net::IpAddr;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyUsagePurpose, SanType, SerialNumber,
};
use rustls_pki_types::{
    CertificateDer,
    pem::{self, PemObject},
};
use shared::identity::{Certificate, Fingerprint};
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, X509Certificate, X509Name};

use crate::{Host, IssueError, KeyKind, PrivateKey, credentials::Passphrase, moment::from_unix};

/// The organization named in every certificate.
pub(crate) const ORGANIZATION: &str = "MessageBroker";

/// What a key may be used for in TLS (RFC 5280 §4.2.1.12).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To be a TLS server.
    ServerAuth,
    /// To be a TLS client.
    ClientAuth,
    /// To sign code; here only to be refused.
    CodeSigning,
}

/// What a key may sign (RFC 5280 §4.2.1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyUsage {
    /// Handshakes.
    DigitalSignature,
    /// Certificates.
    KeyCertSign,
    /// Revocation lists.
    CrlSign,
}

/// Everything that a leaf certificate will say, but for its serial number, its key and its issuer.
#[derive(Debug, Clone)]
pub struct LeafRequest {
    /// CN of the subject.
    pub common_name: String,
    /// OU of the subject; a client's domain.
    pub organizational_unit: Option<String>,
    /// URI subject alternative names: the SPIFFE id.
    pub uris: Vec<String>,
    /// DNS and IP subject alternative names.
    pub hosts: Vec<Host>,
    /// First second of validity.
    pub not_before: OffsetDateTime,
    /// Last second of validity.
    pub not_after: OffsetDateTime,
    /// Extended key usage; none leaves the extension out.
    pub purposes: Vec<Purpose>,
    /// Key usage, critical; none leaves the extension out.
    pub key_usages: Vec<KeyUsage>,
    /// `CA:TRUE` in the basic constraints, which no leaf should have.
    pub authority: bool,
}

impl LeafRequest {
    /// Makes a key and signs the certificate with that same key: nobody vouches for it.
    pub fn self_signed(&self) -> Result<Leaf, IssueError> {
        let key = KeyKind::default().generate()?;
        let certificate = self.parameters()?.self_signed(&key)?;
        Leaf::from_pem(certificate.pem(), PrivateKey::from_der(key.serialized_der())?)
    }

    pub(crate) fn parameters(&self) -> Result<CertificateParams, IssueError> {
        let mut parameters = CertificateParams::default();
        parameters.serial_number = Some(random_serial()?);
        parameters.not_before = self.not_before;
        parameters.not_after = self.not_after;
        parameters.distinguished_name = DistinguishedName::new();
        parameters.distinguished_name.push(DnType::OrganizationName, ORGANIZATION);
        if let Some(unit) = &self.organizational_unit {
            parameters.distinguished_name.push(DnType::OrganizationalUnitName, unit.as_str());
        }
        parameters.distinguished_name.push(DnType::CommonName, self.common_name.as_str());
        for uri in &self.uris {
            parameters.subject_alt_names.push(SanType::URI(uri.as_str().try_into()?));
        }
        for host in &self.hosts {
            parameters.subject_alt_names.push(match host {
                Host::Dns(name) => SanType::DnsName(name.as_str().try_into()?),
                Host::Ip(address) => SanType::IpAddress(*address),
            });
        }
        parameters.is_ca =
            if self.authority { IsCa::Ca(BasicConstraints::Unconstrained) } else { IsCa::ExplicitNoCa };
        parameters.use_authority_key_identifier_extension = true;
        parameters.extended_key_usages = self.purposes.iter().map(|purpose| purpose.written()).collect();
        parameters.key_usages = self.key_usages.iter().map(|usage| usage.written()).collect();
        Ok(parameters)
    }
}

impl Purpose {
    fn written(self) -> ExtendedKeyUsagePurpose {
        match self {
            Self::ServerAuth => ExtendedKeyUsagePurpose::ServerAuth,
            Self::ClientAuth => ExtendedKeyUsagePurpose::ClientAuth,
            Self::CodeSigning => ExtendedKeyUsagePurpose::CodeSigning,
        }
    }
}

impl KeyUsage {
    fn written(self) -> KeyUsagePurpose {
        match self {
            Self::DigitalSignature => KeyUsagePurpose::DigitalSignature,
            Self::KeyCertSign => KeyUsagePurpose::KeyCertSign,
            Self::CrlSign => KeyUsagePurpose::CrlSign,
        }
    }
}

/// 20 octets, the longest that RFC 5280 §4.1.2.2 allows: the top bit is clear, so that the number is positive,
/// and the next one set, so that it is never shorter and never zero. 158 random bits need no counter to be unique.
pub(crate) fn random_serial() -> Result<SerialNumber, IssueError> {
    let mut octets = [0; 20];
    aws_lc_rs::rand::fill(&mut octets).map_err(|_| IssueError::NoRandomness)?;
    octets[0] = octets[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&octets))
}

/// A certificate, the issuing CA behind it, and the private key.
#[derive(Debug, Clone)]
pub struct Leaf {
    chain_pem: String,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKey,
    facts: Certificate,
}

impl Leaf {
    /// Reads back what was written: the leaf first, then its issuers. The key is not compared.
    pub(crate) fn from_pem(chain_pem: String, key: PrivateKey) -> Result<Self, IssueError> {
        let chain: Vec<_> =
            CertificateDer::pem_slice_iter(chain_pem.as_bytes()).collect::<Result<_, pem::Error>>()?;
        let facts = Certificate::parse(chain.first().ok_or(IssueError::NoCertificate)?)?;
        Ok(Self { chain_pem, chain, key, facts })
    }

    /// The certificate and its issuing CA, PEM: what `curl --cert` takes.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.chain_pem
    }

    /// The certificate alone, PEM.
    #[must_use]
    pub(crate) fn own_pem(&self) -> &str {
        first_pem(&self.chain_pem)
    }

    /// The certificate and its issuing CA, DER, the leaf first.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// The private key.
    #[must_use]
    pub fn key(&self) -> &PrivateKey {
        &self.key
    }

    /// What the certificate says: serial, validity, names, key identifiers.
    #[must_use]
    pub fn facts(&self) -> &Certificate {
        &self.facts
    }

    /// SHA-256 of the certificate's DER.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.facts.fingerprint
    }

    /// Puts the key under a passphrase.
    pub(crate) fn lock(&mut self, passphrase: &Passphrase) -> Result<(), IssueError> {
        self.key = self.key.encrypted(passphrase)?;
        Ok(())
    }

    /// OU of the subject: a client's domain.
    #[must_use]
    pub fn unit(&self) -> Option<String> {
        let (_, subject) = X509Name::from_der(&self.facts.subject).ok()?;
        let unit = subject.iter_organizational_unit().next()?;
        unit.as_str().ok().map(str::to_owned)
    }

    /// The DNS and IP names in it: what a renewal of a service keeps.
    #[must_use]
    pub fn hosts(&self) -> Vec<Host> {
        let Ok((_, certificate)) = X509Certificate::from_der(&self.chain[0]) else { return Vec::new() };
        let names = certificate.extensions().iter().find_map(|one| match one.parsed_extension() {
            ParsedExtension::SubjectAlternativeName(names) => Some(&names.general_names),
            _ => None,
        });
        names.into_iter().flatten().filter_map(host).collect()
    }

    /// First second of validity.
    #[must_use]
    pub fn not_before(&self) -> OffsetDateTime {
        from_unix(self.facts.validity.not_before)
    }

    /// Last second of validity.
    #[must_use]
    pub fn not_after(&self) -> OffsetDateTime {
        from_unix(self.facts.validity.not_after)
    }
}

/// The first block of a PEM text, with its line end.
pub(crate) fn first_pem(text: &str) -> &str {
    const END: &str = "-----END CERTIFICATE-----\n";
    text.find(END).map_or(text, |at| &text[..at + END.len()])
}

fn host(name: &GeneralName<'_>) -> Option<Host> {
    match name {
        GeneralName::DNSName(name) => Some(Host::Dns((*name).to_owned())),
        GeneralName::IPAddress(octets) => match octets.len() {
            4 => Some(Host::Ip(IpAddr::from(<[u8; 4]>::try_from(*octets).ok()?))),
            16 => Some(Host::Ip(IpAddr::from(<[u8; 16]>::try_from(*octets).ok()?))),
            _ => None,
        },
        _ => None,
    }
}
