//! A verifier that remembers what the server showed, and refuses exactly what a client refuses.
//!
//! Path and name are judged each for itself, so that both can be told; rustls would stop at the first.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::{
    CertificateError, DigitallySignedStruct, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use webpki::{EndEntityCert, KeyUsage};

use super::certificate::{anchors, path};

/// What a server showed of itself.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    /// The leaf first.
    pub(super) chain: Vec<CertificateDer<'static>>,
    /// Whether it leads to a CA that the client believes, now.
    pub(super) trust: Result<(), webpki::Error>,
    /// Whether it has the name in the URL.
    pub(super) name: Result<(), webpki::Error>,
}

/// Judges and remembers.
#[derive(Debug)]
pub(super) struct Observer {
    roots: Vec<CertificateDer<'static>>,
    seen: Mutex<Option<Seen>>,
    provider: Arc<CryptoProvider>,
}

impl Observer {
    pub(super) fn new(roots: Vec<CertificateDer<'static>>) -> Self {
        Self { roots, seen: Mutex::new(None), provider: shared::tls::provider() }
    }

    /// What the server showed; `None` if it did not come to that.
    pub(super) fn seen(&self) -> Option<Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ServerCertVerifier for Observer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let sent = [end_entity].into_iter().chain(intermediates);
        let chain: Vec<_> = sent.map(|der| der.clone().into_owned()).collect();
        let trust = path(&chain, &anchors(&self.roots), KeyUsage::server_auth(), now);
        let name = EndEntityCert::try_from(end_entity)
            .and_then(|leaf| leaf.verify_is_valid_for_subject_name(server_name));
        let refused = match (&trust, &name) {
            (Ok(()), Ok(())) => None,
            (Err(_), _) => Some(CertificateError::UnknownIssuer),
            (_, Err(_)) => Some(CertificateError::NotValidForName),
        };
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(Seen { chain, trust, name });
        refused.map_or(Ok(ServerCertVerified::assertion()), |reason| Err(Error::InvalidCertificate(reason)))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
