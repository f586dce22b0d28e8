//! Forgets, once an hour, what no proxy needs any more: tombstones of certificates that left the client table.
//!
//! Which those are is the database's to say (`prune_client_tombstones`). Failing does no harm: the next hour tries.

use std::time::Duration;

use shared::shutdown::Shutdown;
use sqlx::PgPool;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

const EVERY: Duration = Duration::from_hours(1);

/// Prunes until the soft stop.
pub(crate) async fn prune(pool: PgPool, deadline: Duration, shutdown: Shutdown) {
    while !shutdown.is_requested() {
        let pruning = sqlx::query_scalar!(
            r#"-- tombstones.prune
            SELECT prune_client_tombstones() AS "pruned!""#
        );
        match timeout(deadline, pruning.fetch_one(&pool)).await.unwrap_or(Err(sqlx::Error::PoolTimedOut)) {
            Ok(0) => {}
            Ok(pruned) => info!(pruned, "tombstones of the client table were pruned"),
            Err(error) => warn!(%error, "cannot prune the tombstones of the client table"),
        }
        tokio::select! {
            () = sleep(EVERY) => {}
            () = shutdown.requested() => return,
        }
    }
}
