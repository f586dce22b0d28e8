//! leased → ready, or dead when its attempts are used up: leases that expired, because their worker died,
//! hangs, or lost its way to us. No backoff: the lease's own time has passed already.
//!
//! Looks reach back only as far as a lease can have expired since the last one: behind that, the index is full of
//! dead entries while somebody holds a transaction open. A lease ends after its statement began, and that is at most
//! the deadline before its commit. Now and then a look reaches back without end.

use std::time::{Duration, Instant};

use shared::shutdown::Shutdown;
use sqlx::PgPool;
use time::OffsetDateTime;
use tokio::time::sleep;
use tracing::{info, warn};

use super::Jobs;
use crate::config::QueueConfig;

/// How often a look reaches back without end, at most.
const WHOLE_EVERY: Duration = Duration::from_secs(10);
/// It may take one part in so many of the time, but is made at least so often.
const WHOLE_SHARE: u32 = 20;
const WHOLE_AT_LEAST: Duration = Duration::from_mins(1);
/// Added to how far the other looks reach back.
const MARGIN: Duration = Duration::from_secs(10);

/// A group whose lease expired.
#[derive(Debug)]
struct Reaped {
    queue: String,
    jobs: i32,
    dead: bool,
    ready_at: OffsetDateTime,
}

/// What the reaper remembers of its looks.
#[derive(Debug)]
struct Reaper {
    jobs: Jobs,
    batch: u32,
    /// When the last look began that took back all there was within its reach.
    looked_at: Option<Instant>,
    /// When the next look is to reach back without end.
    whole_at: Instant,
}

/// Runs the reaper until the soft stop. Several main servers may: each skips what another one is reaping.
pub(super) fn start(jobs: Jobs, config: &QueueConfig, shutdown: &Shutdown) {
    let (every, stop) = (config.reap_every.0, shutdown.clone());
    let mut reaper = Reaper { jobs, batch: config.reap_batch, looked_at: None, whole_at: Instant::now() };
    shutdown.spawn("queue.reap", async move {
        loop {
            let pause = if reaper.reap_once().await { Duration::ZERO } else { every };
            tokio::select! {
                () = sleep(pause) => {}
                () = stop.requested() => break,
            }
        }
    });
}

impl Reaper {
    /// One bounded batch; true if there may be more.
    async fn reap_once(&mut self) -> bool {
        let began = Instant::now();
        let reach = match self.looked_at {
            Some(looked_at) if began < self.whole_at => {
                Some(looked_at.elapsed() + self.jobs.deadline + MARGIN)
            }
            _ => None,
        };
        let reaped = match self.jobs.bounded(reap(&self.jobs.pool, self.batch, reach)).await {
            Ok(reaped) => reaped,
            Err(error) => {
                warn!(%error, "cannot look for expired leases; trying again");
                return false;
            }
        };
        let more = reaped.len() == self.batch as usize;
        if !more {
            self.looked_at = Some(began);
            if reach.is_none() {
                let pause = (began.elapsed() * WHOLE_SHARE).clamp(WHOLE_EVERY, WHOLE_AT_LEAST);
                self.whole_at = Instant::now() + pause;
            }
        }
        self.note(&reaped);
        more
    }

    fn note(&self, reaped: &[Reaped]) {
        let (mut returned, mut dead) = (0, 0);
        for group in reaped {
            let jobs = usize::try_from(group.jobs).unwrap_or_default();
            self.jobs.metrics.reaped(group.dead, jobs);
            if group.dead {
                dead += jobs;
            } else {
                returned += jobs;
                self.jobs.ready(&group.queue, group.ready_at);
            }
        }
        if !reaped.is_empty() {
            info!(returned, dead, "leases expired");
        }
    }
}

/// Takes back up to `batch` groups whose lease expired, longest expired first.
async fn reap(pool: &PgPool, batch: u32, reach: Option<Duration>) -> Result<Vec<Reaped>, sqlx::Error> {
    sqlx::query_as!(
        Reaped,
        r#"-- queue.reap
        SELECT queue AS "queue!", jobs AS "jobs!", dead AS "dead!", ready_at AS "ready_at!"
        FROM queue_reap($1, $2)"#,
        i32::try_from(batch).unwrap_or(i32::MAX),
        reach.map(|reach| reach.as_secs_f64()),
    )
    .fetch_all(pool)
    .await
}
