//! One certificate authority: its certificate and, unless it was taken away, its key.
//!
//! In: requests for leaves, issuing CAs and revocation lists. Out: what was asked for, signed. Refused: signing
//! without the key or its passphrase, and a key that does not belong to the certificate.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType, IsCa,
    KeyIdMethod, KeyPair, KeyUsagePurpose, PublicKeyData, RevokedCertParams, SerialNumber,
};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use shared::identity::Certificate;
use time::OffsetDateTime;

use crate::{
    IssueError, KeyKind, KeySource, PrivateKey, RevocationList, Revoked, RevokedReason,
    credentials::Passphrase,
    leaf::{Leaf, LeafRequest, ORGANIZATION, random_serial},
};

/// A CA that signs leaves, issuing CAs and its own revocation list.
#[derive(Debug)]
pub struct Issuer {
    title: &'static str,
    certificate_pem: String,
    certificate: CertificateDer<'static>,
    facts: Certificate,
    key: CaKey,
}

/// The key of a CA, as far as it is at hand.
#[derive(Debug)]
enum CaKey {
    /// Kept elsewhere.
    Absent,
    /// Here, under a passphrase.
    Locked(PrivateKey),
    /// Ready to sign.
    Open(Box<rcgen::Issuer<'static, KeyPair>>, PrivateKey),
}

/// What a new CA is: its common name, its validity, how many CAs may stand between it and a leaf.
pub(crate) struct NewCa {
    pub(crate) title: &'static str,
    pub(crate) common_name: &'static str,
    pub(crate) not_before: OffsetDateTime,
    pub(crate) not_after: OffsetDateTime,
    pub(crate) path_length: Option<u8>,
}

impl NewCa {
    pub(crate) fn self_signed(&self) -> Result<Issuer, IssueError> {
        let key = KeyKind::default().generate()?;
        let certificate = self.parameters()?.self_signed(&key)?;
        Issuer::new(self.title, certificate.pem(), Some(PrivateKey::from_der(key.serialized_der())?))
    }

    fn parameters(&self) -> Result<CertificateParams, IssueError> {
        let mut parameters = CertificateParams::default();
        parameters.serial_number = Some(random_serial()?);
        parameters.not_before = self.not_before;
        parameters.not_after = self.not_after;
        parameters.distinguished_name = DistinguishedName::new();
        parameters.distinguished_name.push(DnType::OrganizationName, ORGANIZATION);
        parameters.distinguished_name.push(DnType::CommonName, self.common_name);
        parameters.is_ca =
            IsCa::Ca(self.path_length.map_or(BasicConstraints::Unconstrained, BasicConstraints::Constrained));
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        parameters.use_authority_key_identifier_extension = true;
        Ok(parameters)
    }
}

impl Issuer {
    /// `title` is what messages call it. Refused: a key of another certificate; of one under a passphrase that shows
    /// when it is unlocked.
    pub(crate) fn new(
        title: &'static str,
        certificate_pem: String,
        key: Option<PrivateKey>,
    ) -> Result<Self, IssueError> {
        let certificate = CertificateDer::from_pem_slice(certificate_pem.as_bytes())?;
        let facts = Certificate::parse(&certificate)?;
        let mut issuer = Self { title, certificate_pem, certificate, facts, key: CaKey::Absent };
        issuer.key = match key {
            None => CaKey::Absent,
            Some(key) if key.is_encrypted() => CaKey::Locked(key),
            Some(key) => issuer.open(key)?,
        };
        Ok(issuer)
    }

    fn open(&self, key: PrivateKey) -> Result<CaKey, IssueError> {
        let pair = KeyPair::from_pem(key.pem())?;
        if pair.subject_public_key_info() != self.facts.public_key {
            return Err(IssueError::KeyMismatch(self.title));
        }
        Ok(CaKey::Open(Box::new(rcgen::Issuer::from_ca_cert_der(&self.certificate, pair)?), key))
    }

    /// Whether the key is here, but under a passphrase.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        matches!(self.key, CaKey::Locked(_))
    }

    /// Opens a key that is under a passphrase; does nothing to one that is not.
    pub fn unlock(&mut self, passphrase: &Passphrase) -> Result<(), IssueError> {
        if let CaKey::Locked(locked) = &self.key {
            let key = locked.decrypted(passphrase)?.ok_or(IssueError::WrongPassphrase(self.title))?;
            self.key = self.open(key)?;
        }
        Ok(())
    }

    /// Puts the key under a passphrase; it signs nothing until it is unlocked again.
    pub fn lock(&mut self, passphrase: &Passphrase) -> Result<(), IssueError> {
        if let CaKey::Open(_, key) = &self.key {
            self.key = CaKey::Locked(key.encrypted(passphrase)?);
        }
        Ok(())
    }

    /// Makes a key and signs a certificate for it that says what `request` says, unchecked.
    pub fn sign(&self, request: &LeafRequest) -> Result<Leaf, IssueError> {
        self.sign_for(request, &KeySource::default())
    }

    /// As [`Issuer::sign`], for a key of this kind or one that exists.
    pub fn sign_for(&self, request: &LeafRequest, key: &KeySource) -> Result<Leaf, IssueError> {
        let signer = self.signer()?;
        let (public, private) = key.resolve()?;
        let certificate = request.parameters()?.signed_by(&public, signer)?;
        Leaf::from_pem(certificate.pem() + &self.certificate_pem, private)
    }

    pub(crate) fn sign_ca(&self, ca: &NewCa) -> Result<Self, IssueError> {
        let key = KeyKind::default().generate()?;
        let certificate = ca.parameters()?.signed_by(&key, self.signer()?)?;
        Self::new(ca.title, certificate.pem(), Some(PrivateKey::from_der(key.serialized_der())?))
    }

    /// Signs a revocation list (RFC 5280 §5: version 2, with its number and this key's identifier).
    /// `number` must be above that of the list before.
    pub fn sign_crl(
        &self,
        number: u64,
        this_update: OffsetDateTime,
        next_update: OffsetDateTime,
        revoked: &[Revoked],
    ) -> Result<RevocationList, IssueError> {
        let parameters = CertificateRevocationListParams {
            this_update,
            next_update,
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(entry).collect(),
            key_identifier_method: self
                .facts
                .key_id
                .clone()
                .map_or(KeyIdMethod::Sha256, KeyIdMethod::PreSpecified),
        };
        let crl = parameters.signed_by(self.signer()?)?;
        Ok(RevocationList::from_pem(crl.pem()?)?)
    }

    /// Signs the list that follows `current`: the next number, its entries and these, good for as long as it was.
    pub fn sign_next_crl(
        &self,
        current: &RevocationList,
        revoked: impl IntoIterator<Item = Revoked>,
    ) -> Result<RevocationList, IssueError> {
        let mut entries = current.revoked()?;
        for entry in revoked {
            // whoever is on the list stays there with the first reason and time
            if !entries.iter().any(|one| one.is_of(&entry.serial)) {
                entries.push(entry);
            }
        }
        let now = OffsetDateTime::now_utc();
        let next_update = now + (current.next_update - current.this_update);
        self.sign_crl(current.number + 1, now, next_update, &entries)
    }

    fn signer(&self) -> Result<&rcgen::Issuer<'static, KeyPair>, IssueError> {
        match &self.key {
            CaKey::Open(signer, _) => Ok(signer),
            CaKey::Locked(_) => Err(IssueError::KeyLocked(self.title)),
            CaKey::Absent => Err(IssueError::KeyAbsent(self.title)),
        }
    }

    /// What messages call this CA, such as "clients CA".
    #[must_use]
    pub fn title(&self) -> &'static str {
        self.title
    }

    /// The CA certificate, PEM.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The CA certificate, DER.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// What the CA certificate says.
    #[must_use]
    pub fn facts(&self) -> &Certificate {
        &self.facts
    }

    /// The CA's private key as it lies in its file, unless it is kept elsewhere.
    #[must_use]
    pub fn key(&self) -> Option<PrivateKey> {
        match &self.key {
            CaKey::Open(_, key) | CaKey::Locked(key) => Some(key.clone()),
            CaKey::Absent => None,
        }
    }
}

fn entry(revoked: &Revoked) -> RevokedCertParams {
    RevokedCertParams {
        serial_number: SerialNumber::from_slice(&revoked.serial),
        revocation_time: revoked.revoked_at,
        // RFC 5280 §5.3.1: rather absent than unspecified
        reason_code: (revoked.reason != RevokedReason::Unspecified).then_some(revoked.reason),
        invalidity_date: None,
    }
}
