//! The HTTP/2 client of one main server: one connection, over mTLS, made anew when its other end is refused.
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
    tls::{Identity, Peer, Protocols, ServerVerifier, TrustBundle, client_config_with},
};

use super::MainServers;

/// To a machine that is off: longer than any healthy network needs.
const CONNECT: Duration = Duration::from_secs(2);
/// How soon a connection whose other end vanished is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// Who was met in the handshakes of one client.
type Met = Arc<Mutex<HashMap<Fingerprint, Arc<Peer>>>>;

/// A client, and what it takes to make another.
#[derive(Debug)]
pub(super) struct ServerClient {
    current: ArcSwap<Connected>,
    /// Read once: a file that cannot be read later must not keep a refused connection open.
    key: Arc<CertifiedKey>,
    bundle: Arc<TrustBundle>,
    main_servers: Arc<MainServers>,
}

#[derive(Debug)]
struct Connected {
    client: Client,
    met: Met,
}

impl ServerClient {
    /// Nothing is connected before the first request.
    pub(super) fn new(
        identity: &Identity,
        bundle: Arc<TrustBundle>,
        main_servers: Arc<MainServers>,
    ) -> anyhow::Result<Self> {
        let key = identity.load()?;
        let current = ArcSwap::from_pointee(connected(&key, &bundle, &main_servers)?);
        Ok(Self { current, key, bundle, main_servers })
    }

    /// For the next request.
    pub(super) fn client(&self) -> Client {
        self.current.load().client.clone()
    }

    /// Gives the connection up if whoever is at its other end is refused by now; true if so. Requests that are on
    /// their way end by themselves, within their time; the next one meets the refusal in a new handshake.
    pub(super) fn give_up_if_refused(&self) -> anyhow::Result<bool> {
        let refused = {
            let current = self.current.load();
            let met = current.met.lock().unwrap_or_else(PoisonError::into_inner);
            met.values().any(|peer| self.main_servers.refuses(peer))
        };
        if refused {
            self.current.store(Arc::new(connected(&self.key, &self.bundle, &self.main_servers)?));
        }
        Ok(refused)
    }
}

fn connected(
    key: &Arc<CertifiedKey>,
    bundle: &Arc<TrustBundle>,
    main_servers: &Arc<MainServers>,
) -> anyhow::Result<Connected> {
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
    Ok(Connected { client, met })
}
