//! The leases of one batch: which jobs are (as far as we know) still ours, and until when.

use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use shared::wire::lease::{Held, LeasedJob};
use uuid::Uuid;

/// The leases of one batch, counted on our own clock from when the answer came: the database's may be off.
#[derive(Debug)]
pub(super) struct Leases {
    lease: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    held: Vec<Held>,
    since: Instant,
}

impl Leases {
    /// The leases of jobs that came in just now.
    pub(super) fn of(jobs: &[LeasedJob], lease: Duration) -> Self {
        let held = jobs.iter().map(|job| Held { job_id: job.job_id, lease_token: job.lease_token }).collect();
        Self { lease, state: Mutex::new(State { held, since: Instant::now() }) }
    }

    /// The jobs not lost.
    pub(super) fn held(&self) -> Vec<Held> {
        self.state().held.clone()
    }

    /// They were renewed by a request sent at `since`, except those lost.
    pub(super) fn renewed(&self, since: Instant, lost: &[Uuid]) {
        let lost: HashSet<&Uuid> = lost.iter().collect();
        let mut state = self.state();
        state.since = since;
        state.held.retain(|held| !lost.contains(&held.job_id));
    }

    /// When to renew: early enough for a failed try to be repeated.
    pub(super) fn renew_at(&self) -> Instant {
        self.state().since + self.lease / 3
    }

    /// When the main server may give the jobs to somebody else.
    pub(super) fn end(&self) -> Instant {
        self.state().since + self.lease
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
