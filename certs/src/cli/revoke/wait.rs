//! Waiting until a revocation is in force on every proxy that reports.

use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use sqlx::PgConnection;

use crate::register::{Propagation, Revoked};

/// Between two looks at what the proxies report.
const LOOK_AGAIN: Duration = Duration::from_millis(25);

/// The proxies in which it is in force, and after how many milliseconds.
pub(super) async fn wait(
    database: &mut PgConnection,
    revoked: &Revoked,
    patience: Duration,
) -> anyhow::Result<(Vec<String>, u128)> {
    let began = Instant::now();
    loop {
        let Propagation { in_force, lagging } = revoked.propagation(database).await?;
        if lagging.is_empty() && !in_force.is_empty() {
            return Ok((in_force, began.elapsed().as_millis()));
        }
        if began.elapsed() >= patience {
            ensure!(
                !lagging.is_empty(),
                "it is revoked, but no proxy reports, so nobody can say where it is in force: \
                 do the proxies reach a main server?"
            );
            bail!(
                "it is revoked, but after {} s not known to be in force on {} of {} proxies: {}",
                patience.as_secs(),
                lagging.len(),
                lagging.len() + in_force.len(),
                lagging.join(", ")
            );
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}
