//! A trust bundle: the CAs that one door believes.
//!
//! In: a PEM file of any number of CA certificates. Out: trust anchors, with the facts that rustls does
//! not keep of them. Refused at load, naming file and certificate: what is no CA, expired, not yet
//! valid, may not sign, or holds a critical extension that nobody here understands — rustls would use
//! the name and key of any of them.

use std::{path::Path, sync::Arc};

use rustls::DistinguishedName;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};

use super::{
    VerifiedPath,
    files::{TlsFileError, read_certificates},
};
use crate::identity::{Certificate, Judged};

/// What a bundle may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BundleKind {
    /// Any CA, a root as well.
    AnyAuthority,
    /// CAs that issue leaves only (pathLen 0). With a root in the bundle of a service door, by habit,
    /// the leaves of *every* CA below it, clients included, would chain.
    IssuingOnly,
}

/// The CAs that one door believes.
#[derive(Debug)]
pub struct TrustBundle {
    pub(super) anchors: Vec<TrustAnchor<'static>>,
    authorities: Vec<Arc<Certificate>>,
    subjects: Vec<DistinguishedName>,
}

impl TrustBundle {
    /// Reads and checks a PEM file.
    pub fn read(file: &Path, kind: BundleKind) -> Result<Self, TlsFileError> {
        let mut bundle = Self { anchors: Vec::new(), authorities: Vec::new(), subjects: Vec::new() };
        for (index, der) in read_certificates(file)?.iter().enumerate() {
            bundle.add(der, kind, UnixTime::now()).map_err(|text| TlsFileError::NoAnchor {
                file: file.to_owned(),
                index: index + 1,
                text,
            })?;
        }
        Ok(bundle)
    }

    fn add(&mut self, der: &CertificateDer<'_>, kind: BundleKind, now: UnixTime) -> Result<(), String> {
        let certificate = Certificate::parse(der).map_err(|error| error.to_string())?;
        check_anchor(&certificate, kind, now)?;
        let anchor = webpki::anchor_from_trusted_cert(der).map_err(|error| error.to_string())?.to_owned();
        self.subjects.push(DistinguishedName::from(certificate.subject.clone()));
        self.anchors.push(anchor);
        self.authorities.push(Arc::new(certificate));
        Ok(())
    }

    /// The CAs' facts, in the order of the file.
    #[must_use]
    pub fn authorities(&self) -> &[Arc<Certificate>] {
        &self.authorities
    }

    /// The CAs' names, which a server hints at in its certificate request.
    pub(super) fn subjects(&self) -> &[DistinguishedName] {
        &self.subjects
    }

    /// The CA behind an anchor. A renewed CA certificate may stand beside the old one with the same name
    /// and key: one that is valid now is preferred.
    pub(super) fn authority_of(&self, anchor: &TrustAnchor<'_>, now: UnixTime) -> Option<&Arc<Certificate>> {
        let same = || self.anchors.iter().zip(&self.authorities).filter(|(one, _)| *one == anchor);
        same()
            .find(|(_, ca)| ca.validity.judge(now) == Judged::Valid)
            .or_else(|| same().next())
            .map(|(_, ca)| ca)
    }

    /// Whether a path that was verified earlier still leads to this bundle. Each CA on it was seen to vouch for
    /// what is below it, so it is enough that one of them is an anchor here, by name and key.
    #[must_use]
    pub fn trusts(&self, path: &VerifiedPath) -> bool {
        let is_anchor = |one: &Certificate| {
            self.authorities.iter().any(|ca| ca.subject == one.subject && ca.public_key == one.public_key)
        };
        path.authorities.iter().any(|one| is_anchor(one))
    }
}

fn check_anchor(certificate: &Certificate, kind: BundleKind, now: UnixTime) -> Result<(), String> {
    let Some(path_length) = certificate.authority else {
        return Err("is not a CA (no basicConstraints CA:TRUE): put CA certificates here, not leaves".into());
    };
    if !certificate.signs_certificates {
        return Err("its keyUsage does not allow signing certificates (keyCertSign)".into());
    }
    if kind == BundleKind::IssuingOnly && path_length != Some(0) {
        return Err("is not an issuing CA (pathLen 0): trust services-ca.crt here, never the root".into());
    }
    if let Some(oid) = &certificate.unknown_critical_extension {
        return Err(format!("has a critical extension that is not understood ({oid})"));
    }
    match certificate.validity.judge(now) {
        Judged::Valid => Ok(()),
        Judged::Expired => Err("has expired".into()),
        Judged::NotYetValid => Err("is not valid yet: is this machine's clock right?".into()),
    }
}
