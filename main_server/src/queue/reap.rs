//! leased → ready, or dead when its attempts are used up: leases that expired, because their worker died,
//! hangs, or lost its way to us. No backoff: the lease's own time has passed already.

use shared::shutdown::Shutdown;
use sqlx::PgPool;
use tokio::time::{Duration, sleep};
use tracing::{info, warn};

use super::Jobs;
use crate::config::QueueConfig;

/// What became of a job whose lease expired.
#[derive(Debug)]
pub(super) struct Reaped {
    pub(super) queue: String,
    pub(super) dead: bool,
}

/// Runs the reaper until the soft stop. Several main servers may: each skips what another one is reaping.
pub(super) fn start(jobs: Jobs, config: &QueueConfig, shutdown: &Shutdown) {
    let (every, batch, stop) = (config.reap_every.0, config.reap_batch, shutdown.clone());
    shutdown.spawn("queue.reap", async move {
        loop {
            let pause = if jobs.reap_once(batch).await { Duration::ZERO } else { every };
            tokio::select! {
                () = sleep(pause) => {}
                () = stop.requested() => break,
            }
        }
    });
}

impl Jobs {
    /// One bounded batch; true if there may be more.
    async fn reap_once(&self, batch: u32) -> bool {
        let reaped = match self.bounded(reap(&self.pool, batch)).await {
            Ok(reaped) => reaped,
            Err(error) => {
                warn!(%error, "cannot look for expired leases; trying again");
                return false;
            }
        };
        for job in &reaped {
            self.metrics.reaped(job.dead);
            if !job.dead {
                self.wakeups.wake(&job.queue);
            }
        }
        if !reaped.is_empty() {
            let dead = reaped.iter().filter(|job| job.dead).count();
            info!(returned = reaped.len() - dead, dead, "leases expired");
        }
        reaped.len() == batch as usize
    }
}

/// Takes back up to `batch` expired leases, longest expired first.
pub(super) async fn reap(pool: &PgPool, batch: u32) -> Result<Vec<Reaped>, sqlx::Error> {
    sqlx::query_as!(
        Reaped,
        r#"-- queue.reap
        WITH expired AS (
            SELECT j.job_id, j.attempt >= q.max_attempts AS exhausted
            FROM jobs j JOIN queues q ON q.name = j.queue
            WHERE j.state = 'leased' AND j.lease_expires_at <= now()
            ORDER BY j.lease_expires_at
            LIMIT $1
            FOR UPDATE OF j SKIP LOCKED
        )
        UPDATE jobs
        SET state = CASE WHEN exhausted THEN 'dead' ELSE 'ready' END,
            dead_reason = CASE WHEN exhausted THEN 'lease_expired' END,
            finished_at = CASE WHEN exhausted THEN now() END,
            ready_at = CASE WHEN exhausted THEN ready_at ELSE now() END,
            lease_token = NULL, lease_expires_at = NULL, leased_by = NULL
        FROM expired WHERE jobs.job_id = expired.job_id
        RETURNING jobs.queue, jobs.state = 'dead' AS "dead!""#,
        i64::from(batch),
    )
    .fetch_all(pool)
    .await
}
