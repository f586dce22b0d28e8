//! What the client door shows and whom it believes, read anew when the files change.
//!
//! In: `tls.certificate`, `tls.key`, `tls.clients_ca`, looked at every `tls.reload` and on SIGHUP. Out: a new
//! bundle and new TLS for the next handshakes, swapped in whole; connections whose path leads to no CA of the
//! new bundle are closed. Refused: a file that cannot be used; the last good ones stay, the log says which file
//! and why, `/readyz` too.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use shared::{
    identity::Fingerprint,
    serve::Connections,
    shutdown::Shutdown,
    tls::{BundleKind, ChainLimits, ClientVerifier, DoorTls, Gate, TlsFileError, TrustBundle, door_tls},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    task::spawn_blocking,
};
use tracing::{error, info, warn};

use crate::{activity::Activity, config, edge::Authorizer};

/// The client door's trust.
#[derive(Debug)]
pub(crate) struct DoorTrust {
    /// For the next handshakes.
    pub(crate) tls: Arc<ArcSwap<DoorTls>>,
    config: config::Tls,
    chain: ChainLimits,
    authorizer: Arc<Authorizer>,
    activity: Arc<Activity>,
    connections: Arc<Connections>,
    seen: Mutex<Seen>,
}

/// What was tried last.
#[derive(Debug)]
struct Seen {
    contents: Contents,
    trouble: Option<String>,
}

/// By which changed files are told: their hashes, so that a half-copied file is a change and a touched one none.
type Contents = [Option<Fingerprint>; 3];

impl DoorTrust {
    /// The trust of the bundle that `authorizer` has.
    pub(crate) fn open(
        config: config::Tls,
        chain: ChainLimits,
        authorizer: Arc<Authorizer>,
        activity: Arc<Activity>,
        connections: Arc<Connections>,
    ) -> Result<Self, TlsFileError> {
        let seen = Mutex::new(Seen { contents: contents(&config), trouble: None });
        let tls = tls(&config, &chain, authorizer.bundle.load_full(), &authorizer, &activity)?;
        let tls = Arc::new(ArcSwap::from_pointee(tls));
        Ok(Self { tls, config, chain, authorizer, activity, connections, seen })
    }

    /// Looks until the soft stop.
    pub(crate) async fn watch(self: Arc<Self>, shutdown: Shutdown) {
        let mut hangup = match signal(SignalKind::hangup()) {
            Ok(hangup) => hangup,
            Err(error) => {
                warn!(%error, "SIGHUP is not obeyed");
                return shutdown.requested().await;
            }
        };
        loop {
            tokio::select! {
                () = tokio::time::sleep(self.config.reload.0) => {}
                _ = hangup.recv() => info!("SIGHUP: reading the client door's files anew"),
                () = shutdown.requested() => return,
            }
            self.look().await;
        }
    }

    /// What is in force, and whether the files that are there now could not be used. That is no reason to take
    /// the proxy out of service: the last good ones serve.
    pub(crate) fn detail(&self) -> String {
        let cas = self.authorizer.bundle.load().authorities().len();
        match &self.seen().trouble {
            Some(trouble) => format!("{cas} CAs believed; a change could not be used: {trouble}"),
            None => format!("{cas} CAs believed"),
        }
    }

    async fn look(self: &Arc<Self>) {
        let this = self.clone();
        let read = spawn_blocking(move || {
            let contents = contents(&this.config);
            if this.seen().contents == contents {
                return None;
            }
            let read =
                TrustBundle::read(&this.config.clients_ca, BundleKind::AnyAuthority).and_then(|bundle| {
                    let bundle = Arc::new(bundle);
                    let (authorizer, activity) = (&this.authorizer, &this.activity);
                    Ok((bundle.clone(), tls(&this.config, &this.chain, bundle, authorizer, activity)?))
                });
            *this.seen() = Seen { contents, trouble: read.as_ref().err().map(ToString::to_string) };
            Some(read)
        });
        match read.await.context("reading the client door's files") {
            Ok(None) => {}
            Ok(Some(Ok((bundle, tls)))) => self.put_in_force(bundle, tls).await,
            Ok(Some(Err(error))) => {
                error!(%error, "the client door's files changed and cannot be used; the old ones stay");
            }
            Err(error) => error!("{error:#}"),
        }
    }

    async fn put_in_force(&self, bundle: Arc<TrustBundle>, tls: DoorTls) {
        // First whom requests are judged by, then whom handshakes are: in between, a stranger is refused.
        self.authorizer.bundle.store(bundle.clone());
        self.authorizer.crls.believe(&bundle).await;
        self.tls.store(Arc::new(tls));
        let closed = self.connections.close_where(|connection| !bundle.trusts(&connection.peer.path));
        info!(
            cas = bundle.authorities().len(),
            closed, "the client door's certificate and bundle were read anew"
        );
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Strict doors ask the authorizer within the handshake, and note whom they refuse; explaining ones only
/// afterwards. A new configuration has a new session storage: nothing is resumed across a reload.
fn tls(
    config: &config::Tls,
    chain: &ChainLimits,
    bundle: Arc<TrustBundle>,
    authorizer: &Arc<Authorizer>,
    activity: &Arc<Activity>,
) -> Result<DoorTls, TlsFileError> {
    let (authorizer, activity) = (authorizer.clone(), activity.clone());
    let gate = Gate::new(move |peer| {
        authorizer.authorize(peer).map(drop).map_err(|refusal| {
            let fingerprint = peer.certificate.fingerprint;
            activity.refused(fingerprint, authorizer.client_of(&fingerprint), refusal.code());
            refusal.as_certificate_error()
        })
    });
    let verifier = ClientVerifier::new(bundle, config.handshake)
        .unsafe_missing_eku(config.unsafe_missing_eku)
        .with_limits(chain.clone())
        .with_gate(gate);
    door_tls(&config.identity(), verifier)
}

fn contents(config: &config::Tls) -> Contents {
    let hash = |file: &Path| std::fs::read(file).ok().map(|bytes| Fingerprint::of_der(&bytes));
    [hash(&config.certificate), hash(&config.key), hash(&config.clients_ca)]
}
