//! How `send` and `doctor` connect: in, whom to believe and what to show; out, a rustls configuration.
//!
//! Unlike the inner hops, which check a service's role too ([`shared::tls`]), a client believes what curl believes with
//! `--cacert`: a path to one of its CAs and the name in the URL. There is no way to believe everybody.

use std::{error::Error, io, path::PathBuf, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    sign::SingleCertAndKey,
};

use crate::credentials::{
    CredentialError, Credentials, PassphraseSource, read_certificates, read_key, read_pkcs12,
};

/// The files that a client has: `--cert` and `--key`, or `--p12`; `--cacert`; `--passphrase-file`.
#[derive(Debug, Clone, Default)]
pub struct ClientFiles {
    /// PEM: the certificate and the CAs between it and the root.
    pub cert: Option<PathBuf>,
    /// PEM: its private key. `None`: it is in the file of the certificate, as with curl.
    pub key: Option<PathBuf>,
    /// PKCS#12, in place of both.
    pub p12: Option<PathBuf>,
    /// PEM: the CAs to believe.
    pub cacerts: Vec<PathBuf>,
    /// Holds the passphrase of the key or of the PKCS#12 file.
    pub passphrase_file: Option<PathBuf>,
}

/// Why no connection can be configured.
#[derive(Debug, thiserror::Error)]
pub enum ClientTlsError {
    /// A file cannot be used.
    #[error(transparent)]
    File(#[from] CredentialError),
    /// No certificate was named.
    #[error("no client certificate was named: give --cert and --key, or --p12")]
    NothingToShow,
    /// The key is another certificate's.
    #[error("{cert} and its key do not belong together: {source}; portcullis-certs doctor says more")]
    Mismatch {
        /// The file of the certificate.
        cert: String,
        /// What rustls says.
        source: rustls::Error,
    },
    /// A CA cannot be believed.
    #[error("{}: holds no CA certificate that can be used: {text}", file.display())]
    NoAnchor {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        text: String,
    },
    /// rustls refuses the configuration.
    #[error("cannot configure TLS: {0}")]
    Tls(String),
}

impl ClientFiles {
    /// The file with the certificate, for messages.
    #[must_use]
    pub fn shown(&self) -> Option<&PathBuf> {
        self.p12.as_ref().or(self.cert.as_ref())
    }

    /// The file with the key.
    #[must_use]
    pub fn key_file(&self) -> Option<&PathBuf> {
        self.p12.as_ref().or(self.key.as_ref()).or(self.cert.as_ref())
    }

    /// Where a passphrase comes from, if one is needed.
    #[must_use]
    pub fn passphrase(&self) -> PassphraseSource {
        PassphraseSource::of(self.passphrase_file.clone())
    }

    /// Reads certificate and key; `None` if none were named.
    pub fn credentials(&self) -> Result<Option<Credentials>, CredentialError> {
        if let Some(p12) = &self.p12 {
            return read_pkcs12(p12, &self.passphrase()).map(Some);
        }
        let (Some(cert), Some(key)) = (&self.cert, self.key_file()) else { return Ok(None) };
        let chain = read_certificates(cert)?;
        Ok(Some(Credentials { chain, key: read_key(key, &self.passphrase())? }))
    }

    /// The configuration of a client that shows these certificates and believes these CAs.
    pub fn config(&self) -> Result<ClientConfig, ClientTlsError> {
        let credentials = self.credentials()?.ok_or(ClientTlsError::NothingToShow)?;
        let mut roots = RootCertStore::empty();
        for file in &self.cacerts {
            for certificate in read_certificates(file)? {
                roots.add(certificate).map_err(|error| ClientTlsError::NoAnchor {
                    file: file.clone(),
                    text: error.to_string(),
                })?;
            }
        }
        let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), shared::tls::provider())
            .build()
            .map_err(|error| ClientTlsError::Tls(error.to_string()))?;
        client_config(verifier, Some(&credentials)).map_err(|source| ClientTlsError::Mismatch {
            cert: self.shown().map(|file| file.display().to_string()).unwrap_or_default(),
            source,
        })
    }
}

/// A client that believes whom `verifier` believes, and shows these credentials or none.
pub(crate) fn client_config(
    verifier: Arc<dyn ServerCertVerifier>,
    credentials: Option<&Credentials>,
) -> Result<ClientConfig, rustls::Error> {
    #[expect(
        clippy::disallowed_methods,
        reason = "a client of the proxy: whom it believes is its user's choice, not a role of ours"
    )]
    let builder = ClientConfig::builder_with_provider(shared::tls::provider())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    Ok(match credentials {
        None => builder.with_no_client_auth(),
        Some(credentials) => builder
            .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::new(credentials.certified()?)))),
    })
}

/// The TLS error inside another, wherever it is.
pub(crate) fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return Some(tls);
        }
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            // an error inside an io::Error is not its source
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}
