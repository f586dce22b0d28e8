//! What a connection is doing, as far as its deadlines care: how many requests are being answered, and
//! since when there has been none; and which answers wait for the peer, and until when. Written by the requests, read
//! by the socket.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
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
    /// Of the answers that are being handed over, each once, by number: until when the peer may leave what it was
    /// offered. A list, since there is one of them, or over HTTP/2 a few.
    offered: Mutex<Vec<(u32, Instant)>>,
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
pub(super) struct InFlight {
    activity: Arc<Activity>,
    number: u32,
}

impl Activity {
    pub(super) fn new() -> Self {
        Self {
            since: Instant::now(),
            in_flight: AtomicU32::new(0),
            begun: AtomicU32::new(0),
            ended: AtomicU32::new(0),
            last_end: AtomicU64::new(0),
            offered: Mutex::default(),
        }
    }

    /// A request; beside it, how many there have been with it.
    pub(super) fn begin(self: &Arc<Self>) -> (InFlight, u32) {
        self.in_flight.fetch_add(1, Relaxed);
        let begun = self.begun.fetch_add(1, Relaxed).saturating_add(1);
        (InFlight { activity: self.clone(), number: begun }, begun)
    }

    /// When the first of the answers that wait for the peer has waited for too long.
    pub(super) fn untaken_at(&self) -> Option<Instant> {
        // none is, as long as no request is in hand
        if self.in_flight.load(Relaxed) == 0 {
            return None;
        }
        self.offered().iter().map(|(_, until)| *until).min()
    }

    fn offered(&self) -> MutexGuard<'_, Vec<(u32, Instant)>> {
        self.offered.lock().unwrap_or_else(PoisonError::into_inner)
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

impl InFlight {
    /// Its answer waits for the peer, until then at most.
    pub(super) fn offered(&self, until: Instant) {
        let mut offered = self.activity.offered();
        match offered.iter_mut().find(|(number, _)| *number == self.number) {
            Some((_, before)) => *before = until,
            None => offered.push((self.number, until)),
        }
    }

    /// It waits for us, or is over.
    pub(super) fn taken(&self) {
        self.activity.offered().retain(|(number, _)| *number != self.number);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.taken();
        let activity = &self.activity;
        let micros = u64::try_from(activity.since.elapsed().as_micros()).unwrap_or(u64::MAX);
        activity.last_end.store(micros, Relaxed);
        activity.ended.fetch_add(1, Relaxed);
        activity.in_flight.fetch_sub(1, Relaxed);
    }
}
