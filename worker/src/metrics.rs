//! What the worker counts, in a registry of its own: `portcullis_worker_…`.

use prometheus_client::{
    metrics::{
        counter::Counter,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

/// The worker's figures; clones count into the same.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    /// Jobs that a main server gave us.
    pub(crate) leased: Counter,
    /// Jobs acknowledged: their messages are in the sink.
    pub(crate) delivered: Counter,
    /// Jobs that the sink refused, handed back with the reason.
    pub(crate) failed: Counter,
    /// Jobs that were no longer ours when we renewed or ended them.
    pub(crate) lease_lost: Counter,
    /// Delivered jobs whose message was in the sink already.
    pub(crate) duplicates: Counter,
    /// From the lease of a batch to its lines being on disk.
    pub(crate) delivery_seconds: Histogram,
}

impl Metrics {
    /// Registers all figures.
    #[must_use]
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            leased: Counter::default(),
            delivered: Counter::default(),
            failed: Counter::default(),
            lease_lost: Counter::default(),
            duplicates: Counter::default(),
            // 0.5 ms to 16 s
            delivery_seconds: Histogram::new(exponential_buckets(0.0005, 2.0, 16)),
        };
        let ours = registry.sub_registry_with_prefix("portcullis_worker");
        ours.register("leased", "Jobs leased from a main server", metrics.leased.clone());
        ours.register("delivered", "Jobs delivered to the sink and acknowledged", metrics.delivered.clone());
        ours.register("failed", "Jobs the sink did not take, handed back", metrics.failed.clone());
        ours.register("lease_lost", "Jobs no longer held when renewed or ended", metrics.lease_lost.clone());
        ours.register(
            "duplicates",
            "Delivered jobs whose message was in the sink already",
            metrics.duplicates.clone(),
        );
        let seconds = metrics.delivery_seconds.clone();
        ours.register_with_unit("delivery", "From a lease to its lines on disk", Unit::Seconds, seconds);
        metrics
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_have_their_documented_names() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        metrics.delivery_seconds.observe(0.01);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for name in
            ["leased_total", "delivered_total", "failed_total", "lease_lost_total", "duplicates_total"]
        {
            assert!(text.contains(&format!("portcullis_worker_{name} 0")), "{name} in {text}");
        }
        assert!(text.contains("portcullis_worker_delivery_seconds_bucket"), "{text}");
    }
}
