//! Tells a main server how far this proxy's copy of the client table is, and whom it has seen.
//!
//! Every second, and at once after a sync that found something, so that an operator who waits for a
//! revocation to be in force waits no longer than it takes. What no main server answered for is kept.

use std::{sync::Arc, time::Duration};

use shared::{
    shutdown::Shutdown,
    wire::report::{RegistryCopy, Report},
};
use tokio::time::{Instant, sleep_until};
use tracing::debug;
use uuid::Uuid;

use crate::{activity::Activity, forward::Upstreams, registry::Registry};

const EVERY: Duration = Duration::from_secs(1);
/// A main server that needs longer is asked again next time.
const PATIENCE: Duration = Duration::from_secs(2);
/// Certificates of one report, about: what the main server writes per proxy and second is bounded.
const CERTIFICATES: usize = 1000;

/// What is reported, and to whom.
#[derive(Debug)]
pub(crate) struct Reporter {
    pub(crate) registry: Arc<Registry>,
    pub(crate) activity: Arc<Activity>,
    pub(crate) upstreams: Arc<Upstreams>,
    pub(crate) instance: Uuid,
}

impl Reporter {
    /// Reports until the soft stop, and once more then: nobody need wait for a proxy that is gone.
    pub(crate) async fn run(self, shutdown: Shutdown) {
        let mut applied = self.registry.applied();
        let mut next_activity = Instant::now();
        loop {
            let stopping = shutdown.is_requested();
            // a burst of syncs must not become a burst of writes
            let with_activity = stopping || Instant::now() >= next_activity;
            if with_activity {
                next_activity = Instant::now() + EVERY;
            }
            self.report(stopping, with_activity).await;
            if stopping {
                return;
            }
            tokio::select! {
                () = sleep_until(next_activity) => {}
                Ok(()) = applied.changed() => {}
                () = shutdown.requested() => {}
            }
        }
    }

    async fn report(&self, stopping: bool, with_activity: bool) {
        let seen = if with_activity { self.activity.take(CERTIFICATES) } else { Vec::new() };
        let applied = self.registry.applied().borrow().as_deref().map(str::to_owned);
        let copy = RegistryCopy {
            applied,
            clients: u64::try_from(self.registry.len()).unwrap_or(u64::MAX),
            age_ms: self.registry.age().map(millis),
            max_staleness_ms: millis(self.registry.max_staleness()),
        };
        let report = Report { instance: self.instance, stopping, copy, seen };
        if let Err(error) = self.upstreams.report(&report, PATIENCE).await {
            debug!(%error, "no main server took the report");
            self.activity.put_back(report.seen);
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
