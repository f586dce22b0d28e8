//! Verifying the service that we connect to: its path, its name *and* its role.
//!
//! The name alone would let any service certificate for the same host, a worker's on the same machine,
//! pose as a main server.

use std::{fmt, sync::Arc};

use rustls::{
    CertificateError, DigitallySignedStruct, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use webpki::EndEntityCert;

use super::{
    ChainLimits, Gate, Peer, Purpose, TrustBundle, chain::check_chain, error::rustls_error, provider,
    verify_path,
};
use crate::identity::{Role, Workload};

/// Verifies servers against one bundle and one role.
pub struct ServerVerifier {
    bundle: Arc<TrustBundle>,
    role: Role,
    gate: Option<Gate>,
    note: Option<Box<Note>>,
    provider: Arc<CryptoProvider>,
}

type Note = dyn Fn(Peer) + Send + Sync;

impl fmt::Debug for ServerVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerVerifier").field("role", &self.role).finish_non_exhaustive()
    }
}

impl ServerVerifier {
    /// A verifier that accepts services of one role.
    #[must_use]
    pub fn new(bundle: Arc<TrustBundle>, role: Role) -> Self {
        Self { bundle, role, gate: None, note: None, provider: provider() }
    }

    /// Asks a gate about every server whose path, name and role verify.
    #[must_use]
    pub fn with_gate(self, gate: Gate) -> Self {
        Self { gate: Some(gate), ..self }
    }

    /// Hands every server that is believed on, for whoever judges open connections.
    #[must_use]
    pub fn noting(self, note: impl Fn(Peer) + Send + Sync + 'static) -> Self {
        Self { note: Some(Box::new(note)), ..self }
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain: Vec<_> = std::iter::once(end_entity).chain(intermediates).collect();
        check_chain(&chain, &ChainLimits::default())?;
        let peer = verify_path(&self.bundle, end_entity, intermediates, now, Purpose::Server, false)?;
        EndEntityCert::try_from(end_entity)
            .and_then(|leaf| leaf.verify_is_valid_for_subject_name(server_name))
            .map_err(rustls_error)?;
        match peer.certificate.spiffe.as_ref().map(|id| &id.workload) {
            Some(Workload::Service(role, _)) if *role == self.role => {}
            _ => return Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)),
        }
        if let Some(gate) = &self.gate {
            gate.ask(&peer)?;
        }
        if let Some(note) = &self.note {
            note(peer);
        }
        Ok(ServerCertVerified::assertion())
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
