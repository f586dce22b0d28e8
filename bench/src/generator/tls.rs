//! The generator's TLS: a client certificate, the root as the only trust, full handshakes only.
//!
//! Both sides are asked for the same work: X25519 as every client in the field offers it, since the peers know no
//! post-quantum exchange, and no resumption.

use std::sync::Arc;

use anyhow::Context as _;
use rustls::{
    ClientConfig, RootCertStore,
    client::Resumption,
    crypto::{CryptoProvider, aws_lc_rs},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use tokio_rustls::TlsConnector;

use crate::load::Target;

pub(super) fn connector(target: &Target) -> anyhow::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_file(&target.ca);
    roots.add(root.with_context(|| format!("no certificate in {}", target.ca.display()))?)?;
    let chain = CertificateDer::pem_file_iter(&target.cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("no certificates in {}", target.cert.display()))?;
    let key = PrivateKeyDer::from_pem_file(&target.key);
    let key = key.with_context(|| format!("no key in {}", target.key.display()))?;
    let provider =
        CryptoProvider { kx_groups: vec![aws_lc_rs::kx_group::X25519], ..aws_lc_rs::default_provider() };
    #[expect(clippy::disallowed_methods, reason = "a client of the product's, not a part of it")]
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)?;
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}
