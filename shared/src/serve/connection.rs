//! One open connection, and the index of all of them by the certificate they were opened with.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use rustls_pki_types::UnixTime;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::activity::{Activity, InFlight, Phase};
use crate::{
    identity::Fingerprint,
    tls::{
        Peer,
        crl::{Crls, Standing},
    },
};

/// How long a connection that is to be closed may still make its first request.
const FIRST_REQUEST: Duration = Duration::from_secs(1);

/// One open connection; every request on it carries it as an extension.
#[derive(Debug)]
pub struct Connection {
    /// Who is at the other end.
    pub peer: Arc<Peer>,
    /// From where.
    pub remote: SocketAddr,
    closing: CancellationToken,
    activity: Activity,
}

impl Connection {
    pub(super) fn new(peer: Arc<Peer>, remote: SocketAddr, closing: CancellationToken) -> Self {
        Self { peer, remote, closing, activity: Activity::new() }
    }

    /// Closes it: at once when idle between requests, else after the answers that are due (HTTP/2: GOAWAY).
    pub fn close(&self) {
        self.closing.cancel();
    }

    /// Whether a request was made on it.
    #[must_use]
    pub fn has_been_used(&self) -> bool {
        !matches!(self.phase(), Phase::Waiting { requests: 0, .. })
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.is_cancelled()
    }

    pub(super) async fn closed(&self) {
        self.closing.cancelled().await;
    }

    /// As [`Self::closed`], and if nothing was asked yet, a moment later: the first request may be on its
    /// way, and whoever sent it is to hear why it is refused.
    pub(super) async fn closed_after_first_request(&self) {
        self.closed().await;
        if matches!(self.phase(), Phase::Waiting { requests: 0, .. }) {
            tokio::time::sleep(FIRST_REQUEST).await;
        }
    }

    pub(super) fn begin(&self) -> InFlight<'_> {
        self.activity.begin()
    }

    pub(super) fn phase(&self) -> Phase {
        self.activity.phase()
    }
}

type Index = HashMap<Fingerprint, HashMap<u64, Arc<Connection>>>;

/// The open connections of one door, by fingerprint. Locked when one opens or closes, never by a request.
#[derive(Debug, Default)]
pub struct Connections {
    index: Mutex<Index>,
    next: AtomicU64,
}

/// Takes a connection out of the index when it ends.
pub(super) struct Registered {
    connections: Arc<Connections>,
    fingerprint: Fingerprint,
    number: u64,
}

impl Connections {
    /// None open.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Closes every connection of one certificate; answers how many.
    pub fn close(&self, fingerprint: &Fingerprint) -> usize {
        let index = self.lock();
        let Some(connections) = index.get(fingerprint) else { return 0 };
        for connection in connections.values() {
            connection.close();
        }
        connections.len()
    }

    /// Closes every connection that `doomed` says so of; answers how many.
    pub fn close_where(&self, doomed: impl Fn(&Connection) -> bool) -> usize {
        let index = self.lock();
        let doomed = index.values().flat_map(HashMap::values).filter(|connection| doomed(connection));
        doomed.map(|connection| connection.close()).count()
    }

    /// Closes the connections of certificates that these lists revoke, and no others; answers how many.
    pub fn close_revoked(&self, crls: &Crls) -> usize {
        let now = UnixTime::now();
        let closed = self.close_where(|open| matches!(crls.judge(&open.peer, now), Standing::Revoked(_)));
        if closed > 0 {
            info!(closed, "closing the connections of certificates that a new revocation list names");
        }
        closed
    }

    /// How many are open.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lock().values().map(HashMap::len).sum()
    }

    pub(super) fn register(self: &Arc<Self>, connection: &Arc<Connection>) -> Registered {
        let fingerprint = connection.peer.certificate.fingerprint;
        let number = self.next.fetch_add(1, Relaxed);
        self.lock().entry(fingerprint).or_default().insert(number, connection.clone());
        Registered { connections: self.clone(), fingerprint, number }
    }

    /// A panic while the lock was held left no half-made entry: each change is one insertion or removal.
    fn lock(&self) -> std::sync::MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut index = self.connections.lock();
        if let Some(connections) = index.get_mut(&self.fingerprint) {
            connections.remove(&self.number);
            if connections.is_empty() {
                index.remove(&self.fingerprint);
            }
        }
    }
}
