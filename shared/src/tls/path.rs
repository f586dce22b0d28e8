//! Building a leaf's path to a trusted CA.
//!
//! In: a bundle, a leaf, the certificates sent with it, the time. Out: the verified path. Refused: every
//! leaf without one.
//!
//! # Explaining instead of alerting
//!
//! A leaf outside its validity may be *explained* (its requests are answered 403 with a reason) only if
//! everything else about it verifies. webpki checks validity **before any signature**, so its `Expired`
//! says nothing about the path: accepting on it would admit forged, self-signed leaves. Therefore the
//! path is built a second time at a moment inside the leaf's own validity; every CA on it is checked at
//! the real time; and the path is marked [`VerifiedPath::explain_only`], which nothing may admit, not
//! even when the clock later reaches the leaf's validity.

use std::{cell::RefCell, sync::Arc, time::Duration};

use rustls::Error;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage};

use super::{Peer, TrustBundle, error::rustls_error, provider};
use crate::identity::{Certificate, Judged, Validity};

/// The CAs between a leaf and its trust anchor.
#[derive(Debug, Clone)]
pub struct VerifiedPath {
    /// From the leaf's issuer up to the anchor, which is the last and always there.
    pub authorities: Vec<Arc<Certificate>>,
    /// The path was built outside the leaf's validity: its holder may be told why, never admitted.
    pub explain_only: bool,
}

/// What the leaf is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// It connects to us: extended key usage clientAuth, required to be present.
    Client,
    /// It connects to us, and may be without any extended key usage, by which RFC 5280 §4.2.1.12 allows every
    /// purpose. One that is present must name clientAuth all the same.
    ClientOrUnstated,
    /// We connect to it: extended key usage serverAuth.
    Server,
}

/// Builds the path of a leaf; the chain was held to its bounds before ([`super::check_chain`]). With `explain`, a leaf outside its own validity gets a path too, marked so.
pub fn verify_path(
    bundle: &TrustBundle,
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    now: UnixTime,
    purpose: Purpose,
    explain: bool,
) -> Result<Peer, Error> {
    let end_entity = EndEntityCert::try_from(leaf).map_err(rustls_error)?;
    let certificate = Certificate::parse(leaf).map_err(|_| rustls_error(webpki::Error::BadDer))?;
    let attempt = Attempt { bundle, end_entity: &end_entity, intermediates, now, purpose };
    let (authorities, explain_only) = match attempt.at(now) {
        Ok(authorities) => (authorities, false),
        Err(error) => match inside(certificate.validity, now) {
            Some(moment) if explain => (attempt.at(moment).map_err(rustls_error)?, true),
            _ => return Err(rustls_error(error)),
        },
    };
    check_leaf(&certificate, purpose)?;
    Ok(Peer { certificate, path: VerifiedPath { authorities, explain_only } })
}

/// The moment nearest to `now` inside a validity that `now` is outside of.
fn inside(validity: Validity, now: UnixTime) -> Option<UnixTime> {
    let seconds = match validity.judge(now) {
        Judged::Valid => return None,
        Judged::NotYetValid => validity.not_before,
        Judged::Expired => validity.not_after,
    };
    Some(UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(seconds).ok()?)))
}

struct Attempt<'a> {
    bundle: &'a TrustBundle,
    end_entity: &'a EndEntityCert<'a>,
    intermediates: &'a [CertificateDer<'a>],
    now: UnixTime,
    purpose: Purpose,
}

impl Attempt<'_> {
    /// Builds the path with the leaf judged at `moment` and every CA judged at the real time.
    fn at(&self, moment: UnixTime) -> Result<Vec<Arc<Certificate>>, webpki::Error> {
        let usage = match self.purpose {
            Purpose::Client | Purpose::ClientOrUnstated => KeyUsage::client_auth(),
            Purpose::Server => KeyUsage::server_auth(),
        };
        let found = RefCell::new(Vec::new());
        // Called for each candidate path; an error makes webpki try the next one.
        let check = |path: &webpki::VerifiedPath<'_>| {
            let mut authorities = Vec::new();
            for intermediate in path.intermediate_certificates() {
                let der = intermediate.der();
                authorities.push(Arc::new(Certificate::parse(&der).map_err(|_| webpki::Error::BadDer)?));
            }
            authorities.push(self.anchor(path.anchor())?);
            authorities.iter().try_for_each(|ca| self.judge(ca))?;
            found.replace(authorities);
            Ok(())
        };
        let algorithms = provider().signature_verification_algorithms.all;
        self.end_entity.verify_for_usage(
            algorithms,
            &self.bundle.anchors,
            self.intermediates,
            moment,
            usage,
            None,
            Some(&check),
        )?;
        Ok(found.into_inner())
    }

    fn anchor(&self, anchor: &TrustAnchor<'_>) -> Result<Arc<Certificate>, webpki::Error> {
        self.bundle.authority_of(anchor, self.now).cloned().ok_or(webpki::Error::UnknownIssuer)
    }

    fn judge(&self, ca: &Certificate) -> Result<(), webpki::Error> {
        let at =
            |seconds| UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)));
        match ca.validity.judge(self.now) {
            Judged::Valid => Ok(()),
            Judged::Expired => {
                Err(webpki::Error::CertExpired { time: self.now, not_after: at(ca.validity.not_after) })
            }
            Judged::NotYetValid => {
                Err(webpki::Error::CertNotValidYet { time: self.now, not_before: at(ca.validity.not_before) })
            }
        }
    }
}

/// What webpki lets pass: a client leaf without any extended key usage, and leaves that may sign certificates.
fn check_leaf(leaf: &Certificate, purpose: Purpose) -> Result<(), Error> {
    if purpose == Purpose::Client && !leaf.client_auth {
        return Err(rustls_error(webpki::Error::EmptyEkuExtension));
    }
    if leaf.authority.is_some() || leaf.signs_certificates {
        return Err(rustls_error(webpki::Error::CaUsedAsEndEntity));
    }
    Ok(())
}
