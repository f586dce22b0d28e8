//! The client table, in memory: who is registered with which certificate, and how they stand.
//!
//! In: rows of `client_registry`. Out: a row by fingerprint, without lock or I/O. Refused: to answer
//! from a copy that is older than allowed (the caller sees [`Registry::is_stale`]).

mod gauges;
mod row;
mod shards;
mod position;
mod sync;
mod expiry;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use shared::identity::Fingerprint;
use tokio::sync::watch;

pub use expiry::ExpiryMetrics;
pub use gauges::RegistryGauges;
pub use row::{RateOverride, Row, Status};
pub use shards::Loading;
pub use sync::{Sync, SyncError};

use shards::Shards;

/// The proxy's copy of the client table.
#[derive(Debug)]
pub struct Registry {
    rows: Shards,
    started: Instant,
    /// Milliseconds after `started` at which the last successful sync *began*; 0 before the first.
    synced: AtomicU64,
    max_staleness: Duration,
    /// The database snapshot whose changes are in `rows`.
    applied: watch::Sender<Option<Arc<str>>>,
}

impl Registry {
    /// An empty copy, stale until its first sync.
    #[must_use]
    pub fn new(max_staleness: Duration) -> Self {
        Self {
            rows: Shards::new(),
            started: Instant::now(),
            synced: AtomicU64::new(0),
            max_staleness,
            applied: watch::Sender::new(None),
        }
    }

    /// The row of a certificate.
    #[must_use]
    pub fn row(&self, fingerprint: &Fingerprint) -> Option<Row> {
        self.rows.get(fingerprint)
    }

    /// How many certificates are registered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether nothing is registered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Time since the last successful sync began; none before the first.
    #[must_use]
    pub fn age(&self) -> Option<Duration> {
        match self.synced.load(Relaxed) {
            0 => None,
            millis => Some(self.started.elapsed().saturating_sub(Duration::from_millis(millis))),
        }
    }

    /// Whether the copy is too old to decide by.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.age().is_none_or(|age| age > self.max_staleness)
    }

    /// How old it may become.
    #[must_use]
    pub fn max_staleness(&self) -> Duration {
        self.max_staleness
    }

    /// The database snapshot whose changes it holds, as Postgres writes it; none before the first sync.
    /// Waiting for a change of it is waiting for a sync that found something.
    #[must_use]
    pub fn applied(&self) -> watch::Receiver<Option<Arc<str>>> {
        self.applied.subscribe()
    }

    /// Replaces everything.
    pub fn replace(&self, loading: Loading) {
        self.rows.replace(loading);
    }

    /// Its size and age, as metrics.
    #[must_use]
    pub fn gauges(self: Arc<Self>) -> RegistryGauges {
        RegistryGauges(self)
    }

    /// Notes a successful sync that began then.
    pub fn synced_at(&self, began: Instant) {
        let millis =
            u64::try_from(began.saturating_duration_since(self.started).as_millis()).unwrap_or(u64::MAX);
        self.synced.store(millis.max(1), Relaxed);
    }

    /// Notes how far that sync came; wakes whoever waits for a change.
    fn has_applied(&self, snapshot: Arc<str>, something_changed: bool) {
        self.applied.send_if_modified(|applied| {
            *applied = Some(snapshot);
            something_changed
        });
    }
}
