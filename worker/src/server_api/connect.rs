//! The HTTP clients, the only ones of this crate: in, our identity and whom we believe; out, two clients that
//! speak HTTP/2 to main servers and to nobody else.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use reqwest::{Client, redirect};
use shared::{
    config::ByteSize,
    identity::Role,
    reload::Files,
    tls::{BundleKind, Protocols, ServerVerifier, TrustBundle, client_config_with},
};

use crate::config::{ServerConfig, TlsConfig};

/// How long is waited for what, and how much is read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    pub(crate) connect_timeout: Duration,
    pub(crate) request_timeout: Duration,
    pub(crate) ping_interval: Duration,
    pub(crate) max_answer: ByteSize,
    /// The first rest of a server that does not answer.
    pub(crate) retry_min: Duration,
}

impl From<&ServerConfig> for Patience {
    fn from(config: &ServerConfig) -> Self {
        Self {
            connect_timeout: config.connect_timeout.0,
            request_timeout: config.request_timeout.0,
            ping_interval: config.ping_interval.0,
            max_answer: config.max_answer,
            retry_min: config.retry_min.0,
        }
    }
}

/// Two clients, because one has one connection per server, whose streams are limited: a long poll must not
/// make an acknowledgement wait.
#[derive(Debug)]
pub(crate) struct Clients {
    /// For `lease`.
    pub(crate) long_poll: Client,
    /// For `renew`, `complete` and `fail`.
    pub(crate) verbs: Client,
    /// When our certificate ends, in Unix seconds.
    pub(crate) ends: i64,
}

impl Clients {
    /// What they are made of.
    pub(crate) fn files(tls: &TlsConfig) -> Files {
        Files::now([&tls.certificate, &tls.key, &tls.ca])
    }

    /// Reads the certificate files and builds both clients.
    pub(crate) fn build(tls: &TlsConfig, patience: &Patience) -> anyhow::Result<Self> {
        let bundle = Arc::new(TrustBundle::read(&tls.ca, BundleKind::AnyAuthority)?);
        let key = tls.identity().load()?;
        let ends = shared::tls::ends(&key);
        let verifier = ServerVerifier::new(bundle, Role::MainServer);
        let config = client_config_with(key, verifier, Protocols::Http2)?;
        let client = || {
            #[expect(
                clippy::disallowed_methods,
                reason = "the one place of the worker that builds HTTP clients"
            )]
            Client::builder()
                .tls_backend_preconfigured(config.clone())
                .https_only(true)
                .no_proxy()
                .redirect(redirect::Policy::none())
                .user_agent(concat!("portcullis-worker/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(patience.connect_timeout)
                .http2_keep_alive_interval(patience.ping_interval)
                .http2_keep_alive_timeout(patience.request_timeout)
                .http2_adaptive_window(true)
                .build()
                .context("cannot build the HTTP client")
        };
        Ok(Self { long_poll: client()?, verbs: client()?, ends })
    }
}
