//! How much each queue holds: a look every half second, for the gauges and for the bound on what may wait.
//!
//! In: the tables `queues` and `job_groups`, and what this process stored since. Out: gauges, and whether a queue is
//! full, from memory. Looks that take long are made less often; what others stored since is not counted.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use shared::shutdown::Shutdown;
use sqlx::PgPool;
use tokio::time::sleep;
use tracing::warn;

use super::{Jobs, front::pause};

/// How often the queues are counted.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// One queue, as it was counted.
#[derive(Debug)]
pub(super) struct Depth {
    pub(super) queue: String,
    pub(super) max_backlog: Option<i64>,
    pub(super) ready: i64,
    pub(super) leased: i64,
    pub(super) dead: i64,
    /// How long the oldest job that may be leased has been so.
    pub(super) oldest_ready_seconds: f64,
}

/// The backlog of each queue, and its bound.
#[derive(Debug, Default)]
pub(super) struct Backlogs(Mutex<HashMap<String, Backlog>>);

#[derive(Debug, Clone, Copy)]
struct Backlog {
    jobs: i64,
    max: Option<i64>,
}

impl Backlogs {
    /// Whether as many jobs wait as may. A queue that was not counted yet is not full.
    pub(super) fn is_full(&self, queue: &str) -> bool {
        let backlogs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        backlogs.get(queue).is_some_and(|backlog| backlog.max.is_some_and(|max| backlog.jobs >= max))
    }

    /// Counts what was stored after the latest look.
    pub(super) fn stored(&self, queue: &str, jobs: usize) {
        let mut backlogs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(backlog) = backlogs.get_mut(queue) {
            backlog.jobs = backlog.jobs.saturating_add_unsigned(jobs as u64);
        }
    }

    fn set(&self, depths: &[Depth]) {
        let counted = depths.iter().map(|depth| {
            let backlog = Backlog { jobs: depth.ready + depth.leased, max: depth.max_backlog };
            (depth.queue.clone(), backlog)
        });
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = counted.collect();
    }
}

/// Counts until the soft stop.
pub(super) fn start(jobs: Jobs, shutdown: &Shutdown) {
    let stop = shutdown.clone();
    shutdown.spawn("queue.depths", async move {
        loop {
            let began = Instant::now();
            match jobs.bounded(depths(&jobs.pool)).await {
                Ok(depths) => {
                    jobs.backlogs.set(&depths);
                    jobs.metrics.depths(&depths);
                }
                Err(error) => warn!(%error, "cannot count the queues; trying again"),
            }
            tokio::select! {
                () = sleep(pause(LOOK_EVERY, began.elapsed())) => {}
                () = stop.requested() => break,
            }
        }
    });
}

async fn depths(pool: &PgPool) -> Result<Vec<Depth>, sqlx::Error> {
    sqlx::query_as!(
        Depth,
        r#"-- queue.depths
        SELECT queue AS "queue!", max_backlog, ready AS "ready!", leased AS "leased!", dead AS "dead!",
               oldest_ready_seconds AS "oldest_ready_seconds!"
        FROM queue_depths()"#,
    )
    .fetch_all(pool)
    .await
}
