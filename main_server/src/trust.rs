//! What both doors show and whom they believe, read anew when the files change.
//!
//! In: `tls.certificate`, `tls.key`, `tls.services_ca`. Out: a bundle and TLS for the next handshakes of both doors, swapped
//! in whole; connections whose path leads to no CA of the new bundle are closed. Refused: a file that cannot be used, and a
//! certificate of another service than this one; the last good ones stay.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use arc_swap::ArcSwap;
use shared::{
    identity::{Certificate, Name, Role, Workload},
    reload::Files,
    serve::Connections,
    tls::{
        BundleKind, ChainLimits, ClientVerifier, DoorTls, Gate, Handshake, TrustBundle, crl::RevocationLists,
        door_tls,
    },
};
use tokio::task::spawn_blocking;
use tracing::info;

use crate::config::TlsConfig;

/// The trust of all doors.
#[derive(Debug)]
pub(crate) struct DoorsTrust {
    /// Whom requests are judged by.
    pub(crate) bundle: Arc<ArcSwap<TrustBundle>>,
    /// Which main server this is, by its certificate.
    pub(crate) name: Name,
    config: TlsConfig,
    chain: ChainLimits,
    doors: Vec<TrustedDoor>,
}

/// One of them.
#[derive(Debug, Clone)]
pub(crate) struct TrustedDoor {
    /// For its next handshakes.
    pub(crate) tls: Arc<ArcSwap<DoorTls>>,
    gate: Gate,
    connections: Arc<Connections>,
}

impl DoorsTrust {
    /// What it is read from.
    #[must_use]
    pub(crate) fn files(config: &TlsConfig) -> Files {
        Files::now([&config.certificate, &config.key, &config.services_ca])
    }

    /// Reads the files. Doors are added before others are read.
    pub(crate) fn open(config: TlsConfig, chain: ChainLimits) -> anyhow::Result<Self> {
        let bundle = TrustBundle::read(&config.services_ca, BundleKind::IssuingOnly)?;
        let name = own_name(&config)?;
        Ok(Self { bundle: Arc::new(ArcSwap::from_pointee(bundle)), name, config, chain, doors: Vec::new() })
    }

    /// A door that believes the services' issuing CAs, and says nothing to anybody else: strict handshakes.
    pub(crate) fn add_door(
        &mut self,
        gate: Gate,
        connections: Arc<Connections>,
    ) -> anyhow::Result<TrustedDoor> {
        let tls = tls(&self.config, &self.chain, self.bundle.load_full(), gate.clone())?;
        let door = TrustedDoor { tls: Arc::new(ArcSwap::from_pointee(tls)), gate, connections };
        self.doors.push(door.clone());
        Ok(door)
    }

    /// Reads the files and puts them in force at every door.
    pub(crate) async fn read_anew(self: Arc<Self>, lists: Arc<RevocationLists>) -> anyhow::Result<()> {
        let this = self.clone();
        let read = spawn_blocking(move || {
            this.config.identity().check_dates()?;
            let bundle = Arc::new(TrustBundle::read(&this.config.services_ca, BundleKind::IssuingOnly)?);
            let name = own_name(&this.config)?;
            if name != this.name {
                bail!(
                    "{}: is of main server {name}, and this one is {}",
                    this.config.certificate.display(),
                    this.name
                );
            }
            let of_door =
                |door: &TrustedDoor| tls(&this.config, &this.chain, bundle.clone(), door.gate.clone());
            let tls = this.doors.iter().map(of_door).collect::<anyhow::Result<Vec<_>>>()?;
            Ok((bundle, tls))
        });
        let (bundle, tls) = read.await??;
        // First whom requests are judged by, then whom handshakes are: in between, a stranger is refused.
        self.bundle.store(bundle.clone());
        lists.believe(&bundle).await;
        let mut closed = 0;
        for (door, tls) in self.doors.iter().zip(tls) {
            door.tls.store(Arc::new(tls));
            closed += door.connections.close_where(|connection| !bundle.trusts(&connection.peer.path));
        }
        info!(cas = bundle.authorities().len(), closed, "the doors believe and show what was read");
        Ok(())
    }
}

fn tls(
    config: &TlsConfig,
    chain: &ChainLimits,
    bundle: Arc<TrustBundle>,
    gate: Gate,
) -> anyhow::Result<DoorTls> {
    let verifier = ClientVerifier::new(bundle, Handshake::Strict).with_limits(chain.clone()).with_gate(gate);
    Ok(door_tls(&config.identity(), verifier)?)
}

/// Which main server this is, by its own certificate.
fn own_name(config: &TlsConfig) -> anyhow::Result<Name> {
    let identity = config.identity().load()?;
    let file = || config.certificate.display().to_string();
    let leaf = identity.end_entity_cert().with_context(file)?;
    match Certificate::parse(leaf).with_context(file)?.spiffe.map(|id| id.workload) {
        Some(Workload::Service(Role::MainServer, name)) => Ok(name),
        _ => bail!(
            "tls.certificate {} is not one of a main server: issue one with `portcullis-certs issue main-server NAME`",
            file()
        ),
    }
}
