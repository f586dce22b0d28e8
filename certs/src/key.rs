//! Which kinds of key a certificate may have, and where a new certificate's key comes from.
//!
//! In: a kind, a key that exists, or a signing request (PKCS#10, RFC 2986). Out: what an issuer signs a certificate
//! for. Refused: a request that is not signed with its own key, and keys that are weak or that TLS here does not use.
//! Of a request only the public key is taken: what the certificate says is the authority's to decide.

use clap::ValueEnum;
use rcgen::{
    KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PKCS_RSA_SHA256, PublicKeyData, RsaKeySize,
    SubjectPublicKeyInfo,
};
use rustls_pki_types::{CertificateSigningRequestDer, pem::PemObject};
use x509_parser::{
    certification_request::X509CertificationRequest, prelude::FromDer, public_key::PublicKey,
    x509::SubjectPublicKeyInfo as ParsedKey,
};

use crate::{IssueError, PrivateKey};

/// A kind of key, as `--key` names it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum KeyKind {
    /// ECDSA P-256: three times the handshakes per second of RSA-2048.
    #[default]
    #[value(name = "ecdsa-p256")]
    EcdsaP256,
    /// RSA, 2048 bits.
    #[value(name = "rsa-2048")]
    Rsa2048,
    /// RSA, 3072 bits.
    #[value(name = "rsa-3072")]
    Rsa3072,
    /// RSA, 4096 bits.
    #[value(name = "rsa-4096")]
    Rsa4096,
    /// Ed25519; neither Schannel nor Java before 15 can use it.
    Ed25519,
}

/// Where the key of a new certificate comes from.
#[derive(Debug, Clone)]
pub enum KeySource {
    /// A new one is made.
    New(KeyKind),
    /// This one, in clear.
    Given(PrivateKey),
    /// Its holder keeps it; this is the public half (`SubjectPublicKeyInfo`, DER).
    Elsewhere(Vec<u8>),
}

impl Default for KeySource {
    fn default() -> Self {
        Self::New(KeyKind::default())
    }
}

impl KeyKind {
    pub(crate) fn generate(self) -> Result<KeyPair, IssueError> {
        let rsa = |size| KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, size);
        let key = match self {
            Self::EcdsaP256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
            Self::Rsa2048 => rsa(RsaKeySize::_2048),
            Self::Rsa3072 => rsa(RsaKeySize::_3072),
            Self::Rsa4096 => rsa(RsaKeySize::_4096),
            Self::Ed25519 => KeyPair::generate_for(&PKCS_ED25519),
        };
        Ok(key?)
    }

    /// The kind of a public key (`SubjectPublicKeyInfo`, DER), if it is one of these.
    #[must_use]
    pub fn of(public_key: &[u8]) -> Option<Self> {
        let (_, key) = ParsedKey::from_der(public_key).ok()?;
        match (key.parsed(), key.algorithm.algorithm.to_id_string().as_str()) {
            (_, ED25519) => Some(Self::Ed25519),
            (Ok(PublicKey::EC(point)), _) if point.key_size() == 256 => Some(Self::EcdsaP256),
            (Ok(PublicKey::RSA(key)), _) => match key.key_size() {
                2048 => Some(Self::Rsa2048),
                3072 => Some(Self::Rsa3072),
                4096 => Some(Self::Rsa4096),
                _ => None,
            },
            _ => None,
        }
    }
}

/// RFC 8410.
const ED25519: &str = "1.3.101.112";

impl KeySource {
    /// The public key of a signing request, PEM or DER. Refuses one whose signature is not of that key: nobody has
    /// shown then that the holder has the private half.
    pub fn request(file: &[u8]) -> Result<Self, IssueError> {
        let der = if file.starts_with(&[0x30]) {
            CertificateSigningRequestDer::from(file.to_vec())
        } else {
            CertificateSigningRequestDer::from_pem_slice(file)
                .map_err(|_| IssueError::Request("it holds no CERTIFICATE REQUEST in PEM or DER"))?
        };
        let malformed = IssueError::Request("it is damaged, or no PKCS#10 request");
        let Ok((rest, request)) = X509CertificationRequest::from_der(&der) else { return Err(malformed) };
        if !rest.is_empty() {
            return Err(malformed);
        }
        let key = &request.certification_request_info.subject_pki;
        check_strength(key)?;
        let unsigned = "it is not signed with its own key: make it again, with the key that the client has";
        request.verify_signature().map_err(|_| IssueError::Request(unsigned))?;
        Ok(Self::Elsewhere(key.raw.to_vec()))
    }

    /// What is signed for, and the key to hand out.
    pub(crate) fn resolve(&self) -> Result<(SubjectPublicKeyInfo, PrivateKey), IssueError> {
        let (public, private) = match self {
            Self::New(kind) => pair(&kind.generate()?)?,
            Self::Given(key) => pair(&KeyPair::from_pem(key.pem())?)?,
            Self::Elsewhere(public) => (public.clone(), PrivateKey::elsewhere()),
        };
        Ok((SubjectPublicKeyInfo::from_der(&public)?, private))
    }
}

fn pair(key: &KeyPair) -> Result<(Vec<u8>, PrivateKey), IssueError> {
    Ok((key.subject_public_key_info(), PrivateKey::from_der(key.serialized_der())?))
}

/// The keys that every peer of ours verifies: RSA of 2048 to 4096 bits, ECDSA P-256 and P-384, Ed25519.
fn check_strength(key: &ParsedKey<'_>) -> Result<(), IssueError> {
    let good = match key.parsed() {
        Ok(PublicKey::RSA(rsa)) => {
            let exponent = rsa.try_exponent().unwrap_or(0);
            (2048..=4096).contains(&rsa.key_size()) && exponent >= 65_537 && exponent % 2 == 1
        }
        Ok(PublicKey::EC(point)) => matches!(point.key_size(), 256 | 384),
        _ => key.algorithm.algorithm.to_id_string() == ED25519,
    };
    let weak =
        "its key is of a kind that is not accepted: RSA of 2048 to 4096 bits, ECDSA P-256 or P-384, Ed25519";
    if good { Ok(()) } else { Err(IssueError::Request(weak)) }
}
