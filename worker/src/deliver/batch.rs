//! The life of one leased batch: in, jobs; out, each of them acknowledged, handed back, or lost to another
//! worker. While the sink works its leases are renewed; what is lost is not counted on any more.

use std::{
    collections::HashSet,
    time::{Instant, SystemTime},
};

use shared::{
    traces::{Done, KeyValue, SpanKind, TraceParent},
    wire::{
        complete::CompleteRequest,
        fail::{FailRequest, FailedJob},
        lease::{Held, LeasedJob},
    },
};
use tracing::{debug, warn};
use uuid::Uuid;

use super::{Delivery, leases::Leases, whole_seconds};
use crate::{server_api::ApiError, sink::Outcome};

/// One leased batch.
pub(super) struct Batch {
    delivery: Delivery,
    leases: Leases,
    leased_at: Instant,
    traced: Vec<Traced>,
}

/// A job whose trace is recorded.
struct Traced {
    job_id: Uuid,
    attempt: u32,
    parent: TraceParent,
    began: SystemTime,
}

impl Batch {
    /// A batch that came in just now.
    pub(super) fn new(delivery: Delivery, jobs: &[LeasedJob]) -> Self {
        let leases = Leases::of(jobs, delivery.limits.lease);
        let traced = if delivery.traces.are_on() { traced(jobs) } else { Vec::new() };
        Self { delivery, leases, leased_at: Instant::now(), traced }
    }

    /// Delivers it and tells the main server; ends early when the time after a soft stop is used up.
    pub(super) async fn deliver(&self, jobs: Vec<LeasedJob>) {
        let outcomes = tokio::select! {
            outcomes = self.write(jobs) => outcomes,
            () = self.renew_while_held() => return warn!("all leases of a batch are lost; its jobs will come again"),
            () = self.drain_over() => return self.hand_back().await,
        };
        self.delivery.metrics.delivery_seconds.observe(self.leased_at.elapsed().as_secs_f64());
        self.record(&outcomes);
        let (written, refused) = self.sort(outcomes);
        tokio::select! {
            _ = async { tokio::join!(self.complete(written), self.fail(refused)) } => {}
            () = self.drain_over() => warn!("stopping with jobs not acknowledged; they will come again"),
        }
    }

    /// A span for each delivery, in the trace of its message and linked to where that came from: whoever sent it did not
    /// wait for this.
    fn record(&self, outcomes: &[(Held, Outcome)]) {
        for Traced { job_id, attempt, parent, began } in &self.traced {
            let Some((_, outcome)) = outcomes.iter().find(|(held, _)| held.job_id == *job_id) else {
                continue;
            };
            let outcome = match outcome {
                Outcome::Written => "written",
                Outcome::AlreadyThere => "already_there",
                Outcome::Failed(_) => "failed",
            };
            let attributes = vec![
                KeyValue::new("messaging.message.id", job_id.to_string()),
                KeyValue::new("messaging.destination.name", self.delivery.limits.queue.to_string()),
                KeyValue::new("portcullis.attempt", i64::from(*attempt)),
                KeyValue::new("portcullis.outcome", outcome),
            ];
            let (name, kind) = ("deliver".into(), SpanKind::Consumer);
            let (parent, began) = (*parent, *began);
            self.delivery.traces.record(Done { name, kind, parent, linked: true, began, attributes });
        }
    }

    /// Waits for its turn at the sink, and delivers what is still ours by then.
    async fn write(&self, mut jobs: Vec<LeasedJob>) -> Vec<(Held, Outcome)> {
        let turn = self.delivery.sink.turn().await;
        // A process that was stopped for a while, or whose main servers were away, may have lost everything
        // without knowing. One question tells; without an answer they count as lost, and will come again.
        if Instant::now() >= self.leases.end() && self.renew().await.is_err() {
            warn!(
                jobs = jobs.len(),
                "the leases ended while the batch waited for the sink; not delivering it"
            );
            return Vec::new();
        }
        let still = self.still_held();
        jobs.retain(|job| still.contains(&job.job_id));
        turn.deliver(jobs).await
    }

    /// Renews again and again; ends when there is nothing left to renew.
    async fn renew_while_held(&self) {
        let mut backoff = self.delivery.limits.backoff.clone();
        while !self.leases.held().is_empty() {
            tokio::time::sleep_until(self.leases.renew_at().into()).await;
            match self.renew().await {
                Ok(()) => backoff.reset(),
                Err(_) => tokio::time::sleep(backoff.pause()).await,
            }
        }
    }

    async fn renew(&self) -> Result<(), ApiError> {
        let (held, asked_at) = (self.leases.held(), Instant::now());
        let lost = self.delivery.api.renew(held, whole_seconds(self.delivery.limits.lease)).await?;
        self.leases.renewed(asked_at, &lost);
        self.note_lost("renew", &lost);
        Ok(())
    }

    fn still_held(&self) -> HashSet<Uuid> {
        self.leases.held().iter().map(|held| held.job_id).collect()
    }

    /// What to acknowledge and what to hand back; jobs that were lost meanwhile are neither.
    fn sort(&self, outcomes: Vec<(Held, Outcome)>) -> (Vec<Held>, Vec<FailedJob>) {
        let metrics = &self.delivery.metrics;
        let still = self.still_held();
        let (mut written, mut refused) = (Vec::new(), Vec::new());
        for (held, outcome) in outcomes.into_iter().filter(|(held, _)| still.contains(&held.job_id)) {
            match outcome {
                Outcome::Written => written.push(held),
                Outcome::AlreadyThere => {
                    metrics.duplicates.inc();
                    written.push(held);
                }
                Outcome::Failed(error) => {
                    metrics.failed.inc();
                    refused.push(failed(held, error));
                }
            }
        }
        (written, refused)
    }

    async fn complete(&self, jobs: Vec<Held>) {
        if jobs.is_empty() {
            return;
        }
        let request = CompleteRequest { jobs };
        if let Some(lost) = self.insist("complete", || self.delivery.api.complete(&request)).await {
            self.delivery.metrics.delivered.inc_by(request.jobs.len().saturating_sub(lost.len()) as u64);
        }
    }

    async fn fail(&self, jobs: Vec<FailedJob>) {
        let Some(first) = jobs.first() else { return };
        warn!(jobs = jobs.len(), job_id = %first.job_id, error = first.error, "not delivered; handing back");
        let request = FailRequest { jobs };
        self.insist("fail", || self.delivery.api.fail(&request)).await;
    }

    /// Tries until it is answered, or the lease has run out and it would be in vain. Returns the lost jobs.
    async fn insist<F>(&self, verb: &'static str, ask: impl Fn() -> F) -> Option<Vec<Uuid>>
    where
        F: Future<Output = Result<Vec<Uuid>, ApiError>>,
    {
        let mut backoff = self.delivery.limits.backoff.clone();
        loop {
            match ask().await {
                Ok(lost) => {
                    self.note_lost(verb, &lost);
                    return Some(lost);
                }
                Err(error) if Instant::now() >= self.leases.end() => {
                    warn!(verb, %error, "the leases ended before a main server answered; their jobs will come again");
                    return None;
                }
                Err(_) => tokio::time::sleep(backoff.pause()).await,
            }
        }
    }

    /// The time is up: somebody else may have the jobs at once, and the attempt does not count. One try; else
    /// their leases run out.
    async fn hand_back(&self) {
        let error = "the worker was stopped before it had delivered the job";
        let released = |held| FailedJob { released: true, ..failed(held, error.to_owned()) };
        let jobs: Vec<_> = self.leases.held().into_iter().map(released).collect();
        if jobs.is_empty() {
            return;
        }
        warn!(jobs = jobs.len(), "stopping; handing back what is not delivered");
        match self.delivery.api.fail(&FailRequest { jobs }).await {
            Ok(lost) => self.note_lost("fail", &lost),
            Err(error) => {
                warn!(%error, "could not hand back; the jobs will come again when their leases end");
            }
        }
    }

    async fn drain_over(&self) {
        self.delivery.shutdown.requested().await;
        tokio::time::sleep(self.delivery.limits.drain).await;
    }

    fn note_lost(&self, verb: &'static str, lost: &[Uuid]) {
        self.delivery.metrics.lease_lost.inc_by(lost.len() as u64);
        for job_id in lost {
            debug!(verb, %job_id, "the lease was lost");
        }
    }
}

fn traced(jobs: &[LeasedJob]) -> Vec<Traced> {
    let began = SystemTime::now();
    let traced = |job: &LeasedJob| {
        let parent = TraceParent::parse(job.traceparent.as_ref()?.as_bytes())?;
        let LeasedJob { job_id, attempt, .. } = *job;
        parent.is_recorded().then_some(Traced { job_id, attempt, parent, began })
    };
    jobs.iter().filter_map(traced).collect()
}

/// To be tried again after the queue's own backoff.
fn failed(held: Held, error: String) -> FailedJob {
    let Held { job_id, lease_token } = held;
    FailedJob { job_id, lease_token, error, delay_seconds: None, dead: false, released: false }
}
