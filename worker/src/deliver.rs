//! The worker's one loop: in, free capacity; out, leased batches on their way to the sink, each in a task of
//! its own. It stops leasing at the soft stop, while the sink is in trouble, and while no main server answers.

mod capacity;
mod leases;
mod batch;
#[cfg(test)]
mod tests;

use std::{
    ops::ControlFlow,
    sync::Arc,
    time::{Duration, Instant},
};

use shared::{
    identity::Name,
    shutdown::Shutdown,
    traces::Traces,
    wire::lease::{LeaseRequest, LeasedJob},
};
use tracing::{debug, info};

use self::{
    batch::Batch,
    capacity::{Capacity, Room},
};
use crate::{backoff::Backoff, metrics::Metrics, server_api::ServerApi, sink::SharedSink};

/// How much to lease, and for how long.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    pub(crate) queue: Name,
    pub(crate) lease: Duration,
    pub(crate) wait: Duration,
    pub(crate) batch: u32,
    pub(crate) batches: u32,
    pub(crate) max_jobs: u32,
    pub(crate) drain: Duration,
    /// The pauses after failures: of leasing, of acknowledging, of the sink.
    pub(crate) backoff: Backoff,
}

/// What every batch needs. Clones are handles to the same.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    pub(crate) api: Arc<ServerApi>,
    pub(crate) sink: SharedSink,
    pub(crate) metrics: Metrics,
    pub(crate) limits: Limits,
    pub(crate) shutdown: Shutdown,
    pub(crate) traces: Traces,
}

impl Delivery {
    /// Leases and delivers until the soft stop; returns when all that was leased is acknowledged or handed back.
    pub(crate) async fn run(self) {
        let capacity = Capacity::new(&self.limits);
        let mut backoff = self.limits.backoff.clone();
        // The first question does not wait for jobs, so that readiness is known at once.
        let mut wait = Duration::ZERO;
        while let ControlFlow::Continue(room) = self.room(&capacity).await {
            let asked_at = Instant::now();
            let request = self.request(&room, wait);
            let leased = tokio::select! {
                // First, so that jobs which arrive together with the soft stop are not dropped.
                biased;
                leased = self.api.lease(&request) => leased,
                () = self.shutdown.requested() => break,
            };
            let pause = match leased {
                Ok(jobs) if jobs.is_empty() => {
                    // An empty answer takes the whole wait, unless the server has a reason not to hold us.
                    let hurried = asked_at.elapsed() < wait / 2;
                    wait = self.limits.wait;
                    hurried.then(|| backoff.pause())
                }
                Ok(jobs) => {
                    backoff.reset();
                    wait = self.limits.wait;
                    self.spawn(jobs, room);
                    None
                }
                Err(_) => {
                    wait = Duration::ZERO;
                    Some(backoff.pause())
                }
            };
            if let Some(pause) = pause {
                self.pause(pause).await;
            }
        }
        info!("stopping: no more leases; finishing what is in hand");
        capacity.all_free().await;
    }

    /// Waits until there is room for a batch and a sink that takes it; breaks at the soft stop.
    async fn room(&self, capacity: &Capacity) -> ControlFlow<(), Room> {
        let room = tokio::select! {
            room = capacity.room() => room,
            () = self.shutdown.requested() => None,
        };
        let Some(room) = room else { return ControlFlow::Break(()) };
        // Leasing on while the disk is full would use up the attempts of the whole backlog.
        let mut backoff = self.limits.backoff.clone();
        while self.sink.trouble().is_some() && !self.shutdown.is_requested() {
            self.pause(backoff.pause()).await;
            self.sink.retry().await;
        }
        if self.shutdown.is_requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(room) }
    }

    fn request(&self, room: &Room, wait: Duration) -> LeaseRequest {
        LeaseRequest {
            queue: self.limits.queue.clone(),
            max: room.jobs(),
            lease_seconds: Some(whole_seconds(self.limits.lease)),
            wait_seconds: whole_seconds(wait),
        }
    }

    fn spawn(&self, jobs: Vec<LeasedJob>, mut room: Room) {
        self.metrics.leased.inc_by(jobs.len() as u64);
        for job in &jobs {
            debug!(
                job_id = %job.job_id, message_id = %job.message_id, client_id = %job.client_id, attempt = job.attempt,
                request_id = %job.request_id, traceparent = ?job.traceparent, "leased"
            );
        }
        room.shrink_to(jobs.len());
        let batch = Batch::new(self.clone(), &jobs);
        self.shutdown.spawn("batch", async move {
            batch.deliver(jobs).await;
            drop(room);
        });
    }

    /// Sleeps, at most until the soft stop.
    async fn pause(&self, pause: Duration) {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = self.shutdown.requested() => {}
        }
    }
}

/// For the wire; the configuration allows whole seconds only.
fn whole_seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
}
