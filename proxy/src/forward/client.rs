//! The HTTP/2 client of one main server: one connection, over mTLS, made anew when its other end is refused or our own
//! credentials change.
//!
//! The one place of the proxy that builds HTTP clients.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use reqwest::Client;
use rustls::sign::CertifiedKey;
use shared::{
    identity::{Fingerprint, Role},
    tls::{BundleKind, Peer, Protocols, ServerVerifier, TlsFileError, TrustBundle, client_config_with},
};

use super::MainServers;
use crate::config;

/// To a machine that is off: longer than any healthy network needs.
const CONNECT: Duration = Duration::from_secs(2);
/// How soon a connection whose other end vanished is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// Who was met in the handshakes of one client.
type Met = Arc<Mutex<HashMap<Fingerprint, Arc<Peer>>>>;

/// What the main servers are shown, and whom of them we believe.
#[derive(Debug, Clone)]
pub(super) struct Credentials {
    key: Arc<CertifiedKey>,
    pub(super) bundle: Arc<TrustBundle>,
}

impl Credentials {
    /// Reads the files.
    pub(super) fn read(tls: &config::Tls) -> Result<Self, TlsFileError> {
        let bundle = Arc::new(TrustBundle::read(&tls.services_ca, BundleKind::IssuingOnly)?);
        Ok(Self { key: tls.identity().load()?, bundle })
    }

    /// When our certificate ends, in Unix seconds.
    pub(super) fn ends(&self) -> i64 {
        shared::tls::ends(&self.key)
    }
}

/// A client, and what it takes to make another.
#[derive(Debug)]
pub(super) struct ServerClient {
    current: ArcSwap<Connected>,
    main_servers: Arc<MainServers>,
}

/// A client with the credentials that it was made of.
#[derive(Debug)]
pub(super) struct Connected {
    pub(super) client: Client,
    met: Met,
    /// Kept: a file that cannot be read later must not keep a refused connection open.
    credentials: Credentials,
}

impl ServerClient {
    /// Nothing is connected before the first request.
    pub(super) fn new(credentials: &Credentials, main_servers: Arc<MainServers>) -> anyhow::Result<Self> {
        let current = ArcSwap::from_pointee(connected(credentials, &main_servers)?);
        Ok(Self { current, main_servers })
    }

    /// One with other credentials, not in use yet.
    pub(super) fn with(&self, credentials: &Credentials) -> anyhow::Result<Connected> {
        connected(credentials, &self.main_servers)
    }

    /// Whether everybody who was met is believed by these CAs too.
    pub(super) fn met_is_believed_by(&self, bundle: &TrustBundle) -> bool {
        let current = self.current.load();
        let met = current.met.lock().unwrap_or_else(PoisonError::into_inner);
        met.values().all(|peer| bundle.trusts(&peer.path))
    }

    /// Takes it for the next request. Those that are on their way end on the connection that they began on.
    pub(super) fn change_to(&self, connected: Connected) {
        self.current.store(Arc::new(connected));
    }

    /// For the next request.
    pub(super) fn client(&self) -> Client {
        self.current.load().client.clone()
    }

    /// Gives the connection up if whoever is at its other end is refused by now; true if so. Requests that are on
    /// their way end by themselves, within their time; the next one meets the refusal in a new handshake.
    pub(super) fn give_up_if_refused(&self) -> anyhow::Result<bool> {
        let current = self.current.load_full();
        let refused = {
            let met = current.met.lock().unwrap_or_else(PoisonError::into_inner);
            met.values().any(|peer| self.main_servers.refuses(peer))
        };
        if refused {
            let other = Arc::new(connected(&current.credentials, &self.main_servers)?);
            // unless it was changed meanwhile
            self.current.compare_and_swap(&current, other);
        }
        Ok(refused)
    }
}

fn connected(credentials: &Credentials, main_servers: &Arc<MainServers>) -> anyhow::Result<Connected> {
    let Credentials { key, bundle } = credentials;
    let met = Met::default();
    let noted = met.clone();
    let verifier = ServerVerifier::new(bundle.clone(), Role::MainServer)
        .with_gate(main_servers.gate())
        .noting(move |peer| {
            let mut met = noted.lock().unwrap_or_else(PoisonError::into_inner);
            met.insert(peer.certificate.fingerprint, Arc::new(peer));
        });
    let tls = client_config_with(key.clone(), verifier, Protocols::Http2)?;
    #[expect(clippy::disallowed_methods, reason = "the one place of the proxy that builds clients")]
    let client = Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .http2_keep_alive_timeout(KEEP_ALIVE)
        .http2_keep_alive_while_idle(true)
        .http2_initial_stream_window_size(1 << 20)
        .build()
        .context("cannot make a client for the main servers")?;
    Ok(Connected { client, met, credentials: credentials.clone() })
}
