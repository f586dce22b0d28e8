//! Which certificates are believed.
//!
//! In: trust bundles, identities, the chains that peers present. Out: a [`Peer`] whose path to a trusted
//! CA was verified, and rustls configurations for both ends. Refused: every chain whose path does not
//! verify, at the handshake, by an alert. *Whether a believed peer may speak is not decided here.*

mod files;
mod bundle;
mod chain;
mod path;
mod error;
mod client_verifier;
mod server_verifier;
mod config;
mod own_certificate;
pub mod crl;

use std::sync::Arc;

use crate::identity::Certificate;

pub use bundle::{BundleKind, TrustBundle};
pub use chain::{ChainFault, ChainLimits, check_chain};
pub use client_verifier::{ClientVerifier, Gate, Handshake, with_verified_peer};
pub use config::{
    DoorTls, Identity, Protocols, client_config, client_config_with, door_tls, plain_client_config,
};
pub use files::TlsFileError;
pub use own_certificate::{OwnCertificates, ends};
pub use path::{Purpose, VerifiedPath, verify_path};
pub use server_verifier::ServerVerifier;

/// The other end of a connection: its certificate, and the path that was verified for it.
#[derive(Debug)]
pub struct Peer {
    /// The leaf's facts.
    pub certificate: Certificate,
    /// The verified path above it.
    pub path: VerifiedPath,
}

/// The only crypto provider: aws-lc-rs.
#[must_use]
pub fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    use std::sync::OnceLock;
    static PROVIDER: OnceLock<Arc<rustls::crypto::CryptoProvider>> = OnceLock::new();
    PROVIDER.get_or_init(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider())).clone()
}
