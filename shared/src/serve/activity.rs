//! What a connection is doing, as far as its deadlines care: how many requests are being answered, and
//! since when there has been none. Written by the requests, read by the socket.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// Counters of one connection. `Relaxed` is enough: a deadline that is read a moment late is no error.
#[derive(Debug)]
pub(super) struct Activity {
    since: Instant,
    in_flight: AtomicU32,
    begun: AtomicU32,
    /// Requests that have ended, and the microseconds after `since` at which the last one did.
    ended: AtomicU32,
    last_end: AtomicU64,
}

/// What the deadlines of a connection depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// At least one request is being answered.
    Busy,
    /// None is, since then.
    Waiting {
        /// Since the last answer, or the handshake.
        since: Instant,
        /// After so many requests; tells one wait from the next.
        requests: u32,
    },
}

/// One request being answered; it ends when this is dropped, answered or not.
pub(super) struct InFlight(Arc<Activity>);

impl Activity {
    pub(super) fn new() -> Self {
        Self {
            since: Instant::now(),
            in_flight: AtomicU32::new(0),
            begun: AtomicU32::new(0),
            ended: AtomicU32::new(0),
            last_end: AtomicU64::new(0),
        }
    }

    /// A request; beside it, how many there have been with it.
    pub(super) fn begin(self: &Arc<Self>) -> (InFlight, u32) {
        self.in_flight.fetch_add(1, Relaxed);
        let begun = self.begun.fetch_add(1, Relaxed).saturating_add(1);
        (InFlight(self.clone()), begun)
    }

    /// How long there has been something to count.
    pub(super) fn age(&self) -> Duration {
        self.since.elapsed()
    }

    pub(super) fn phase(&self) -> Phase {
        if self.in_flight.load(Relaxed) > 0 {
            return Phase::Busy;
        }
        let since = self.since + Duration::from_micros(self.last_end.load(Relaxed));
        Phase::Waiting { since, requests: self.ended.load(Relaxed) }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let micros = u64::try_from(self.0.since.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.0.last_end.store(micros, Relaxed);
        self.0.ended.fetch_add(1, Relaxed);
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}
