//! Where the ready jobs of a queue begin, as far as this process knows.
//!
//! In: what leases, commits and looks say. Out: a floor for the next lease, below which nothing is ready, and the turn
//! to lease. While somebody holds a transaction open, the front of the index of ready jobs fills with entries that
//! are dead and cannot be cleaned, and each lease would walk over all of them; the floor jumps over them.
//!
//! The floor is a hint that may be too high, and then jobs wait: those that another process made ready earlier
//! than the floor, after it was set. So it stays [`MARGIN`] behind what was seen, and every second a look without a
//! floor finds what is left. It is only a matter of time, never of loss.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use shared::shutdown::Shutdown;
use sqlx::PgPool;
use time::OffsetDateTime;
use tokio::time::sleep;
use tracing::warn;

use super::Jobs;

/// Between a job's time to be ready and the commit that says so, in most cases.
const MARGIN: time::Duration = time::Duration::seconds(2);
/// How often the front is looked at without a floor.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A look may take one part in so many of the time …
const LOOK_SHARE: u32 = 20;
/// … but the next one comes no later than this: until then jobs may wait below the floor, and how long an outage held
/// a look up says nothing about the front.
const LOOK_AT_LEAST: Duration = Duration::from_secs(5);

/// The fronts of all queues that somebody leased from.
#[derive(Debug, Default)]
pub(super) struct Fronts(Mutex<HashMap<String, Arc<Front>>>);

/// The front of one queue.
#[derive(Debug, Default)]
pub(super) struct Front {
    floor: Mutex<Floor>,
    /// Held while leasing: leases of one process at the same moment would only skip over each other's rows.
    pub(super) turn: tokio::sync::Mutex<()>,
}

/// Nothing that became ready before `at` is waiting.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Floor {
    pub(super) at: Option<OffsetDateTime>,
    /// How often something below was made ready: what was seen before that says nothing about it.
    lowered: u64,
}

impl Fronts {
    pub(super) fn of(&self, queue: &str) -> Arc<Front> {
        let mut queues = lock(&self.0);
        if let Some(front) = queues.get(queue) {
            return front.clone();
        }
        queues.entry(queue.to_owned()).or_default().clone()
    }

    /// There is no such queue.
    pub(super) fn forget(&self, queue: &str) {
        lock(&self.0).remove(queue);
    }

    fn all(&self) -> Vec<(String, Arc<Front>)> {
        lock(&self.0).iter().map(|(queue, front)| (queue.clone(), front.clone())).collect()
    }
}

impl Front {
    pub(super) fn floor(&self) -> Floor {
        *lock(&self.floor)
    }

    /// A lease that looked from `seen` on found nothing older than this.
    pub(super) fn raise(&self, seen: Floor, oldest: OffsetDateTime) {
        let mut floor = lock(&self.floor);
        if floor.lowered == seen.lowered {
            floor.at = floor.at.max(Some(oldest - MARGIN));
        }
    }

    /// A job of ours became ready at this time.
    pub(super) fn lower(&self, ready_at: OffsetDateTime) {
        let mut floor = lock(&self.floor);
        if floor.at.is_some_and(|at| ready_at < at) {
            floor.at = Some(ready_at);
            floor.lowered += 1;
        }
    }

    /// A look at everything, begun when the floor was `seen`, found nothing older than this.
    fn set(&self, seen: Floor, oldest: OffsetDateTime) {
        let mut floor = lock(&self.floor);
        let found = Some(oldest - MARGIN);
        floor.at = if floor.lowered == seen.lowered { found } else { floor.at.min(found) };
    }
}

/// Looks at the front of each queue until the soft stop; less often where that takes long.
pub(super) fn start(jobs: Jobs, shutdown: &Shutdown) {
    let stop = shutdown.clone();
    shutdown.spawn("queue.front", async move {
        loop {
            let began = Instant::now();
            for (queue, front) in jobs.fronts.all() {
                let seen = front.floor();
                match jobs.bounded(look(&jobs.pool, &queue)).await {
                    Ok(oldest) => front.set(seen, oldest),
                    Err(error) => warn!(%error, queue, "cannot look for the oldest ready job; trying again"),
                }
            }
            tokio::select! {
                () = sleep(pause(LOOK_EVERY, began.elapsed())) => {}
                () = stop.requested() => break,
            }
        }
    });
}

/// Until the next look, after one that took so long.
pub(super) fn pause(every: Duration, took: Duration) -> Duration {
    (took * LOOK_SHARE).clamp(every, LOOK_AT_LEAST)
}

/// When the oldest ready job became so, or now.
async fn look(pool: &PgPool, queue: &str) -> Result<OffsetDateTime, sqlx::Error> {
    sqlx::query_scalar!(
        r#"-- queue.front
        SELECT least(now(), (SELECT ready_at FROM job_groups WHERE queue = $1 AND state = 'ready'
                             ORDER BY ready_at LIMIT 1)) AS "oldest!""#,
        queue,
    )
    .fetch_one(pool)
    .await
}

/// Nothing that is done under these locks panics.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> OffsetDateTime {
        OffsetDateTime::UNIX_EPOCH + time::Duration::seconds(seconds)
    }

    #[test]
    fn what_was_seen_before_something_became_ready_below_the_floor_does_not_hide_it() {
        let front = Front::default();
        front.raise(front.floor(), at(100));
        assert_eq!(front.floor().at, Some(at(98)));
        let seen = front.floor();
        front.lower(at(50));
        front.raise(seen, at(200));
        assert_eq!(front.floor().at, Some(at(50)));
        front.set(seen, at(200));
        assert_eq!(front.floor().at, Some(at(50)));
        // whoever looks now sees it, if it is still there
        front.raise(front.floor(), at(200));
        assert_eq!(front.floor().at, Some(at(198)));
    }

    #[test]
    fn a_look_that_an_outage_held_up_does_not_put_off_the_next_one_for_minutes() {
        assert_eq!(pause(LOOK_EVERY, Duration::from_millis(1)), LOOK_EVERY);
        assert_eq!(pause(LOOK_EVERY, Duration::from_millis(100)), Duration::from_secs(2));
        assert_eq!(pause(LOOK_EVERY, Duration::from_secs(10)), LOOK_AT_LEAST);
    }

    #[test]
    fn a_look_at_everything_lowers_the_floor_to_what_another_process_made_ready() {
        let front = Front::default();
        front.raise(front.floor(), at(100));
        front.set(front.floor(), at(20));
        assert_eq!(front.floor().at, Some(at(18)));
    }
}
