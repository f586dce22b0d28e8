//! A door: the accept loop, and the life of each connection from its socket to its end.
//!
//! Refused: connections beyond the bounds, for the price of closing a socket; whoever does not come through the
//! handshake.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use axum::Router;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::server::TlsStream;
use tracing::{debug, warn};

use super::{
    Connections, DoorMetrics, Limits,
    arrivals::{Arrival, Arrivals},
    connection::{Opened, Rules},
    failures::Failures,
    handshake::NO_ALERT,
    memory::Memory,
    metrics::{Bound, DoorLabel},
    requests::serve_requests,
};
use crate::{
    shutdown::Shutdown,
    tls::{DoorTls, Peer},
};

/// How long to wait when the kernel has no descriptor left for another connection.
const OUT_OF_DESCRIPTORS: Duration = Duration::from_millis(100);

/// After the soft stop, of those who wait to be accepted: the kernel has told them already that they are connected.
const STILL_ACCEPTED: u32 = 1024;

/// A listening socket with everything that its connections need.
#[derive(Debug)]
pub struct Door {
    pub(super) name: &'static str,
    pub(super) metrics: DoorMetrics,
    rules: DoorLimits,
    pub(super) tls: Arc<ArcSwap<DoorTls>>,
    connections: Arc<Connections>,
    failures: Arc<Failures>,
    shutdown: Shutdown,
}

/// The limits of a door, to change them while it is open. Clones are handles to the same.
#[derive(Debug, Clone)]
pub struct DoorLimits {
    rules: Arc<ArcSwap<Rules>>,
    failures: Arc<Failures>,
}

impl DoorLimits {
    /// Whoever comes from now on meets these; connections that are open keep theirs, but share one sum of memory. Not
    /// those of chains: these are the TLS configuration's.
    pub fn replace(&self, limits: Limits) {
        self.failures.allow(limits.failed_handshakes_per_ip);
        let before = self.rules.load();
        before.memory.resize(limits.memory.0);
        let Rules { door, metrics, memory, .. } = &**before;
        self.rules.store(Arc::new(Rules { door, limits, metrics: metrics.clone(), memory: memory.clone() }));
    }
}

impl Door {
    /// A door that is still closed. `tls` is read anew for each handshake.
    #[must_use]
    pub fn new(
        name: &'static str,
        tls: Arc<ArcSwap<DoorTls>>,
        limits: Limits,
        connections: Arc<Connections>,
        metrics: DoorMetrics,
        shutdown: Shutdown,
    ) -> Self {
        let memory = Arc::new(Memory::new(limits.memory.0));
        metrics.open(name);
        let failures = Arc::new(Failures::new(limits.failed_handshakes_per_ip));
        let rules = Rules { door: name, limits, metrics: metrics.clone(), memory };
        let rules = DoorLimits { rules: Arc::new(ArcSwap::from_pointee(rules)), failures: failures.clone() };
        Self { name, metrics, rules, tls, connections, failures, shutdown }
    }

    /// Its limits, to be changed when others are read.
    #[must_use]
    pub fn limits(&self) -> DoorLimits {
        self.rules.clone()
    }

    /// Accepts and serves until the soft stop; connections that are open then finish by themselves.
    pub async fn serve(self, listener: TcpListener, router: Router) {
        let arrivals = Arc::new(Arrivals::default());
        let shutdown = self.shutdown.clone();
        let door = Arc::new(self);
        let mut still_accepted = STILL_ACCEPTED;
        loop {
            let accepted = tokio::select! {
                biased;
                accepted = listener.accept(), if still_accepted > 0 => accepted,
                () = shutdown.requested() => break,
            };
            still_accepted -= u32::from(shutdown.is_requested());
            match accepted {
                Ok((socket, remote)) => {
                    let rules = door.rules.rules.load_full();
                    let Some(arrival) = door.let_in(&arrivals, &rules.limits, remote) else { continue };
                    let (door_of_task, router) = (door.clone(), router.clone());
                    shutdown.spawn_for_peer(async move {
                        door_of_task.serve_connection(socket, remote, &arrival, rules, router).await;
                    });
                }
                Err(_) if shutdown.is_requested() => break,
                Err(error) => {
                    warn!(door = door.name, %error, "cannot accept");
                    tokio::time::sleep(OUT_OF_DESCRIPTORS).await;
                }
            }
        }
    }

    fn let_in(&self, arrivals: &Arc<Arrivals>, limits: &Limits, remote: SocketAddr) -> Option<Arrival> {
        let label = DoorLabel { door: self.name };
        self.metrics.accepted.get_or_create(&label).inc();
        match arrivals.arrive(remote.ip(), limits) {
            Ok((arrival, crowded)) => {
                if crowded {
                    self.metrics.reached(self.name, Bound::Handshakes, remote.ip());
                }
                Some(arrival)
            }
            Err(bound) => {
                self.metrics.reached(self.name, bound, remote.ip());
                None
            }
        }
    }

    /// Whoever's address failed too often lately has to wait first, for the price of a socket.
    async fn shake_hands_in_turn(
        &self,
        socket: TcpStream,
        remote: SocketAddr,
        limits: &Limits,
    ) -> Option<(TlsStream<TcpStream>, Peer)> {
        if let Some(wait) = self.failures.wait(remote.ip(), Instant::now()) {
            self.metrics.reached(self.name, Bound::FailedHandshakes, remote.ip());
            tokio::select! { () = tokio::time::sleep(wait) => {} () = self.shutdown.requested() => {} }
        }
        let shaken = self.shake_hands(socket, remote, limits).await;
        if shaken.is_none() {
            self.failures.note(remote.ip(), Instant::now());
        }
        shaken
    }

    async fn serve_connection(
        &self,
        socket: TcpStream,
        remote: SocketAddr,
        arrival: &Arrival,
        rules: Arc<Rules>,
        router: Router,
    ) {
        if let Err(error) = socket.set_nodelay(true) {
            debug!(door = self.name, %remote, %error, "cannot set TCP_NODELAY");
        }
        // on the heap, so that what a handshake needs is not kept for as long as the connection
        let shaking = Box::pin(self.shake_hands_in_turn(socket, remote, &rules.limits));
        let shaken = tokio::select! {
            shaken = shaking => shaken,
            () = arrival.dropped() => {
                self.count_failure("crowded_out", NO_ALERT);
                return;
            }
        };
        let Some((stream, peer)) = shaken else { return };
        arrival.shaken();
        let opened = Opened { peer, remote, rules, closing: self.shutdown.child() };
        let Some((connection, _registered)) = self.connections.register(opened) else {
            return self.metrics.reached(self.name, Bound::ConnectionsPerClient, remote.ip());
        };
        let _open = self.metrics.opened(self.name);
        serve_requests(stream, &connection, router, &self.shutdown).await;
    }
}
