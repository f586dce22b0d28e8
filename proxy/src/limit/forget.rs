//! Forgets whose buckets are full: clients that went away, certificates that are not refused any more.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use shared::shutdown::Shutdown;

use super::{ClientRates, Refusals};
use crate::metrics::Metrics;

const EVERY: Duration = Duration::from_secs(10);

/// Forgets until the soft stop.
pub(crate) async fn forget(
    rates: Arc<ClientRates>,
    refusals: Arc<Refusals>,
    metrics: Arc<Metrics>,
    shutdown: Shutdown,
) {
    while !shutdown.is_requested() {
        let now = Instant::now();
        metrics.limited_clients.set(i64::try_from(rates.forget(now)).unwrap_or(i64::MAX));
        refusals.forget(now);
        tokio::select! { () = tokio::time::sleep(EVERY) => {} () = shutdown.requested() => {} }
    }
}
