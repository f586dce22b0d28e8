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

/// A listening socket with everything that its connections need.
#[derive(Debug)]
pub struct Door {
    pub(super) rules: Arc<Rules>,
    pub(super) tls: Arc<ArcSwap<DoorTls>>,
    connections: Arc<Connections>,
    failures: Failures,
    shutdown: Shutdown,
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
        let failures = Failures::new(limits.failed_handshakes_per_ip);
        let rules = Arc::new(Rules { door: name, limits, metrics, memory });
        Self { rules, tls, connections, failures, shutdown }
    }

    /// Accepts and serves until the soft stop; connections that are open then finish by themselves.
    pub async fn serve(self, listener: TcpListener, router: Router) {
        let arrivals = Arc::new(Arrivals::new(&self.rules.limits));
        let shutdown = self.shutdown.clone();
        let door = Arc::new(self);
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = shutdown.requested() => break,
            };
            match accepted {
                Ok((socket, remote)) => {
                    let Some(arrival) = door.let_in(&arrivals, remote) else { continue };
                    let (door_of_task, router) = (door.clone(), router.clone());
                    shutdown.spawn_for_peer(async move {
                        door_of_task.serve_connection(socket, remote, &arrival, router).await;
                    });
                }
                Err(error) => {
                    warn!(door = door.rules.door, %error, "cannot accept");
                    tokio::time::sleep(OUT_OF_DESCRIPTORS).await;
                }
            }
        }
    }

    fn let_in(&self, arrivals: &Arc<Arrivals>, remote: SocketAddr) -> Option<Arrival> {
        let label = DoorLabel { door: self.rules.door };
        self.rules.metrics.accepted.get_or_create(&label).inc();
        match arrivals.arrive(remote.ip()) {
            Ok((arrival, crowded)) => {
                if crowded {
                    self.rules.metrics.reached(self.rules.door, Bound::Handshakes, remote.ip());
                }
                Some(arrival)
            }
            Err(bound) => {
                self.rules.metrics.reached(self.rules.door, bound, remote.ip());
                None
            }
        }
    }

    /// Whoever's address failed too often lately has to wait first, for the price of a socket.
    async fn shake_hands_in_turn(
        &self,
        socket: TcpStream,
        remote: SocketAddr,
    ) -> Option<(TlsStream<TcpStream>, Peer)> {
        if let Some(wait) = self.failures.wait(remote.ip(), Instant::now()) {
            self.rules.metrics.reached(self.rules.door, Bound::FailedHandshakes, remote.ip());
            tokio::select! { () = tokio::time::sleep(wait) => {} () = self.shutdown.requested() => {} }
        }
        let shaken = self.shake_hands(socket, remote).await;
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
        router: Router,
    ) {
        if let Err(error) = socket.set_nodelay(true) {
            debug!(door = self.rules.door, %remote, %error, "cannot set TCP_NODELAY");
        }
        let shaken = tokio::select! {
            shaken = self.shake_hands_in_turn(socket, remote) => shaken,
            () = arrival.dropped() => {
                self.count_failure("crowded_out", NO_ALERT);
                return;
            }
        };
        let Some((stream, peer)) = shaken else { return };
        arrival.shaken();
        let opened = Opened { peer, remote, rules: self.rules.clone(), closing: self.shutdown.child() };
        let Some((connection, _registered)) = self.connections.register(opened) else {
            return self.rules.metrics.reached(self.rules.door, Bound::ConnectionsPerClient, remote.ip());
        };
        let _open = self.rules.metrics.opened(self.rules.door);
        serve_requests(stream, &connection, router, &self.shutdown).await;
    }
}
