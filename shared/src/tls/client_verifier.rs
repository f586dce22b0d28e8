//! Verifying whoever connects to a door.
//!
//! In: the chain of a TLS handshake. Out: a [`Peer`], handed to the task that runs the handshake.
//! Refused, by a TLS alert: no certificate, no path to the door's bundle, a leaf for another purpose;
//! in strict mode also a leaf outside its validity, and whatever the door's [`Gate`] refuses.

use std::{cell::RefCell, fmt, future::Future, sync::Arc};

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};
use rustls_pki_types::{CertificateDer, UnixTime};
use serde::Deserialize;

use super::{Peer, Purpose, TrustBundle, provider, verify_path};

/// How a door tells a holder of one of its CAs' certificates that it is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Handshake {
    /// Complete the handshake and answer every request 403 with the reason.
    Explain,
    /// A TLS alert, as early as it is known; no resumption.
    Strict,
}

tokio::task_local! {
    /// Where the verifier, which rustls calls deep inside the handshake, leaves what it verified.
    static VERIFIED: RefCell<Option<Peer>>;
}

/// Runs a handshake; beside its result, the peer that was verified in it. None for a resumed session:
/// rustls does not call the verifier then, and the caller must verify the chain itself.
pub async fn with_verified_peer<F: Future>(handshake: F) -> (F::Output, Option<Peer>) {
    VERIFIED
        .scope(RefCell::new(None), async {
            let output = handshake.await;
            let peer = VERIFIED.with(|slot| slot.borrow_mut().take());
            (output, peer)
        })
        .await
}

/// What a strict door asks about a peer whose path verified, before the handshake ends.
#[derive(Clone)]
pub struct Gate(Arc<Judge>);

type Judge = dyn Fn(&Peer) -> Result<(), CertificateError> + Send + Sync;

impl Gate {
    /// A gate that asks `judge`, which must answer from memory.
    pub fn new(judge: impl Fn(&Peer) -> Result<(), CertificateError> + Send + Sync + 'static) -> Self {
        Self(Arc::new(judge))
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gate")
    }
}

/// Verifies clients against one bundle.
#[derive(Debug)]
pub struct ClientVerifier {
    bundle: Arc<TrustBundle>,
    handshake: Handshake,
    gate: Option<Gate>,
    provider: Arc<CryptoProvider>,
}

impl ClientVerifier {
    /// A verifier for one bundle.
    #[must_use]
    pub fn new(bundle: Arc<TrustBundle>, handshake: Handshake) -> Self {
        Self { bundle, handshake, gate: None, provider: provider() }
    }

    /// Asks a gate too, in strict mode.
    #[must_use]
    pub fn with_gate(self, gate: Gate) -> Self {
        Self { gate: Some(gate), ..self }
    }

    /// Verifies a presented chain, leaf first.
    pub fn verify(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Result<Peer, Error> {
        let (leaf, intermediates) = chain.split_first().ok_or(Error::NoCertificatesPresented)?;
        self.verify_presented(leaf, intermediates, now)
    }

    fn verify_presented(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Peer, Error> {
        let explain = self.handshake == Handshake::Explain;
        let peer = verify_path(&self.bundle, leaf, intermediates, now, Purpose::Client, explain)?;
        match &self.gate {
            Some(Gate(judge)) if !explain => judge(&peer)?,
            _ => {}
        }
        Ok(peer)
    }

    pub(super) fn handshake(&self) -> Handshake {
        self.handshake
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.bundle.subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let peer = self.verify_presented(end_entity, intermediates, now)?;
        // Outside `with_verified_peer` nobody wants the peer; the verdict is the same.
        let _ = VERIFIED.try_with(|slot| slot.replace(Some(peer)));
        Ok(ClientCertVerified::assertion())
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
