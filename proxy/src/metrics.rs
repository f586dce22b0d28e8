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

/// The proxy's metrics.
#[derive(Debug)]
pub(crate) struct Metrics {
    requests: Family<Answered, Counter>,
    refusals: Family<Refused, Counter>,
    seconds: Histogram,
    pub(crate) batch_messages: Histogram,
    pub(crate) upstream_attempts: Counter,
    pub(crate) upstream_failures: Counter,
    pub(crate) waiting: Gauge,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            requests: Family::default(),
            refusals: Family::default(),
            seconds: Histogram::new(exponential_buckets(0.000_25, 2.0, 16)),
            batch_messages: Histogram::new(exponential_buckets(1.0, 2.0, 10)),
            upstream_attempts: Counter::default(),
            upstream_failures: Counter::default(),
            waiting: Gauge::default(),
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
        metrics
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
