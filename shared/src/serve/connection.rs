//! One open connection, and the index of all of them by the certificate they were opened with.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use rustls_pki_types::UnixTime;
use tokio_util::sync::CancellationToken;
use tracing::info;
use uuid::Uuid;

use super::{
    DoorMetrics, Limits, Remote,
    activity::{Activity, InFlight, Phase},
    memory::{Held, Memory, Share},
    metrics::{Bound, Open},
};
use crate::{
    identity::Fingerprint,
    tls::{
        Peer,
        crl::{Crls, Standing},
    },
};

/// How long a connection that is to be closed may still make its first request.
const FIRST_REQUEST: Duration = Duration::from_secs(1);

/// How many more connections of one certificate than it may have are told so; further ones are closed unheard.
const TOLD: usize = 64;

/// What the connections of one door have in common.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) door: &'static str,
    pub(super) limits: Limits,
    pub(super) metrics: DoorMetrics,
    pub(super) memory: Arc<Memory>,
}

/// One open connection; every request on it carries it as an extension.
#[derive(Debug)]
pub struct Connection {
    /// Who is at the other end.
    pub peer: Arc<Peer>,
    /// From where.
    pub remote: Remote,
    rules: Arc<Rules>,
    closing: CancellationToken,
    /// It is closing because it has served its time: its requests take the time they need.
    retired: AtomicBool,
    age: Duration,
    one_too_many: bool,
    share: Share,
    activity: Arc<Activity>,
}

impl Connection {
    fn new(opened: Opened, of_certificate: usize, share: Share) -> Self {
        let Opened { peer, remote, rules, closing } = opened;
        Self {
            age: jittered(rules.limits.age.0),
            one_too_many: of_certificate >= rules.limits.connections_per_client,
            peer: Arc::new(peer),
            remote: remote.into(),
            rules,
            closing,
            retired: AtomicBool::new(false),
            share,
            activity: Arc::new(Activity::new()),
        }
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

    /// A request begins; the last one that the connection is good for ends it.
    pub(super) fn begin(&self) -> InFlight {
        let (in_flight, begun) = self.activity.begin();
        let bound = if begun >= self.limits().requests {
            Bound::Requests
        } else if self.activity.age() >= self.age {
            Bound::Age
        } else {
            return in_flight;
        };
        if !self.is_closing() && !self.retired.swap(true, Relaxed) {
            self.reached(bound);
            self.close();
        }
        in_flight
    }

    pub(super) fn is_retired(&self) -> bool {
        self.retired.load(Relaxed)
    }

    pub(super) fn is_one_too_many(&self) -> bool {
        self.one_too_many
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.rules.limits
    }

    /// Memory for a request with such a head, and a body of such a length, if that is known.
    pub(super) fn hold(&self, head: usize, body: Option<u64>) -> Option<Held> {
        self.rules.memory.hold(&self.share, head, body)
    }

    pub(super) fn hold_nothing(&self) -> Held {
        self.rules.memory.hold_nothing(&self.share)
    }

    /// Counts it as put aside for as long as the guard is kept.
    pub(super) fn parked(&self) -> Open {
        self.rules.metrics.parked(self.rules.door)
    }

    /// Counts a bound that its peer reached.
    pub(super) fn reached(&self, bound: Bound) {
        self.rules.metrics.reached(self.rules.door, bound, self.remote.ip());
    }

    pub(super) fn phase(&self) -> Phase {
        self.activity.phase()
    }

    pub(super) fn untaken_at(&self) -> Option<Instant> {
        self.activity.untaken_at()
    }
}

/// So many connections are not to end at one moment because they began at one.
fn jittered(age: Duration) -> Duration {
    let random = u32::from_le_bytes(Uuid::new_v4().as_bytes()[..4].try_into().unwrap_or_default());
    let share = f64::from(random) / f64::from(u32::MAX);
    age.mul_f64(0.9 + 0.2 * share)
}

/// A connection whose handshake is over.
pub(super) struct Opened {
    pub(super) peer: Peer,
    pub(super) remote: SocketAddr,
    pub(super) rules: Arc<Rules>,
    pub(super) closing: CancellationToken,
}

type Index = HashMap<Fingerprint, OfCertificate>;

#[derive(Debug, Default)]
struct OfCertificate {
    share: Share,
    open: HashMap<u64, Arc<Connection>>,
}

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
        let Some(OfCertificate { open, .. }) = index.get(fingerprint) else { return 0 };
        for connection in open.values() {
            connection.close();
        }
        open.len()
    }

    /// Closes every connection that `doomed` says so of; answers how many.
    pub fn close_where(&self, doomed: impl Fn(&Connection) -> bool) -> usize {
        let index = self.lock();
        let doomed = index.values().flat_map(|one| one.open.values()).filter(|connection| doomed(connection));
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
        self.lock().values().map(|one| one.open.len()).sum()
    }

    /// Takes a connection up; none if there are far too many of its certificate.
    pub(super) fn register(self: &Arc<Self>, opened: Opened) -> Option<(Arc<Connection>, Registered)> {
        let fingerprint = opened.peer.certificate.fingerprint;
        let number = self.next.fetch_add(1, Relaxed);
        let mut index = self.lock();
        let of_certificate = index.entry(fingerprint).or_default();
        let count = of_certificate.open.len();
        if count >= opened.rules.limits.connections_per_client.saturating_add(TOLD) {
            return None;
        }
        let connection = Arc::new(Connection::new(opened, count, of_certificate.share.clone()));
        of_certificate.open.insert(number, connection.clone());
        Some((connection, Registered { connections: self.clone(), fingerprint, number }))
    }

    /// A panic while the lock was held left no half-made entry: each change is one insertion or removal.
    fn lock(&self) -> std::sync::MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut index = self.connections.lock();
        if let Some(one) = index.get_mut(&self.fingerprint) {
            one.open.remove(&self.number);
            // what the last answers hold is given back to a share that nobody asks any more
            if one.open.is_empty() {
                index.remove(&self.fingerprint);
            }
        }
    }
}
