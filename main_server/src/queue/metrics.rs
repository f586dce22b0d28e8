//! What the queue counts, by verb.

use std::{sync::atomic::AtomicU64, time::Duration};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use shared::wire::{lease::JobOutcome, submit::SubmitOutcome};

use super::depths::Depth;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct QueueState {
    queue: String,
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfQueue {
    queue: String,
}

type Outcomes = Family<Outcome, Counter>;

/// `portcullis_queue_<verb>_total{outcome}`, the size and time of group commits, and what each queue holds.
#[derive(Debug, Clone)]
pub struct QueueMetrics {
    submit: Outcomes,
    lease: Outcomes,
    renew: Outcomes,
    complete: Outcomes,
    fail: Outcomes,
    reap: Outcomes,
    commit_messages: Histogram,
    commit_seconds: Histogram,
    attempts: Histogram,
    depth: Family<QueueState, Gauge>,
    oldest_ready: Family<OfQueue, Gauge<f64, AtomicU64>>,
}

impl QueueMetrics {
    /// Registers them.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let queue = registry.sub_registry_with_prefix("portcullis_queue");
        // There from the start, at 0: who only sees a counter from its first event on sees no increase.
        let mut verb = |name: &str, all: &[&'static str], help: &str| {
            let outcomes = Outcomes::default();
            for outcome in all {
                drop(outcomes.get_or_create(&Outcome { outcome }));
            }
            queue.register(name, help, outcomes.clone());
            outcomes
        };
        let held = ["ok", "lease_lost"];
        let stored = ["queued", "replayed", "conflict", "rejected", "failed", "overloaded"];
        let submit = verb("submit", &stored, "Messages from proxies, by what became of them");
        let lease = verb(
            "lease",
            &["leased", "empty", "unreadable"],
            "Jobs leased, lease calls that found none, messages that did not open",
        );
        let renew = verb("renew", &held, "Leases asked to be extended");
        let complete = verb("complete", &held, "Jobs reported as delivered");
        let fail = verb(
            "fail",
            &["retried", "dead", "lease_lost"],
            "Jobs handed back: retried, dead, or no longer theirs",
        );
        let reap = verb("reap", &["returned", "dead"], "Leases that expired: returned or dead");
        let commit_messages =
            Histogram::new([1., 2., 5., 10., 20., 50., 100., 200., 500., 1000., 2000., 5000.]);
        let commit_seconds =
            Histogram::new([0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1., 2.5, 5., 10.]);
        queue.register("commit_messages", "Messages in one group commit", commit_messages.clone());
        queue.register("commit_seconds", "Time of one group commit", commit_seconds.clone());
        let attempts = Histogram::new([1., 2., 3., 5., 10., 20., 50.]);
        queue.register("attempts", "Attempts that delivered jobs took", attempts.clone());
        let (depth, oldest_ready) = (Family::default(), Family::default());
        queue.register("depth", "Jobs of each queue, by state", depth.clone());
        queue.register(
            "oldest_ready_seconds",
            "How long the oldest job has been waiting for a worker",
            oldest_ready.clone(),
        );
        Self {
            submit,
            lease,
            renew,
            complete,
            fail,
            reap,
            commit_messages,
            commit_seconds,
            attempts,
            depth,
            oldest_ready,
        }
    }

    pub(super) fn depths(&self, depths: &[Depth]) {
        for depth in depths {
            let states = [("ready", depth.ready), ("leased", depth.leased), ("dead", depth.dead)];
            for (state, jobs) in states {
                self.depth.get_or_create(&QueueState { queue: depth.queue.clone(), state }).set(jobs);
            }
            let queue = OfQueue { queue: depth.queue.clone() };
            self.oldest_ready.get_or_create(&queue).set(depth.oldest_ready_seconds);
        }
    }

    pub(super) fn submitted(&self, outcome: SubmitOutcome) {
        count(&self.submit, outcome.as_str(), 1);
    }

    pub(super) fn submit_failed(&self, messages: usize) {
        count(&self.submit, "failed", messages);
    }

    pub(super) fn submit_overloaded(&self, messages: usize) {
        count(&self.submit, "overloaded", messages);
    }

    #[expect(clippy::cast_precision_loss, reason = "a batch is far smaller than 2^52")]
    pub(super) fn committed(&self, messages: usize, took: Duration) {
        self.commit_messages.observe(messages as f64);
        self.commit_seconds.observe(took.as_secs_f64());
    }

    pub(super) fn leased(&self, opened: usize, unreadable: usize) {
        count(&self.lease, "leased", opened);
        count(&self.lease, "unreadable", unreadable);
        count(&self.lease, "empty", usize::from(opened + unreadable == 0));
    }

    pub(super) fn renewed(&self, outcome: JobOutcome) {
        count(&self.renew, word(outcome), 1);
    }

    pub(super) fn completed(&self, outcome: JobOutcome) {
        count(&self.complete, word(outcome), 1);
    }

    pub(super) fn delivered(&self, attempts: i32, jobs: usize) {
        (0..jobs).for_each(|_| self.attempts.observe(attempts.into()));
    }

    pub(super) fn failed(&self, dead: bool, jobs: usize) {
        count(&self.fail, if dead { "dead" } else { "retried" }, jobs);
    }

    pub(super) fn failures_lost(&self, jobs: usize) {
        count(&self.fail, "lease_lost", jobs);
    }

    pub(super) fn reaped(&self, dead: bool, jobs: usize) {
        count(&self.reap, if dead { "dead" } else { "returned" }, jobs);
    }
}

fn count(outcomes: &Outcomes, outcome: &'static str, by: usize) {
    if by > 0 {
        outcomes.get_or_create(&Outcome { outcome }).inc_by(by as u64);
    }
}

fn word(outcome: JobOutcome) -> &'static str {
    match outcome {
        JobOutcome::Ok => "ok",
        JobOutcome::LeaseLost => "lease_lost",
    }
}
