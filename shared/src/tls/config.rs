//! rustls configurations, the only ones in the tree.
//!
//! In: files. Out: a [`DoorTls`] for whoever listens, a `ClientConfig` for whoever connects. TLS 1.3 and
//! 1.2, post-quantum key exchange first, no 0-RTT, no key log.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    client::Resumption,
    server::{NoServerSessionStorage, ServerSessionMemoryCache},
    sign::{CertifiedKey, SingleCertAndKey},
};
use rustls_pki_types::UnixTime;
use serde::Deserialize;

use super::{
    ClientVerifier, Handshake, ServerVerifier, TlsFileError, TrustBundle,
    files::{read_certificates, read_key},
    own_certificate, provider,
};
use crate::{config::Source, identity::Role};

/// Sessions that one door remembers for resumption.
const RESUMABLE_SESSIONS: usize = 4_096;

/// Our own certificate and its key, for the tables that name them.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Identity {
    /// PEM: the leaf and the CAs between it and the root.
    pub certificate: PathBuf,
    /// PEM, not encrypted; readable by this process alone.
    pub key: PathBuf,
}

impl Identity {
    /// Resolves both paths against the configuration file.
    pub fn resolve(&mut self, table: &str, source: &mut Source) {
        source.require_file(&format!("{table}.certificate"), &mut self.certificate);
        source.require_file(&format!("{table}.key"), &mut self.key);
    }

    /// Refuses a certificate that nobody would believe now. One that is in force is better than that; at the start there
    /// is none.
    pub fn check_dates(&self) -> Result<(), TlsFileError> {
        own_certificate::check_dates(&*self.load()?, UnixTime::now())
            .map_err(|text| TlsFileError::Identity { file: self.certificate.clone(), text })
    }

    /// Reads both files and checks that they belong together.
    pub fn load(&self) -> Result<Arc<CertifiedKey>, TlsFileError> {
        let chain = read_certificates(&self.certificate)?;
        let key = read_key(&self.key)?;
        let certified = CertifiedKey::from_der(chain, key, &provider()).map_err(|error| {
            let key = self.key.display();
            TlsFileError::Identity {
                file: self.certificate.clone(),
                text: format!("does not go with the key {key}: {error}"),
            }
        })?;
        Ok(Arc::new(certified))
    }
}

/// The HTTP versions offered in ALPN, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocols {
    /// HTTP/2 and HTTP/1.1.
    Both,
    /// HTTP/2 alone, for hops where both ends are ours.
    Http2,
}

impl Protocols {
    fn alpn(self) -> Vec<Vec<u8>> {
        let all = [b"h2".to_vec(), b"http/1.1".to_vec()];
        match self {
            Self::Both => all.into(),
            Self::Http2 => all[..1].into(),
        }
    }
}

/// What a listening door needs for its handshakes; replaced whole on reload.
#[derive(Debug)]
pub struct DoorTls {
    /// For rustls.
    pub config: Arc<ServerConfig>,
    /// The verifier inside it, for chains of resumed sessions.
    pub verifier: Arc<ClientVerifier>,
    /// When its own certificate ends, in Unix seconds.
    pub ends: i64,
}

/// A door that asks everybody for a certificate that `verifier` believes.
///
/// Resumption is offered because it carries no authorization: the chain is verified anew after the
/// handshake and every request is authorised. Strict mode has none, since the verifier, which alone
/// sends alerts there, does not run on resumption. Each door has a session storage of its own.
pub fn door_tls(identity: &Identity, verifier: ClientVerifier) -> Result<DoorTls, TlsFileError> {
    let key = identity.load()?;
    let ends = own_certificate::ends(&key);
    let verifier = Arc::new(verifier);
    #[expect(clippy::disallowed_methods, reason = "the module that the ban points to")]
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| refused(identity, &error))?
        .with_client_cert_verifier(verifier.clone())
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
    config.alpn_protocols = Protocols::Both.alpn();
    if verifier.handshake() == Handshake::Strict {
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    } else {
        config.session_storage = ServerSessionMemoryCache::new(RESUMABLE_SESSIONS);
        config.send_tls13_tickets = 1;
    }
    Ok(DoorTls { config: Arc::new(config), verifier, ends })
}

/// A client with our identity that believes services of `role` out of `bundle` and nobody else.
pub fn client_config(
    identity: &Identity,
    bundle: Arc<TrustBundle>,
    role: Role,
    protocols: Protocols,
) -> Result<ClientConfig, TlsFileError> {
    let verifier = ServerVerifier::new(bundle, role);
    client_config_with(identity.load()?, verifier, protocols).map_err(|error| refused(identity, &error))
}

/// The same with a verifier that asks more, and a key that was read before. Nothing is resumed: the verifier does not run on resumption, and a server
/// that was refused since would get past it. (Our own doors for services offer none.)
pub fn client_config_with(
    key: Arc<CertifiedKey>,
    verifier: ServerVerifier,
    protocols: Protocols,
) -> Result<ClientConfig, rustls::Error> {
    #[expect(clippy::disallowed_methods, reason = "the module that the ban points to")]
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
    config.alpn_protocols = protocols.alpn();
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// A client without a certificate that believes servers of no role of ours: whoever has the host's name from a CA of
/// this file.
#[expect(clippy::disallowed_methods, reason = "the module that the ban points to")]
pub fn plain_client_config(ca: &Path) -> Result<Arc<ClientConfig>, TlsFileError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(read_certificates(ca)?);
    let refused =
        |error: rustls::Error| TlsFileError::Identity { file: ca.to_owned(), text: error.to_string() };
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(refused)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn refused(identity: &Identity, error: &rustls::Error) -> TlsFileError {
    TlsFileError::Identity { file: identity.certificate.clone(), text: error.to_string() }
}
