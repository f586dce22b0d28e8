//! What the proxy counts. Labels are closed lists: never a client id, never text from a certificate.

use std::time::Duration;

use http::StatusCode;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};
use shared::wire::Code;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    path: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refused {
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RateLimited {
    limit: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ShedMessage {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SlowedRefusal {
    outcome: &'static str,
}

/// Why a message was refused for too much load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shed {
    /// Beyond `[admission]`.
    Cap,
    /// No place among those that wait.
    NoPlace,
    /// Waited too long, or would have.
    Waited,
}

/// What became of a refusal that was one too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slowed {
    /// It waits.
    Delayed,
    /// It was answered at once: too many wait.
    TooMany,
}

impl Shed {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Cap => "cap",
            Self::NoPlace => "no_place",
            Self::Waited => "waited",
        }
    }
}

impl Slowed {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Delayed => "delayed",
            Self::TooMany => "too_many",
        }
    }
}

/// The proxy's metrics.
#[derive(Debug)]
pub(crate) struct Metrics {
    requests: Family<Answered, Counter>,
    refusals: Family<Refused, Counter>,
    rate_limited: Family<RateLimited, Counter>,
    shed: Family<ShedMessage, Counter>,
    slowed: Family<SlowedRefusal, Counter>,
    seconds: Histogram,
    pub(crate) batch_messages: Histogram,
    pub(crate) upstream_attempts: Counter,
    pub(crate) upstream_failures: Counter,
    pub(crate) waiting: Gauge,
    pub(crate) waited: Histogram,
    pub(crate) refusals_waiting: Gauge,
    pub(crate) limited_clients: Gauge,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            requests: Family::default(),
            refusals: Family::default(),
            rate_limited: Family::default(),
            shed: Family::default(),
            slowed: Family::default(),
            seconds: Histogram::new(exponential_buckets(0.000_25, 2.0, 16)),
            batch_messages: Histogram::new(exponential_buckets(1.0, 2.0, 10)),
            upstream_attempts: Counter::default(),
            upstream_failures: Counter::default(),
            waiting: Gauge::default(),
            waited: Histogram::new(exponential_buckets(0.000_25, 2.0, 16)),
            refusals_waiting: Gauge::default(),
            limited_clients: Gauge::default(),
        };
        let ours = registry.sub_registry_with_prefix("portcullis");
        ours.register("requests", "Answered requests", metrics.requests.clone());
        ours.register("refusals", "Requests answered with a problem, by code", metrics.refusals.clone());
        let seconds = metrics.seconds.clone();
        ours.register_with_unit("request", "From a request's head to its answer", Unit::Seconds, seconds);
        let batches = metrics.batch_messages.clone();
        ours.register("upstream_batch_messages", "Messages of a batch sent to a main server", batches);
        let attempts = metrics.upstream_attempts.clone();
        ours.register("upstream_attempts", "Batches sent to a main server, repetitions included", attempts);
        let failures = metrics.upstream_failures.clone();
        ours.register("upstream_failures", "Batches that a main server did not answer", failures);
        ours.register("upstream_waiting", "Messages waiting for a batch", metrics.waiting.clone());
        metrics.register_limits(ours);
        metrics
    }

    /// Each series is there before its first event: else nobody could be alerted to that.
    fn register_limits(&self, ours: &mut Registry) {
        for limit in ["requests", "bytes"] {
            drop(self.rate_limited.get_or_create(&RateLimited { limit }));
        }
        for reason in [Shed::Cap, Shed::NoPlace, Shed::Waited] {
            drop(self.shed.get_or_create(&ShedMessage { reason: reason.as_str() }));
        }
        for outcome in [Slowed::Delayed, Slowed::TooMany] {
            drop(self.slowed.get_or_create(&SlowedRefusal { outcome: outcome.as_str() }));
        }
        let help = "Requests beyond a client's limit, by the limit";
        ours.register("rate_limited", help, self.rate_limited.clone());
        ours.register("shed", "Messages refused for too much load, by the reason", self.shed.clone());
        let help = "From a message's place in the queue to its batch";
        ours.register_with_unit("upstream_waited", help, Unit::Seconds, self.waited.clone());
        let help = "Refusals of certificates that are refused too often, by what became of them";
        ours.register("refusals_slowed", help, self.slowed.clone());
        ours.register("refusals_waiting", "Refusals that wait for their turn", self.refusals_waiting.clone());
        let help = "Clients that have used some of their limit lately";
        ours.register("limited_clients", help, self.limited_clients.clone());
    }

    /// Counts a request beyond these limits.
    pub(crate) fn rate_limited(&self, policies: &[&'static str]) {
        for limit in policies {
            self.rate_limited.get_or_create(&RateLimited { limit }).inc();
        }
    }

    /// Counts a message that was refused for too much load.
    pub(crate) fn shed(&self, reason: Shed) {
        self.shed.get_or_create(&ShedMessage { reason: reason.as_str() }).inc();
    }

    /// Counts a refusal that was one too many.
    pub(crate) fn slowed(&self, outcome: Slowed) {
        self.slowed.get_or_create(&SlowedRefusal { outcome: outcome.as_str() }).inc();
    }

    pub(crate) fn answered(&self, path: &str, status: StatusCode, code: Option<Code>, elapsed: Duration) {
        let answered = Answered { path: path.to_owned(), status: status.as_u16() };
        self.requests.get_or_create(&answered).inc();
        if let Some(code) = code {
            self.refusals.get_or_create(&Refused { code: code.as_str() }).inc();
        }
        self.seconds.observe(elapsed.as_secs_f64());
    }
}
