//! Verifying whoever connects to a door.
//!
//! In: the chain of a TLS handshake. Out: a [`Peer`], handed to the task that runs the handshake.
//! Refused, by a TLS alert: no certificate, a chain beyond its bounds, no path to the door's bundle, a leaf for another purpose;
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

use super::{ChainLimits, Peer, Purpose, TrustBundle, chain::check_chain, provider, verify_path};

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

/// What is asked about a peer whose path verified, before the handshake ends. A strict door asks when the peer has
/// proved to hold its key. Who shows another's certificate is not asked about: nothing is known of its holder by that.
#[derive(Clone)]
pub struct Gate(Arc<Judge>);

type Judge = dyn Fn(&Peer) -> Result<(), CertificateError> + Send + Sync;

impl Gate {
    /// A gate that asks `judge`, which must answer from memory. Leaves outside their validity are asked about too,
    /// so that their refusal can be noted; they are refused whatever it answers.
    pub fn new(judge: impl Fn(&Peer) -> Result<(), CertificateError> + Send + Sync + 'static) -> Self {
        Self(Arc::new(judge))
    }

    pub(super) fn ask(&self, peer: &Peer) -> Result<(), Error> {
        Ok((self.0)(peer)?)
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
    purpose: Purpose,
    gate: Option<Gate>,
    limits: ChainLimits,
    provider: Arc<CryptoProvider>,
}

impl ClientVerifier {
    /// A verifier for one bundle.
    #[must_use]
    pub fn new(bundle: Arc<TrustBundle>, handshake: Handshake) -> Self {
        let limits = ChainLimits::default();
        Self { bundle, handshake, purpose: Purpose::Client, gate: None, limits, provider: provider() }
    }

    /// Believes leaves without any extended key usage too, which every CA's own rules must make up for.
    #[must_use]
    pub fn unsafe_missing_eku(self, accepted: bool) -> Self {
        Self { purpose: if accepted { Purpose::ClientOrUnstated } else { Purpose::Client }, ..self }
    }

    /// Holds chains to these bounds.
    #[must_use]
    pub fn with_limits(self, limits: ChainLimits) -> Self {
        Self { limits, ..self }
    }

    /// Asks a gate too, in strict mode.
    #[must_use]
    pub fn with_gate(self, gate: Gate) -> Self {
        Self { gate: Some(gate), ..self }
    }

    /// Verifies a presented chain, leaf first.
    pub fn verify(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Result<Peer, Error> {
        let (leaf, intermediates) = chain.split_first().ok_or(Error::NoCertificatesPresented)?;
        let peer = self.verify_presented(leaf, intermediates, now)?;
        self.ask_gate(&peer)?;
        Ok(peer)
    }

    fn verify_presented(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Peer, Error> {
        let chain: Vec<_> = std::iter::once(leaf).chain(intermediates).collect();
        check_chain(&chain, &self.limits)?;
        let explain = self.handshake == Handshake::Explain || self.gate.is_some();
        verify_path(&self.bundle, leaf, intermediates, now, self.purpose, explain)
    }

    fn ask_gate(&self, peer: &Peer) -> Result<(), Error> {
        let Some(gate) = self.gate.as_ref().filter(|_| self.handshake == Handshake::Strict) else {
            return Ok(());
        };
        gate.ask(peer)?;
        if peer.path.explain_only {
            return Err(CertificateError::Expired.into());
        }
        Ok(())
    }

    /// Asks about the peer of this handshake, whose signature has just verified.
    fn ask_gate_about_holder(&self) -> Result<(), Error> {
        let asked = VERIFIED.try_with(|slot| match &*slot.borrow() {
            Some(peer) => self.ask_gate(peer),
            // rustls verifies the chain before the signature; were it otherwise, nobody is let in.
            None => Err(CertificateError::ApplicationVerificationFailure.into()),
        });
        // Outside `with_verified_peer` it was asked with the chain.
        asked.unwrap_or(Ok(()))
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
        if VERIFIED.try_with(|_| ()).is_err() {
            self.ask_gate(&peer)?;
        }
        // Outside `with_verified_peer` nobody wants the peer.
        let _ = VERIFIED.try_with(|slot| slot.replace(Some(peer)));
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        let valid = verify_tls12_signature(message, cert, dss, algorithms)?;
        self.ask_gate_about_holder()?;
        Ok(valid)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        let valid = verify_tls13_signature(message, cert, dss, algorithms)?;
        self.ask_gate_about_holder()?;
        Ok(valid)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
