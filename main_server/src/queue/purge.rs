//! done | cancelled → (gone): finished jobs whose queue's retention has passed, and their messages, in small batches.

use std::time::Instant;

use shared::shutdown::Shutdown;
use sqlx::PgPool;
use tokio::time::sleep;
use tracing::{debug, warn};

use super::Jobs;
use crate::config::QueueConfig;

/// Groups of one batch; a group is at most 100 jobs.
const BATCH: i32 = 20;

/// Purges until the soft stop. Of several main servers one does at a time.
pub(super) fn start(jobs: Jobs, config: &QueueConfig, shutdown: &Shutdown) {
    let (every, stop) = (config.purge_every.0, shutdown.clone());
    shutdown.spawn("queue.purge", async move {
        loop {
            let began = Instant::now();
            let purged = match jobs.bounded(purge(&jobs.pool)).await {
                Ok(groups) => groups,
                Err(error) => {
                    warn!(%error, "cannot purge what is finished; trying again");
                    0
                }
            };
            if purged > 0 {
                debug!(groups = purged, "purged");
            }
            // While there is more: half of the time, for this is not urgent.
            let pause = if purged == BATCH { began.elapsed() } else { every };
            tokio::select! {
                () = sleep(pause) => {}
                () = stop.requested() => break,
            }
        }
    });
}

/// One batch; how many groups went.
async fn purge(pool: &PgPool) -> Result<i32, sqlx::Error> {
    sqlx::query_scalar!(
        r#"-- queue.purge
        SELECT queue_purge($1) AS "groups!""#,
        BATCH,
    )
    .fetch_one(pool)
    .await
}
