//! What the client door shows and whom it believes, read anew when the files change.
//!
//! In: `tls.certificate`, `tls.key`, `tls.clients_ca`. Out: a new bundle and new TLS for the next handshakes, swapped in
//! whole; connections whose path leads to no CA of the new bundle are closed. Refused: a file that cannot be used; the
//! last good ones stay.

use std::sync::Arc;

use arc_swap::ArcSwap;
use shared::{
    reload::Files,
    serve::Connections,
    tls::{BundleKind, ChainLimits, ClientVerifier, DoorTls, Gate, TlsFileError, TrustBundle, door_tls},
};
use tokio::task::spawn_blocking;
use tracing::info;

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
}

impl DoorTrust {
    /// The trust of the bundle that `authorizer` has.
    pub(crate) fn open(
        config: config::Tls,
        chain: ChainLimits,
        authorizer: Arc<Authorizer>,
        activity: Arc<Activity>,
        connections: Arc<Connections>,
    ) -> Result<Self, TlsFileError> {
        let tls = tls(&config, &chain, authorizer.bundle.load_full(), &authorizer, &activity)?;
        let tls = Arc::new(ArcSwap::from_pointee(tls));
        Ok(Self { tls, config, chain, authorizer, activity, connections })
    }

    /// What it is read from.
    pub(crate) fn files(config: &config::Tls) -> Files {
        Files::now([&config.certificate, &config.key, &config.clients_ca])
    }

    /// What is in force.
    pub(crate) fn detail(&self) -> String {
        format!("{} CAs believed", self.authorizer.bundle.load().authorities().len())
    }

    /// Reads the files and puts them in force.
    pub(crate) async fn read_anew(self: Arc<Self>) -> anyhow::Result<()> {
        let this = self.clone();
        let read = spawn_blocking(move || {
            this.config.identity().check_dates()?;
            let bundle = Arc::new(TrustBundle::read(&this.config.clients_ca, BundleKind::AnyAuthority)?);
            let (authorizer, activity) = (&this.authorizer, &this.activity);
            let tls = tls(&this.config, &this.chain, bundle.clone(), authorizer, activity)?;
            Ok::<_, TlsFileError>((bundle, tls))
        });
        let (bundle, tls) = read.await??;
        // First whom requests are judged by, then whom handshakes are: in between, a stranger is refused.
        self.authorizer.bundle.store(bundle.clone());
        self.authorizer.crls.believe(&bundle).await;
        self.tls.store(Arc::new(tls));
        let closed = self.connections.close_where(|connection| !bundle.trusts(&connection.peer.path));
        info!(cas = bundle.authorities().len(), closed, "the client door believes and shows what was read");
        Ok(())
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
