//! A fixed rate, whoever answers or not: each request is due at its own time, and is taken by whoever is free.
//!
//! A thread of its own sleeps to the microsecond; the runtime's timers know milliseconds only. It does not wake for each
//! request: that would cost the machine, which the measured side shares, as much as sending it does.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError, Weak},
    thread,
    time::{Duration, Instant},
};

use tokio::sync::Semaphore;

/// It wakes so often at most. What became due meanwhile is late by that, and is counted as late.
const TICK: Duration = Duration::from_micros(500);

/// Requests that are due; clones take from the same. The pacing ends with the last of them.
#[derive(Debug, Clone)]
pub(super) struct Pacer(Arc<Due>);

#[derive(Debug)]
struct Due {
    times: Mutex<VecDeque<Instant>>,
    there: Semaphore,
}

impl Pacer {
    pub(super) fn start(per_second: f64) -> Self {
        let due = Arc::new(Due { times: Mutex::default(), there: Semaphore::new(0) });
        let weak = Arc::downgrade(&due);
        thread::spawn(move || pace(&weak, Duration::from_secs_f64(1.0 / per_second)));
        Self(due)
    }

    /// Waits for the next request; when it was due.
    pub(super) async fn next(&self) -> Instant {
        if let Ok(permit) = self.0.there.acquire().await {
            permit.forget();
        }
        let next = self.0.times.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        next.unwrap_or_else(Instant::now)
    }
}

fn pace(due: &Weak<Due>, interval: Duration) {
    let mut next = Instant::now();
    while let Some(due) = due.upgrade() {
        let mut new = 0;
        let mut times = due.times.lock().unwrap_or_else(PoisonError::into_inner);
        while next <= Instant::now() {
            times.push_back(next);
            next += interval;
            new += 1;
        }
        drop(times);
        due.there.add_permits(new);
        drop(due);
        thread::sleep(next.saturating_duration_since(Instant::now()).max(TICK));
    }
}
